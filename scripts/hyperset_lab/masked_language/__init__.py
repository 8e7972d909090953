# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Masked language models. They share their data with `hyperset_lab.language`."""

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Models of other programs as folders that transformers and diffusers load."""

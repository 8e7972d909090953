# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What `check_gpu.py` checks on a GPU."""

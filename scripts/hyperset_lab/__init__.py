# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the commands share: arguments, models, training and its checkpoints, metrics and cards, and a folder for each task."""

import sys


# A console may lack the characters of a picture or of a formula (cp1252, ASCII). It shows others instead of failing.
if hasattr(sys.stdout, "reconfigure") and "utf" not in (sys.stdout.encoding or "").lower():
    sys.stdout.reconfigure(errors="replace")

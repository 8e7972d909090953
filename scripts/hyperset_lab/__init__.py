# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the commands share: arguments, models, training and its checkpoints, metrics and cards, and a folder for each task."""

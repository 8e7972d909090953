# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train or fine-tune an image classifier with Trainer.

    python scripts/run_image_classification.py scripts/recipes/digits.yaml
    python scripts/run_image_classification.py --config_name imagenet-small --train_dir images/ --do_train --do_eval \
        --output_dir outputs/mine

A recipe (YAML) takes the place of flags, and flags behind it win over it. At the end the saved folder is loaded again, and its
accuracy and energies are printed and drawn.
"""

from hyperset_lab.images.task import TASK
from hyperset_lab.run import leave_processes


if __name__ == "__main__":
    TASK.main()
    leave_processes()

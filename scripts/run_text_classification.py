# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train or fine-tune a text classifier with Trainer: classes, several labels per text, or numbers.

    python scripts/run_text_classification.py scripts/recipes/yelp.yaml
    python scripts/run_text_classification.py --config_name yelp-small --train_tokenizer 8000 --train_file reviews.csv \
        --do_train --do_eval --output_dir outputs/mine

A recipe (YAML) takes the place of flags, and flags behind it win over it. Files have the columns `text` and `label`.
"""

from hyperset_lab.run import leave_processes
from hyperset_lab.text.task import TASK


if __name__ == "__main__":
    TASK.main()
    leave_processes()

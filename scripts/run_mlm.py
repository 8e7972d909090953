# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train or fine-tune a model that fills in masked tokens of a text with Trainer, on text files or a data set of the Hub.

    python scripts/run_mlm.py scripts/recipes/shakespeare_mlm.yaml --train_file train.txt --validation_file validation.txt
    python scripts/run_mlm.py --config_name yelp-small --tokenizer_name bert-base-uncased --train_file mine.txt \
        --do_train --do_eval --output_dir outputs/mine

A recipe (YAML) takes the place of flags, and flags behind it win over it. The text is joined and cut into blocks, and tokens
are masked anew in every epoch. A text classifier can start from the result.
"""

from hyperset_lab.masked_language.task import TASK
from hyperset_lab.run import leave_processes


if __name__ == "__main__":
    TASK.main()
    leave_processes()

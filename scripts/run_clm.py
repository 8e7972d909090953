# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train or fine-tune a model that writes text with Trainer: Hyper-SET or a baseline, on text files or a data set of the Hub.

    python scripts/run_clm.py scripts/recipes/shakespeare_char.yaml --train_file train.txt --validation_file validation.txt
    python scripts/run_clm.py --config_name causal-base --tokenizer_name gpt2 --train_file mine.txt \
        --do_train --do_eval --output_dir outputs/mine

A recipe (YAML) takes the place of flags, and flags behind it win over it. The text is joined and cut into blocks. At the end
the model's loss, perplexity and a sample of its text are printed, and stand in its card.
"""

from hyperset_lab.language.task import TASK
from hyperset_lab.run import leave_processes


if __name__ == "__main__":
    TASK.main()
    leave_processes()

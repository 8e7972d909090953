# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train or fine-tune a Sudoku solver with Trainer: a digit for every blank cell, given the digits of the others (Section 5.1).

    python scripts/run_sudoku.py scripts/recipes/sudoku_small.yaml
    python scripts/run_sudoku.py --config_name sudoku --train_file train.csv --validation_file test.csv --do_train --do_eval \
        --output_dir outputs/mine

A recipe (YAML) takes the place of flags, and flags behind it win over it. At the end the saved folder is loaded again, and one
puzzle is followed over the iterations and drawn.
"""

from hyperset_lab.run import leave_processes
from hyperset_lab.sudoku.task import TASK


if __name__ == "__main__":
    TASK.main()
    leave_processes()

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The trainer of Sudoku solvers: it counts what is right by the number of given digits."""

from typing import Any, cast

import numpy as np

from hyperset_lab.sudoku.givens import Counted, accuracy_table, count_right, total
from hyperset_lab.tasks import most_likely
from hyperset_lab.trainer import ScriptTrainer, ScriptTrainingArguments
from transformers import EvalPrediction, PreTrainedModel


class SolverTrainer(ScriptTrainer):
    """`ScriptTrainer` that measures solvers, and whose card says how many boards are right by the number of given digits."""

    def __init__(self, model: PreTrainedModel, args: ScriptTrainingArguments, **options):
        super().__init__(
            model, args, compute_metrics=self.measure, preprocess_logits_for_metrics=most_likely, **options
        )
        self.by_depth: dict[int | None, Counted] = {}  # of the last evaluation at each number of iterations

    @property
    def depth(self) -> int | None:
        """The number of iterations of the model as it is now."""
        model: Any = self.model
        return getattr(model.config, "num_iterations", None)

    def measure(self, prediction: EvalPrediction) -> dict[str, float]:
        """`board_accuracy` and `cell_accuracy` of all puzzles, see [`givens.Counts`]."""
        counted = count_right(cast(np.ndarray, prediction.predictions), cast(np.ndarray, prediction.label_ids))
        self.by_depth[self.depth] = counted
        return total(counted).accuracies

    def card_section(self) -> str:
        if not self.by_depth:
            return ""
        table = accuracy_table(self.by_depth, self.depth)
        return f"\n## Boards right, by the number of given digits\n\n{table}\n\n`givens.json` has each number.\n"

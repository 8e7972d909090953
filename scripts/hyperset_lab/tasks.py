# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Tasks as the commands know them: `run_*.py` trains one, `compare.py` and `analyze.py` take one by name."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hyperset_lab.arguments import ModelArguments, parse_arguments
from hyperset_lab.origin import began, write_origin
from hyperset_lab.run import run
from hyperset_lab.trainer import ScriptTrainer


# The tasks that commands take by name; the module `task` of each folder has its `TASK`.
NAMES = ("images", "text", "sudoku", "masked_images", "language", "masked_language")


@dataclass(frozen=True)
class Score:
    """The measure by which models of a task are compared."""

    name: str  # as in the metrics of an evaluation, behind `eval_`
    higher_is_better: bool = True
    is_share: bool = True  # in [0, 1], and shown in per cent


def write_nothing(trainer: Any, metrics: dict[str, float], *arguments: Any) -> None:
    """For a task that has nothing to do after the run."""


@dataclass(frozen=True)
class Task:
    """
    A task that models are trained for.

    Args:
        script (`str`): Its command, such as `"scripts/run_sudoku.py"`.
        arguments: The dataclasses of its flags, those of the model first and `ScriptTrainingArguments` last.
        build_trainer: Takes the parsed arguments; gives the trainer and the keywords of its model card. It trains and writes
            nothing. It raises a `ValueError` if the arguments do not fit the data or the model.
        score: Takes a trainer and gives the [`Score`] that `compare.py` chooses by.
        after: Called when all is trained, evaluated and saved, with the trainer, the metrics and the parsed arguments.
        head (`str`): What the class names of its models end in, for `analyze.py`; empty if it cannot be analysed there.
        recognises: Takes the config of a checkpoint with that head and says whether it may be one of this task.
    """

    script: str
    arguments: tuple[type, ...]
    build_trainer: Callable[..., tuple[ScriptTrainer, dict[str, Any]]]
    score: Callable[[Any], Score]
    after: Callable[..., None] = write_nothing
    head: str = ""
    recognises: Callable[[Any], bool] = lambda config: True

    def main(self, arguments: Sequence[str] | None = None) -> dict[str, float]:
        """Train and evaluate as the flags say, and return the metrics of the evaluation."""
        parsed = parse_arguments(self.arguments, arguments, self.script)
        start = began(parsed[-1].command)
        trainer, card = self.build_trainer(*parsed)
        metrics = run(trainer, card) if trainer.args.do_train or trainer.args.do_eval else {}
        if trainer.args.do_train:
            write_origin(trainer, metrics, self.score(trainer), start, card.get("dataset"))
        self.after(trainer, metrics, *parsed)
        return metrics


def task_named(name: str, flag: str = "--task") -> Task:
    """The task of a name. If there is none, a `ValueError` names the `flag`."""
    if name not in NAMES:
        raise ValueError(f"`{flag}` must be one of {', '.join(NAMES)}, got {name!r}.")
    return importlib.import_module(f"hyperset_lab.{name}.task").TASK


def most_likely(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """
    Logits of shape `(…, num_labels)` → the most likely labels, `(…)`. With it as `preprocess_logits_for_metrics`, Trainer
    does not keep the logits of all samples, which would not fit into memory.
    """
    return logits.argmax(dim=-1)


def card_of(
    task: str, tags: Sequence[str], dataset: str | None, model_arguments: ModelArguments | None = None
) -> dict[str, Any]:
    """What the model card of a run says: the `task` by its name on the Hub, its `tags`, the data set and the checkpoint."""
    card: dict[str, Any] = {"tasks": task, "tags": list(tags)}
    if dataset is not None:
        card["dataset"] = dataset
    if model_arguments is not None and model_arguments.model_name_or_path is not None:
        card["finetuned_from"] = model_arguments.model_name_or_path
    return card

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the training scripts do with a Trainer: train or resume, evaluate at several depths, save, write the card, push."""

import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from common import check_login, pushing
from model_card import write_card
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint


@dataclass
class ScriptTrainingArguments(TrainingArguments):
    """`TrainingArguments`, and the depths to evaluate at."""

    eval_num_iterations: list[int] | None = field(
        default=None,
        metadata={
            "help": "Numbers of iterations to evaluate the trained model at; the trained number and twice as many if not given."
        },
    )

    def __getstate__(self) -> dict[str, Any]:
        """What goes into `training_args.bin`, which is pushed: not the token."""
        return self.__dict__ | {"hub_token": None}

    def __post_init__(self):
        super().__post_init__()
        if self.push_to_hub and self.process_index == 0:
            check_login(self.hub_token)
        if self.eval_num_iterations is not None and any(depth < 1 for depth in self.eval_num_iterations):
            raise ValueError(f"`--eval_num_iterations` must be positive, got {self.eval_num_iterations}.")


def check_splits(arguments: TrainingArguments, splits: Collection[str]) -> None:
    """
    Raises:
        `ValueError`: neither training nor evaluation is asked for, or the data lack the split (`train`, `eval`) for it.
    """
    if not (arguments.do_train or arguments.do_eval):
        raise ValueError("Nothing to do: pass `--do_train`, `--do_eval`, or both.")
    if arguments.do_train and "train" not in splits:
        raise ValueError("The data set has no split to train on.")
    if arguments.do_eval and "eval" not in splits:
        raise ValueError("The data set has no split to evaluate on.")


@contextlib.contextmanager
def depth(model: PreTrainedModel, num_iterations: int):
    """Within it, `model` runs each layer `num_iterations` times."""
    trained, model.config.num_iterations = model.config.num_iterations, num_iterations
    try:
        yield
    finally:
        model.config.num_iterations = trained


def run(trainer: Trainer, card: dict[str, Any]) -> dict[str, float]:
    """
    Train (or resume) and evaluate as the trainer's arguments say; save the model, its processor and the metrics in
    `output_dir` with a model card that says `card` (the keywords of [`model_card.write_card`]), and push them if asked to.

    Returns:
        The metrics of the evaluation: at the trained number of iterations by the names Trainer gives them, such as
        `eval_accuracy`, at any other with its number, such as `eval_16_iterations_accuracy`.
    """
    arguments = trainer.args
    if arguments.do_train:
        metrics = trainer.train(resume_from_checkpoint=checkpoint_to_resume(arguments)).metrics
        trainer.save_model(_internal_call=True)  # which does not push: that comes once, at the end, with the card
        trainer.save_state()
        trainer.log_metrics("train", metrics)
        trainer.save_metrics("train", metrics)
    metrics = {}
    if arguments.do_eval:
        metrics = evaluate_depths(trainer)
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)
    # Whatever pushes writes this card, instead of Trainer's own.
    trainer.create_model_card = lambda **_: write_card(trainer, metrics, **card)
    if arguments.push_to_hub:
        with pushing(arguments.output_dir, trainer.hub_model_id):
            trainer.push_to_hub()
    else:
        trainer.create_model_card()
    return metrics


def checkpoint_to_resume(arguments: TrainingArguments) -> str | None:
    """The checkpoint that `--resume_from_checkpoint` names, the last one of `output_dir` if it is `True`."""
    checkpoint = arguments.resume_from_checkpoint
    if checkpoint not in ("True", "true", True):
        return checkpoint
    checkpoint = get_last_checkpoint(arguments.output_dir)
    if checkpoint is None:
        raise ValueError(f"`--resume_from_checkpoint` finds no checkpoint in {arguments.output_dir!r}.")
    return checkpoint


def evaluate_depths(trainer: Trainer) -> dict[str, float]:
    """Evaluate at the trained number of iterations and at all that `--eval_num_iterations` asks for."""
    model, metrics = trainer.model, {}
    trained = getattr(model.config, "num_iterations", None)
    if trained is None:
        return trainer.evaluate()
    wanted = trainer.args.eval_num_iterations
    if wanted is None:
        # Depth-wise LoRA has weights for the trained iterations alone.
        wanted = [trained] if model.config.lora_rank else [trained, 2 * trained]
    for num_iterations in dict.fromkeys([trained, *wanted]):
        prefix = "eval" if num_iterations == trained else f"eval_{num_iterations}_iterations"
        with depth(model, num_iterations):
            metrics |= trainer.evaluate(metric_key_prefix=prefix)
    return metrics

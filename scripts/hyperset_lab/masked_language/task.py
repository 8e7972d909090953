# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Train or fine-tune a model that fills in masked tokens of a text."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from hyperset_lab.arguments import option
from hyperset_lab.language.data import LanguageDataArguments
from hyperset_lab.language.examples import masking
from hyperset_lab.language.task import build_language_trainer
from hyperset_lab.language.tokenizer import LanguageModelArguments
from hyperset_lab.language.trainer import LanguageTrainer
from hyperset_lab.tasks import Score, Task, card_of
from hyperset_lab.trainer import ScriptTrainingArguments
from transformers import AutoModelForMaskedLM


@dataclass
class MaskedLanguageDataArguments(LanguageDataArguments):
    """Which text to learn from, and how much of it is masked."""

    mlm_probability: float = option(0.15, "Share of the tokens that the model has to tell.")

    def __post_init__(self):
        super().__post_init__()
        if not 0.0 < self.mlm_probability <= 1.0:
            raise ValueError(f"`--mlm_probability` must lie in (0, 1], got {self.mlm_probability}.")


def build_trainer(
    model_arguments: LanguageModelArguments,
    data_arguments: MaskedLanguageDataArguments,
    training_arguments: ScriptTrainingArguments,
) -> tuple[LanguageTrainer, dict[str, Any]]:
    """The trainer that the arguments ask for, and what its model card says."""
    mask = partial(masking, probability=data_arguments.mlm_probability)
    trainer = build_language_trainer(
        AutoModelForMaskedLM, model_arguments, data_arguments, training_arguments, mask, None
    )
    tags = ("fill-mask", "hyperset")
    return trainer, card_of(tags[0], tags, data_arguments.dataset_name, model_arguments)


TASK = Task(
    script="scripts/run_mlm.py",
    arguments=(LanguageModelArguments, MaskedLanguageDataArguments, ScriptTrainingArguments),
    build_trainer=build_trainer,
    score=lambda trainer: Score("loss", higher_is_better=False, is_share=False),
    head="MaskedLM",
)
main = TASK.main

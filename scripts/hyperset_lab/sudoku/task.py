# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Train or fine-tune a Sudoku solver: a digit for every blank cell, given the digits of the others (Section 5.1)."""

from typing import Any, cast

import torch

from hyperset_lab.arguments import ModelArguments
from hyperset_lab.classes import align_classes, checkpoint_with_head, positions
from hyperset_lab.models import label_fields, load_config, load_model, model_of, reorder_head
from hyperset_lab.run import check_splits
from hyperset_lab.sudoku.data import GENERATED, SudokuDataArguments, load_puzzles
from hyperset_lab.sudoku.puzzles import DIGITS, SudokuDataset, is_solver
from hyperset_lab.sudoku.report import write_givens, write_solving
from hyperset_lab.sudoku.trainer import SolverTrainer
from hyperset_lab.tasks import Score, Task, card_of
from hyperset_lab.trainer import ScriptTrainingArguments
from transformers import AutoModelForTokenClassification, set_seed


def build_trainer(
    model_arguments: ModelArguments, data_arguments: SudokuDataArguments, training_arguments: ScriptTrainingArguments
) -> tuple[SolverTrainer, dict[str, Any]]:
    """The trainer that the arguments ask for, and what its model card says. Nothing is trained or written yet."""
    set_seed(training_arguments.seed)
    wanted = [split for split in ("train", "eval") if getattr(training_arguments, f"do_{split}")]
    with training_arguments.main_process_first():  # one process generates or downloads, the others find it done
        data = load_puzzles(data_arguments, model_arguments.hub_options, wanted, training_arguments.seed)
    check_splits(training_arguments, data)
    checkpoint = checkpoint_with_head(model_arguments, TASK.head)
    order = align_classes(DIGITS, checkpoint, training_arguments.do_train, model_arguments.ignore_mismatched_sizes)
    if not set(order) == set(DIGITS):
        raise ValueError(
            f"A solver's classes must be the digits {', '.join(DIGITS)}, the checkpoint has {', '.join(order)}."
        )
    config = load_config(model_arguments, **label_fields(DIGITS))
    model = load_model(AutoModelForTokenClassification, model_arguments, config)
    if list(order) != DIGITS:
        reorder_head(model, positions(DIGITS, order))
    # A model that cannot take a Sudoku is an error now, not hours later in the first step of a run that waited.
    model.eval()
    with torch.no_grad():
        model(torch.arange(81)[None] % 10)
    if training_arguments.process_index == 0:
        print(f"{type(model).__name__} with {model.num_parameters():,} parameters, {data}")

    train_dataset = None
    if training_arguments.do_train:
        train_dataset = SudokuDataset(data["train"], training_arguments.seed if data_arguments.augment else None)
    trainer = SolverTrainer(
        model=model,
        args=training_arguments,
        train_dataset=train_dataset,
        eval_dataset=SudokuDataset(data["eval"]) if training_arguments.do_eval else None,
    )
    name = data_arguments.dataset_name
    dataset = "generated Sudoku puzzles" if name == GENERATED else name
    tags = ("token-classification", "sudoku", "hyperset")
    return trainer, card_of(tags[0], tags, dataset, model_arguments)


def report(
    trainer: SolverTrainer,
    metrics: dict[str, float],
    model_arguments: ModelArguments,
    data_arguments: SudokuDataArguments,
    training_arguments: ScriptTrainingArguments,
) -> None:
    """
    Write how many puzzles and how many right answers there are by the number of given digits. Then follow one puzzle over the
    iterations and draw it, by the saved model where one was trained.
    """
    if not trainer.is_world_process_zero():
        return
    datasets = {"train": trainer.train_dataset, "eval": trainer.eval_dataset}
    data = {name: cast(SudokuDataset, dataset).data for name, dataset in datasets.items() if dataset is not None}
    write_givens(data, data_arguments.asked, trainer, str(training_arguments.output_dir))
    if not training_arguments.do_eval:
        return
    model = model_of(trainer)
    if training_arguments.do_train:
        model = AutoModelForTokenClassification.from_pretrained(
            str(training_arguments.output_dir), trust_remote_code=model_arguments.trust_remote_code
        ).to(training_arguments.device)
    write_solving(model, cast(SudokuDataset, trainer.eval_dataset).data, training_arguments)


TASK = Task(
    script="scripts/run_sudoku.py",
    arguments=(ModelArguments, SudokuDataArguments, ScriptTrainingArguments),
    build_trainer=build_trainer,
    score=lambda trainer: Score("board_accuracy"),
    after=report,
    head="ForTokenClassification",
    recognises=is_solver,
)
main = TASK.main

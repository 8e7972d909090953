# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train or fine-tune a Sudoku solver with Trainer: a digit for every blank cell, given the digits of the others (Section 5.1).

    python scripts/run_sudoku.py scripts/recipes/sudoku_small.yaml
    python scripts/run_sudoku.py --config_name sudoku --train_file train.csv --validation_file test.csv --do_train --do_eval \
        --output_dir outputs/mine

A recipe (YAML) takes the place of flags, and flags behind it win over it. At the end the saved folder is loaded again, and one
puzzle is followed over the iterations and drawn.
"""

from typing import Any

import torch

from hyperset_lab.arguments import ModelArguments, parse_arguments
from hyperset_lab.models import load_config, load_model
from hyperset_lab.run import check_splits, run
from hyperset_lab.sudoku.data import GENERATED, SudokuDataArguments, load_puzzles
from hyperset_lab.sudoku.puzzles import SudokuDataset
from hyperset_lab.sudoku.report import write_report
from hyperset_lab.trainer import ScriptTrainer, ScriptTrainingArguments
from transformers import AutoModelForTokenClassification, set_seed


DIGITS = [str(digit) for digit in range(1, 10)]


def most_likely(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Logits of shape `(boards, 81, 9)` → the most likely labels, `(boards, 81)`; so that no logits are kept."""
    return logits.argmax(dim=-1).to(torch.int8)


def accuracies(prediction) -> dict[str, float]:
    """
    `board_accuracy`, the share of boards on which every blank cell gets its digit, and `cell_accuracy`, the share of all blank
    cells that do. Given cells (label -100) count in neither.
    """
    blank = prediction.label_ids != -100
    right = prediction.predictions == prediction.label_ids
    return {
        "board_accuracy": float((right | ~blank).all(axis=-1).mean()),
        "cell_accuracy": float(right[blank].mean()),
    }


ARGUMENTS = (ModelArguments, SudokuDataArguments, ScriptTrainingArguments)


def build_trainer(
    model_arguments: ModelArguments,
    data_arguments: SudokuDataArguments,
    training_arguments: ScriptTrainingArguments,
) -> tuple[ScriptTrainer, dict[str, Any]]:
    """The trainer that the arguments ask for, and what its model card says. Nothing is trained or written yet."""
    set_seed(training_arguments.seed)
    wanted = [split for split in ("train", "eval") if getattr(training_arguments, f"do_{split}")]
    with training_arguments.main_process_first():  # one process generates or downloads, the others find it done
        data = load_puzzles(data_arguments, model_arguments.hub_options, wanted)
    check_splits(training_arguments, data)
    config = load_config(
        model_arguments,
        id2label=dict(enumerate(DIGITS)),
        label2id={digit: label for label, digit in enumerate(DIGITS)},
    )
    model = load_model(AutoModelForTokenClassification, model_arguments, config)
    # What cannot take a Sudoku is an error here, not in the first step of a run that was queued for hours.
    model.eval()
    with torch.no_grad():
        model(torch.arange(81)[None] % 10)
    if training_arguments.process_index == 0:
        print(f"{type(model).__name__} with {model.num_parameters():,} parameters, {data}")

    train_dataset = None
    if training_arguments.do_train:
        train_dataset = SudokuDataset(data["train"], training_arguments.seed if data_arguments.augment else None)
    trainer = ScriptTrainer(
        model=model,
        args=training_arguments,
        train_dataset=train_dataset,
        eval_dataset=SudokuDataset(data["eval"]) if training_arguments.do_eval else None,
        compute_metrics=accuracies,
        preprocess_logits_for_metrics=most_likely,
    )
    card = {"tasks": "token-classification", "tags": ["token-classification", "sudoku", "hyperset"]}
    if data_arguments.dataset_name is not None:
        name = data_arguments.dataset_name
        card["dataset"] = "generated Sudoku puzzles" if name == GENERATED else name
    if model_arguments.model_name_or_path is not None:
        card["finetuned_from"] = model_arguments.model_name_or_path
    return trainer, card


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train and evaluate as the flags say, and return the metrics of [`run.run`]."""
    model_arguments, data_arguments, training_arguments = parse_arguments(
        ARGUMENTS, arguments, "scripts/run_sudoku.py"
    )
    trainer, card = build_trainer(model_arguments, data_arguments, training_arguments)
    metrics = run(trainer, card)

    if training_arguments.do_eval and trainer.is_world_process_zero():
        model = trainer.model
        if training_arguments.do_train:
            model = AutoModelForTokenClassification.from_pretrained(
                training_arguments.output_dir, trust_remote_code=model_arguments.trust_remote_code
            ).to(training_arguments.device)
        write_report(model, trainer.eval_dataset.data, training_arguments)
    return metrics

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Sudoku puzzles in memory: parsed, checked, and as a data set for Trainer, augmented or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

from hyperset_lab.models import label_names
from hyperset_lab.sudoku.generator import augment
from hyperset_lab.sudoku.solver import ALL, CELLS_OF_UNIT, to_candidates


logger = logging.get_logger(__name__)

DIGITS = [str(digit) for digit in range(1, 10)]  # the names of a solver's labels


@dataclass
class Puzzles:
    """Puzzles and their solutions as digits, 0 for a blank: `np.uint8` of shape `(num_puzzles, 81)` each."""

    puzzles: np.ndarray
    solutions: np.ndarray

    def __len__(self) -> int:
        return len(self.puzzles)

    def __getitem__(self, rows) -> "Puzzles":
        return Puzzles(self.puzzles[rows], self.solutions[rows])

    @property
    def num_givens(self) -> np.ndarray:
        """Given digits of each puzzle."""
        return (self.puzzles != 0).sum(axis=1)

    def __repr__(self) -> str:
        numbers, counts = np.unique(self.num_givens, return_counts=True)
        text = f"{len(self)} puzzles with {numbers.min()} to {numbers.max()} given digits"
        if numbers.size == 1:
            return text
        fewest, most = counts.min(), counts.max()
        link = "or" if most - fewest == 1 else "to"
        return f"{text}, {fewest if fewest == most else f'{fewest} {link} {most}'} of each number"


def parse_boards(values: Sequence[str], source: str, column: str) -> np.ndarray:
    """Strings of 81 digits, 0 or . for a blank, as digits: `np.uint8` of shape `(len(values), 81)`."""
    values = list(values)
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str) or len(value) != 81:
            size = f"{len(value)} characters" if isinstance(value, str) else f"a {type(value).__name__}"
            raise ValueError(
                f"{source}, row {row}: `{column}` must be 81 digits, 0 or . for a blank, got {size}: {value!r}."
            )
    text = "".join(values).encode("ascii", errors="replace").replace(b".", b"0")
    digits = np.frombuffer(text, dtype=np.uint8).reshape(len(values), 81) - np.uint8(ord("0"))
    if (digits > 9).any():
        row, cell = np.argwhere(digits > 9)[0]
        raise ValueError(
            f"{source}, row {row + 1}: `{column}` must be 81 digits, 0 or . for a blank, got {values[row][cell]!r} at "
            f"character {cell + 1}: {values[row]!r}."
        )
    return digits


def check_puzzles(data: Puzzles, source: str) -> None:
    """Refuse a solution that is no valid Sudoku or changes a given digit, and a puzzle without a blank."""
    candidates = np.where(data.solutions == 0, 0, to_candidates(data.solutions))
    held = np.bitwise_or.reduce(candidates[:, CELLS_OF_UNIT], axis=2)
    wrong_units = held != ALL
    if wrong_units.any():
        row, unit = np.argwhere(wrong_units)[0]
        name = f"{('row', 'column', 'box')[unit // 9]} {unit % 9 + 1}"
        raise ValueError(
            f"{source}, row {row + 1}: the solution is no valid Sudoku: its {name} must hold each digit 1 to 9 once, got "
            f"{''.join(map(str, data.solutions[row][CELLS_OF_UNIT[unit]]))}."
        )
    differs = (data.puzzles != 0) & (data.puzzles != data.solutions)
    if differs.any():
        row, cell = np.argwhere(differs)[0]
        raise ValueError(
            f"{source}, row {row + 1}: the solution contradicts the puzzle in row {cell // 9 + 1}, column {cell % 9 + 1}: "
            f"expected the given {data.puzzles[row, cell]}, got {data.solutions[row, cell]}."
        )
    full = (data.puzzles != 0).all(axis=1)
    if full.any():
        raise ValueError(f"{source}, row {full.argmax() + 1}: the puzzle has no blank cell: nothing is left to solve.")


def takes_boards(config: Any) -> bool:
    """Whether a model of this config takes 81 cells with ids 0 to 9 and gives one of nine labels for each."""
    has_ids = config.takes_token_ids and config.vocab_size >= 10
    return has_ids and config.num_labels == 9 and config.num_positions >= 81


def is_solver(config: Any) -> bool:
    """Whether a token classifier is a Sudoku solver by its ids or by the names of its labels: others have nine labels too."""
    return takes_boards(config) and (config.vocab_size == 10 or label_names(config) == DIGITS)


def without_shared(train: Puzzles, evaluation: Puzzles) -> Puzzles:
    """`train` without the puzzles that are in `evaluation` too; says how many there were."""
    held_out = {puzzle.tobytes() for puzzle in evaluation.puzzles}
    shared = np.array([puzzle.tobytes() in held_out for puzzle in train.puzzles])
    if shared.all():
        raise ValueError(f"All {len(train)} puzzles to train on are among those to evaluate on.")
    if shared.any():
        logger.warning(f"Left {shared.sum()} puzzles out of training that are among those to evaluate on.")
    return train[~shared]


class SudokuDataset(torch.utils.data.Dataset):
    """
    Puzzles as a token classification task: `input_ids` are the 81 cells in row-major order, 0 for a blank, and `labels` the
    digit minus one in the blank cells, -100 in the given ones; both `torch.LongTensor` of shape `(81,)`. With an `augment_seed`
    every epoch has another board of the same form, see [`augment`]. Which one depends only on this seed, the epoch and the
    puzzle: a resumed run sees what an unbroken one sees.
    """

    def __init__(self, data: Puzzles, augment_seed: int | None = None):
        self.data, self.augment_seed = data, augment_seed
        self.epoch = torch.zeros(
            (), dtype=torch.long
        ).share_memory_()  # shared with workers that live longer than an epoch

    def __len__(self) -> int:
        return len(self.data)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of what is read from now on."""
        self.epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        puzzle, solution = self.data.puzzles[index], self.data.solutions[index]
        if self.augment_seed is not None:
            rng = np.random.default_rng((self.augment_seed, int(self.epoch), index))
            puzzle, solution = augment(puzzle, solution, rng)
        input_ids = torch.from_numpy(puzzle.astype(np.int64))
        labels = torch.from_numpy(solution.astype(np.int64)) - 1
        return {"input_ids": input_ids, "labels": labels.masked_fill(input_ids != 0, -100)}

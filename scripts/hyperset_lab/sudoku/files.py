# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Files of Sudoku puzzles: CSV with or without a header, and SATNet's tensors. Pickles are refused."""

import csv
import pickle
from pathlib import Path

import torch
from datasets import Dataset


PICKLES = (".p", ".pkl", ".pickle")
TENSORS = ("features.pt", "labels.pt")  # SATNet's names for the puzzles and their solutions

# Arrays of 9 × 9 digits by any key, in a file of puzzles and one of solutions, as in the set of 70,000 puzzles.
FROM_PICKLES = (
    "python -c \"import pickle, sys; puzzles, solutions = (pickle.load(open(path, 'rb'), encoding='latin1') for path in "
    "sys.argv[1:]); [print(*(''.join(map(str, boards[key].astype(int).flat)) for boards in (puzzles, solutions)), sep=',') "
    'for key in puzzles]"'
)


def is_puzzle_file(path: Path) -> bool:
    """Whether a path is one that [`read_puzzle_file`] takes: a file, or a folder with SATNet's tensors."""
    return path.is_file() or all((path / name).is_file() for name in TENSORS)


def read_puzzle_file(path: str, columns: tuple[str, str]) -> Dataset:
    """
    A file of puzzles and solutions as two `columns` of strings of 81 digits. (A CSV file keeps all of its own columns.)

    Raises:
        `ValueError`: a file that cannot be read, with its row.
    """
    place = Path(path)
    if place.suffix.lower() in PICKLES:
        solutions = place.with_name(place.name.replace("given", "solved"))
        raise ValueError(
            f"{path} is a pickle. It is not read, because reading a pickle may run any program. If you trust where it comes "
            f"from, turn the puzzles and their solutions into a CSV file, and pass that: {FROM_PICKLES} {place} "
            f"{solutions if solutions != place else 'SOLUTIONS.p'} > puzzles.csv"
        )
    if place.is_dir() or place.suffix.lower() in (".pt", ".pth"):
        return read_tensors(place, columns)
    return read_csv(path, columns)


def read_tensors(path: Path, columns: tuple[str, str]) -> Dataset:
    """
    SATNet's `features.pt` and `labels.pt` in a folder, or one of them with the other beside it: tensors of shape
    `(n, 9, 9, 9)`, a row of nine zeros and ones for each cell. A blank has zeros alone.
    """
    folder = path if path.is_dir() else path.parent
    if not path.is_dir() and path.name not in TENSORS:
        raise ValueError(f"{path}: tensors of puzzles must be called {' and '.join(TENSORS)} (SATNet's data).")
    boards = {}
    for column, name in zip(columns, TENSORS, strict=True):
        file = folder / name
        if not file.is_file():
            raise ValueError(
                f"{path}: expected the puzzles and the solutions in one folder, but {file} does not exist."
            )
        boards[column] = board_strings(read_tensor(file), str(file))
    if len({len(rows) for rows in boards.values()}) != 1:
        raise ValueError(
            f"{folder}: {' and '.join(TENSORS)} must have as many boards as each other, got "
            f"{' and '.join(str(len(rows)) for rows in boards.values())}."
        )
    return Dataset.from_dict(boards)


def read_tensor(path: Path) -> torch.Tensor:
    """The tensor in a file, which may hold nothing else."""
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a tensor: {error}") from error
    if not isinstance(tensor, torch.Tensor) or tensor.dim() != 4 or tensor.shape[1:] != (9, 9, 9):
        found = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise ValueError(f"{path} must hold a tensor of shape (n, 9, 9, 9), got {found}.")
    return tensor


def board_strings(tensor: torch.Tensor, source: str) -> list[str]:
    """Cells of nine zeros and ones → strings of 81 digits, 0 for a blank."""
    cells = tensor.flatten(1, 2)  # (n, 81, 9)
    wrong = ((cells != 0) & (cells != 1)).any(dim=-1) | ((cells == 1).sum(dim=-1) > 1)
    if wrong.any():
        row, cell = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"{source}, row {row + 1}: each cell must have nine zeros, or eight and a one, got {cells[row, cell].tolist()} in "
            f"row {cell // 9 + 1}, column {cell % 9 + 1}."
        )
    digits = torch.where(cells.any(dim=-1), cells.int().argmax(dim=-1) + 1, 0)
    text = bytes((digits + ord("0")).to(torch.uint8).flatten().tolist()).decode()
    return [text[start : start + 81] for start in range(0, len(text), 81)]


def read_csv(path: str, columns: tuple[str, str]) -> Dataset:
    """A CSV file as strings. If its first row is a puzzle, it has no header, like those of Palm et al. (2018)."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            rows = [[value.strip() for value in row] for row in csv.reader(file)]
        except csv.Error as error:
            raise ValueError(f"{path} cannot be read as CSV: {error}.") from error
    rows = [row for row in rows if row not in ([], [""])]
    if not rows:
        raise ValueError(f"{path} is empty: expected names of columns, then a puzzle and its solution per row.")
    if all(len(value) == 81 and set(value) <= set("0123456789.") for value in rows[0]):
        if len(rows[0]) != 2:
            raise ValueError(
                f"{path} has {len(rows[0])} columns and no header: expected a puzzle and its solution per row."
            )
        names = list(columns)
    else:
        names = rows.pop(0)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: each column must have a name of its own, got {', '.join(twice)} more than once.")
    for row, values in enumerate(rows, start=1):
        if len(values) != len(names):
            raise ValueError(
                f"{path}, row {row}: expected {len(names)} fields ({', '.join(names)}), got {len(values)}: {values}."
            )
    return Dataset.from_dict({name: [values[index] for values in rows] for index, name in enumerate(names)})

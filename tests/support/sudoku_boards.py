# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Sudoku boards for the tests, and what a board must be, said independently of the scripts."""

import numpy as np


# A puzzle of 17 digits, from Gordon Royle's list.
PUZZLE = "000000010400000000020000000000050407008000300001090000300400200050100000000806000"
SOLUTION = "693784512487512936125963874932651487568247391741398625319475268856129743274836159"


def board(text: str) -> np.ndarray:
    """81 characters, 0 or . for a blank, as digits."""
    return np.array([0 if character == "." else int(character) for character in text], dtype=np.uint8)


def as_row(puzzle: np.ndarray, solution: np.ndarray) -> str:
    """A row of a CSV file."""
    return ",".join("".join(map(str, digits.tolist())) for digits in (puzzle, solution))


def write_csv(path, *rows: str, header: str | None = "puzzle,solution") -> str:
    path.write_text("\n".join(([header] if header else []) + list(rows)) + "\n", encoding="utf-8")
    return str(path)


def is_valid(solution: np.ndarray) -> bool:
    grid = solution.reshape(9, 9)
    boxes = grid.reshape(3, 3, 3, 3).swapaxes(1, 2).reshape(9, 9)
    return all((np.sort(units, axis=1) == np.arange(1, 10)).all() for units in (grid, grid.T, boxes))


def count_solutions(digits: list[int], limit: int = 2) -> int:
    """Plain backtracking, one board at a time: nothing in common with the solver under test."""

    def options(cell):
        row, column = divmod(cell, 9)
        top, left = row // 3 * 3, column // 3 * 3
        seen = {digits[9 * row + other] for other in range(9)} | {digits[9 * other + column] for other in range(9)}
        seen |= {digits[9 * (top + i) + left + j] for i in range(3) for j in range(3)}
        return [digit for digit in range(1, 10) if digit not in seen]

    blanks = [cell for cell in range(81) if digits[cell] == 0]
    if not blanks:
        return 1
    cell, choices = min(((cell, options(cell)) for cell in blanks), key=lambda pair: len(pair[1]))
    found = 0
    for digit in choices:
        digits[cell] = digit
        found += count_solutions(digits, limit - found)
        digits[cell] = 0
        if found >= limit:
            break
    return found

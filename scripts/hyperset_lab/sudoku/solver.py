# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
A Sudoku solver that works on many boards at once.

A board is a column of an array of shape `(81, boards)`, its cells in row-major order. Inside the solver a cell is the set of
its candidates as nine bits, bit d - 1 for digit d; outside, a digit 1 … 9 or 0 for a blank.
"""

import numpy as np


ALL = np.uint16(0b111111111)
NUM_CANDIDATES = np.array([candidates.bit_count() for candidates in range(512)], dtype=np.uint8)

_rows, _columns = np.divmod(np.arange(81), 9)
# Row, column and box of each cell, as 27 units: (81, 3); and the cells of each unit: (27, 9).
UNITS_OF_CELL = np.stack((_rows, 9 + _columns, 18 + _rows // 3 * 3 + _columns // 3), axis=1)
CELLS_OF_UNIT = np.stack([np.flatnonzero((UNITS_OF_CELL == unit).any(axis=1)) for unit in range(27)])


def to_candidates(digits: np.ndarray) -> np.ndarray:
    """Digits 0 … 9 → candidates, of the same shape; a blank has all."""
    return np.where(digits == 0, ALL, (np.uint16(1) << np.maximum(digits, 1).astype(np.uint16)) >> 1).astype(np.uint16)


def to_digits(candidates: np.ndarray) -> np.ndarray:
    """Candidates → digits, of the same shape; 0 where there is not exactly one."""
    digits = np.zeros(512, dtype=np.uint8)
    digits[1 << np.arange(9)] = np.arange(1, 10)
    return digits[candidates]


def propagate(candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Strike out candidates, `(81, boards)`, until nothing changes: a digit that another cell of a unit holds, and all but the
    digit that only this cell of a unit can hold. Returns the candidates left, and booleans of shape `(boards,)`: False where a
    board was found to contradict itself.
    """
    candidates = candidates.copy()
    alive = np.ones(candidates.shape[1], dtype=bool)
    active = np.arange(candidates.shape[1])
    current = candidates
    while active.size:
        held = np.where(NUM_CANDIDATES[current] == 1, current, 0)
        in_units = held[CELLS_OF_UNIT]
        taken = np.bitwise_or.reduce(in_units, axis=1)
        clash = NUM_CANDIDATES[taken] < np.count_nonzero(in_units, axis=1)
        possible, several = possible_in_units(current)
        consistent = ((possible == ALL) & ~clash).all(axis=0) & (current != 0).all(axis=0)
        only_here = possible & ~several
        row, column, box = UNITS_OF_CELL.T
        changed = np.where(held, current, current & ~(taken[row] | taken[column] | taken[box]))
        forced = changed & (only_here[row] | only_here[column] | only_here[box])
        changed = np.where(forced, forced, changed)

        alive[active[~consistent]] = False
        moving = consistent & (changed != current).any(axis=0)
        active, current = active[moving], changed[:, moving]
        candidates[:, active] = current
    return candidates, alive


def possible_in_units(candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The digits that any cell of each unit can hold, and those that several can, of shape `(27, boards)` each."""
    cells = candidates[CELLS_OF_UNIT].reshape(27, 3, 3, -1)  # threes of cells first, then the three of them
    one, two, three = cells[:, :, 0], cells[:, :, 1], cells[:, :, 2]
    several = np.bitwise_or.reduce((one & two) | (three & (one | two)), axis=1)
    one, two, three = (one | two | three).swapaxes(0, 1)
    return one | two | three, several | (one & two) | (three & (one | two))


def search(
    candidates: np.ndarray, limit: int, rng: np.random.Generator | None = None, at_once: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """
    Count solutions by depth-first search, of all boards at once: strike out, then try a digit in the cell with the fewest.

    Args:
        candidates (`np.ndarray` of shape `(81, boards)`): Candidates.
        limit (`int`): How many solutions of a board to look for.
        rng (`np.random.Generator`, *optional*): Tries digits in random order; from the smallest if not given.
        at_once (`int`): Look at up to so many states together, where one branch of each board has fewer. That is quicker for
            few boards, and may find another of several solutions.

    Returns:
        The number of solutions found, at most `limit`, of shape `(boards,)`, and the last one found of each board as digits,
        of shape `(81, boards)` (zeros where there is none).
    """
    counts = np.zeros(candidates.shape[1], dtype=np.int64)
    solutions = np.zeros(candidates.shape, dtype=np.uint8)
    stack = [(candidates, np.arange(candidates.shape[1]))]
    while stack:
        states, boards = stack.pop()
        while stack and boards.size + stack[-1][1].size <= at_once:
            more = stack.pop()
            states, boards = np.concatenate((states, more[0]), axis=1), np.concatenate((boards, more[1]))
        unfinished = counts[boards] < limit
        boards = boards[unfinished]
        states, alive = propagate(states[:, unfinished])
        states, boards = states[:, alive], boards[alive]
        choices = NUM_CANDIDATES[states]
        solved = (choices == 1).all(axis=0)
        # States of one board exclude each other: each solved one is another solution.
        np.add.at(counts, boards[solved], 1)
        solutions[:, boards[solved]] = to_digits(states[:, solved])
        states, boards, choices = states[:, ~solved], boards[~solved], choices[:, ~solved]
        if boards.size == 0:
            continue
        here = np.where(choices == 1, 10, choices).argmin(axis=0), np.arange(boards.size)
        digit = pick(states[here], rng)
        without = states.copy()
        without[here] ^= digit
        states[here] = digit
        stack += [(without, boards), (states, boards)]
    return np.minimum(counts, limit), solutions


def pick(candidates: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """One of the candidates of each cell: the smallest, or a random one."""
    if rng is None:
        return candidates & (~candidates + np.uint16(1))
    bits = np.uint16(1) << np.arange(9, dtype=np.uint16)[:, None]
    weights = np.where(candidates & bits, rng.random((9, candidates.size)), -1)
    return bits[weights.argmax(axis=0), 0]


def solve(puzzles: np.ndarray, limit: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """
    Solve puzzles of shape `(boards, 81)`, 0 for a blank: the number of solutions found of each, of shape `(boards,)`, and one
    of them, of shape `(boards, 81)`. With a `limit` of 2 solutions to look for, a count of 1 says that there is no other.
    """
    counts, solutions = search(to_candidates(np.asarray(puzzles).T), limit)
    return counts, solutions.T

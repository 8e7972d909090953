# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
A Sudoku solver that works on many boards at once, a generator of puzzles with exactly one solution, and their symmetries.

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

FEWEST_GIVENS = 17  # no puzzle with fewer has one solution (McGuire, Tugemann and Civario, 2012)
# Taking digits away at random seldom leaves fewer: about one board in five gets to 23, one in 25 to 22.
FEWEST_GENERATED = 23
BOARDS_AT_ONCE = 500  # what fits the processor's cache


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
        possible, several, taken, clash = np.zeros((4, 27, active.size), dtype=np.uint16)
        for cells in CELLS_OF_UNIT.T:
            several |= possible & current[cells]
            possible |= current[cells]
            clash |= taken & held[cells]
            taken |= held[cells]
        consistent = ((possible == ALL) & (clash == 0)).all(axis=0) & (current != 0).all(axis=0)
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


def search(
    candidates: np.ndarray, limit: int, rng: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """
    Count solutions by depth-first search, of all boards at once: strike out, then try a digit in the cell with the fewest.

    Args:
        candidates (`np.ndarray` of shape `(81, boards)`): Candidates.
        limit (`int`): How many solutions of a board to look for.
        rng (`np.random.Generator`, *optional*): Tries digits in random order; from the smallest if not given.

    Returns:
        The number of solutions found, at most `limit`, of shape `(boards,)`, and the last one found of each board as digits,
        of shape `(81, boards)` (zeros where there is none).
    """
    counts = np.zeros(candidates.shape[1], dtype=np.int64)
    solutions = np.zeros(candidates.shape, dtype=np.uint8)
    stack = [(candidates, np.arange(candidates.shape[1]))]
    while stack:
        states, boards = stack.pop()
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


def random_solutions(count: int, rng: np.random.Generator) -> np.ndarray:
    """Boards filled at random, of shape `(81, count)`. Not drawn uniformly from all boards, but each has a chance."""
    _, solutions = search(np.full((81, count), ALL), limit=1, rng=rng)
    return solutions


def dig(solutions: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """
    Blank the cells of full boards in random order, each only if the solution stays the only one, until `targets` digits are
    left or no cell is.

    Args:
        solutions (`np.ndarray` of shape `(81, boards)`): Full boards.
        targets (`np.ndarray` of shape `(boards,)`): How many digits to leave.

    Returns:
        The puzzles, of shape `(81, boards)`.
    """
    digits = to_candidates(solutions)
    given = np.ones(solutions.shape, dtype=bool)
    order = rng.permuted(np.tile(np.arange(81)[:, None], (1, solutions.shape[1])), axis=0)
    for cells in order:
        boards = np.flatnonzero(given.sum(axis=0) > targets)
        if boards.size == 0:
            break
        cells = cells[boards]
        # The cell can be blank if no other digit in it leads to a solution.
        other = np.where(given[:, boards], digits[:, boards], ALL)
        other[cells, np.arange(boards.size)] = ALL ^ digits[cells, boards]
        counts, _ = search(other, limit=1)
        given[cells, boards] = counts > 0
    return np.where(given, solutions, 0)


def generate_puzzles(
    count: int, min_givens: int, max_givens: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """
    Random puzzles with exactly one solution, each on a board of its own. The number of given digits is drawn uniformly from
    `[min_givens, max_givens]`. Where fewer digits are not possible, a board is kept if it has at most `max_givens`, and thrown
    away otherwise. So below about 25 the larger numbers prevail.

    Args:
        count (`int`): How many.
        min_givens, max_givens (`int`): Range of the number of given digits, both inclusive.
        rng (`np.random.Generator`): Source of all randomness: the same state gives the same puzzles.

    Returns:
        The puzzles and their solutions as digits, `np.uint8` of shape `(count, 81)` each.
    """
    if not FEWEST_GIVENS <= min_givens <= max_givens <= 80 or max_givens < FEWEST_GENERATED:
        raise ValueError(
            f"`min_givens` and `max_givens` must be ordered, from {FEWEST_GIVENS} to 80, and `max_givens` at least "
            f"{FEWEST_GENERATED} (fewer digits are seldom found at random), got {min_givens} and {max_givens}."
        )
    puzzles, solutions = np.zeros((2, 0, 81), dtype=np.uint8)
    while len(puzzles) < count:
        boards = random_solutions(min(BOARDS_AT_ONCE, count - len(puzzles)), rng)
        givens = rng.integers(min_givens, max_givens, (boards.shape[1],), endpoint=True)
        dug = dig(boards, givens, rng)
        keep = (dug != 0).sum(axis=0) <= max_givens
        puzzles = np.concatenate((puzzles, dug.T[keep]))
        solutions = np.concatenate((solutions, boards.T[keep]))
    return puzzles, solutions


def augment(puzzle: np.ndarray, solution: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """
    One of the 9! · 6⁸ · 2 boards of the same form, puzzle and solution alike: digits renamed, rows and columns swapped within
    their bands and stacks, bands and stacks swapped, the board transposed. The number of solutions stays the same.
    """
    threes = np.tile(np.arange(3), (3, 1))
    digits = np.concatenate(([0], 1 + rng.permutation(9))).astype(np.uint8)
    rows, columns = ((3 * rng.permutation(3)[:, None] + rng.permuted(threes, axis=1)).ravel() for _ in range(2))
    cells = 9 * rows[:, None] + columns
    cells = (cells.T if rng.integers(2) else cells).ravel()
    return digits[puzzle[cells]], digits[solution[cells]]

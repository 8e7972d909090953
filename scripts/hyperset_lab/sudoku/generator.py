# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
A generator of Sudoku puzzles with exactly one solution and a wanted number of given digits, and the symmetries of boards.

As in the solver, a board is a column of an array of shape `(81, boards)`.
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from hyperset_lab.sudoku.solver import ALL, search, to_candidates


FEWEST_GENERATED = 20  # what the walk of `Digging` is for; no puzzle of fewer than 17 has one solution
HARD = 24  # below it, digging once seldom gets there, and the walk takes most of the time
BOARDS_AT_ONCE = 250
STATES_AT_ONCE = 2000
KNOWN_SETS = 512  # of each board, see `Unavoidable`
MOST_ROUNDS = 200  # of a walk, before another board takes its place


def random_solutions(count: int, rng: np.random.Generator) -> np.ndarray:
    """Boards filled at random, of shape `(81, count)`. Not drawn uniformly from all boards, but each has a chance."""
    _, solutions = search(np.full((81, count), ALL), limit=1, rng=rng)
    return solutions


class Unavoidable:
    """
    Sets of cells of boards that can be filled in another way: where a second solution differs. A puzzle with one solution gives
    a digit in each of them. To ask the sets found so far is much quicker than to search for a solution again.
    """

    def __init__(self, num_boards: int):
        self.sets = np.full((num_boards, KNOWN_SETS, 2), ~np.uint64(0))  # all cells: every puzzle gives one of them
        self.num_found = np.zeros(num_boards, dtype=np.int64)

    def add(self, boards: np.ndarray, cells: np.ndarray) -> None:
        """Keep a set, booleans of shape `(81, boards)`, for each of `boards`; in the oldest one's place if all are taken."""
        self.sets[boards, self.num_found[boards] % KNOWN_SETS] = pack(cells)
        self.num_found[boards] += 1

    def of(self, boards: np.ndarray) -> np.ndarray:
        """The sets of `boards` as words, of shape `(boards, sets, 2)`."""
        return self.sets[boards, : min(KNOWN_SETS, int(self.num_found[boards].max(initial=0)))]

    def all_hit(self, boards: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Whether the given cells, `(81, boards)`, hit every set found of `boards`."""
        hit = self.of(boards) & pack(given)[:, None]
        return ((hit[..., 0] | hit[..., 1]) != 0).all(axis=1)

    def num_replaced(self, boards: np.ndarray, given: np.ndarray) -> np.ndarray:
        """
        How many given digits each cell could take the place of, as far as the sets found say, of shape `(81, boards)`: it is in
        all sets that this digit alone hits.
        """
        cells = np.unpackbits(self.of(boards).view(np.uint8), axis=-1, bitorder="little")
        cells = cells.reshape(boards.size, -1, 128)[..., :81]
        given = given.T[:, None]
        hit = cells & given
        alone = hit * (hit.sum(axis=2, keepdims=True) == 1)
        missed = alone.swapaxes(1, 2).astype(np.float32) @ (1 - cells).astype(np.float32)  # sets, by digit and cell
        return ((missed == 0) & given.swapaxes(1, 2)).sum(axis=1).T


def pack(cells: np.ndarray) -> np.ndarray:
    """Booleans of shape `(81, boards)` → 81 of 128 bits, words of shape `(boards, 2)`."""
    padded = np.zeros((cells.shape[1], 128), dtype=bool)
    padded[:, :81] = cells.T
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


class Digging:
    """Puzzles on full boards, `solutions` of shape `(81, boards)`: `given` says which cells they give, all at the start."""

    def __init__(self, solutions: np.ndarray):
        self.solutions, self.digits = solutions, to_candidates(solutions)
        self.given = np.ones(solutions.shape, dtype=bool)
        self.sets = Unavoidable(solutions.shape[1])

    @property
    def puzzles(self) -> np.ndarray:
        return np.where(self.given, self.solutions, 0)

    def blank(self, boards: np.ndarray, cells: np.ndarray) -> None:
        """Blank a cell of each of `boards` if the solution stays the only one."""
        given = self.given[:, boards]
        given[cells, np.arange(boards.size)] = False
        hopeful = self.sets.all_hit(boards, given)
        boards, cells, given = boards[hopeful], cells[hopeful], given[:, hopeful]
        # The cell can be blank if no other digit in it leads to a solution.
        other = np.where(given, self.digits[:, boards], ALL)
        other[cells, np.arange(boards.size)] = ALL ^ self.digits[cells, boards]
        counts, found = search(other, limit=1, at_once=STATES_AT_ONCE)
        alone = counts == 0
        self.given[cells[alone], boards[alone]] = False
        boards, found = boards[~alone], found[:, ~alone]
        self.sets.add(boards, found != self.solutions[:, boards])

    def dig(self, boards: np.ndarray, targets: np.ndarray, priority: np.ndarray) -> None:
        """Blank cells of `boards` in the order of `priority` until `targets` digits are left, or no cell can be."""
        order = np.where(self.given[:, boards], priority, np.inf).argsort(axis=0)
        num_given = self.given[:, boards].sum(axis=0)
        for rank in range(num_given.max(initial=0)):
            going = (rank < num_given) & (self.given[:, boards].sum(axis=0) > targets)
            if not going.any():
                break
            self.blank(boards[going], order[rank, going])

    def walk(self, targets: np.ndarray, rng: np.random.Generator) -> None:
        """
        Dig once, then walk: give one to three digits again that may take the place of most others, dig in another order with
        these last, and step back if more digits are left than before. A board is done when it has as many digits as `targets`
        says.
        """
        self.dig(np.arange(targets.size), targets, rng.random(self.given.shape))
        for _ in range(MOST_ROUNDS):
            boards = np.flatnonzero(self.given.sum(axis=0) > targets)
            if boards.size == 0:
                break
            before = self.given[:, boards]
            appeal = self.sets.num_replaced(boards, before) + rng.gumbel(size=before.shape)
            place = np.where(before, -np.inf, appeal).argsort(axis=0)[::-1].argsort(axis=0)
            again = place < rng.integers(1, 4, boards.size)
            self.given[:, boards] |= again
            self.dig(boards, targets[boards], rng.random(before.shape) + again)
            worse = self.given[:, boards].sum(axis=0) > before.sum(axis=0)
            self.given[:, boards[worse]] = before[:, worse]


def puzzles_with(num_givens: np.ndarray, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Puzzles with exactly `num_givens` digits, of shape `(puzzles,)`, and their solutions: shape `(puzzles, 81)` each."""
    rng = np.random.default_rng(seed)
    puzzles, solutions = np.zeros((2, num_givens.size, 81), dtype=np.uint8)
    missing = np.arange(num_givens.size)
    while missing.size:  # a board whose walk did not get there gives way to another
        digging = Digging(random_solutions(missing.size, rng))
        digging.walk(num_givens[missing], rng)
        done = digging.given.sum(axis=0) == num_givens[missing]
        puzzles[missing[done]], solutions[missing[done]] = digging.puzzles.T[done], digging.solutions.T[done]
        missing = missing[~done]
    return puzzles, solutions


def wanted_givens(count: int, min_givens: int, max_givens: int, rng: np.random.Generator) -> np.ndarray:
    """
    As many of each number from `min_givens` to `max_givens` as of any other, of shape `(count,)`, from few to many. Where the
    count does not divide, chance says which numbers come once more.
    """
    numbers = np.arange(min_givens, max_givens + 1)
    each, rest = divmod(count, numbers.size)
    return np.sort(np.concatenate((np.tile(numbers, each), rng.permutation(numbers)[:rest])))


def generate_puzzles(
    count: int, min_givens: int, max_givens: int, seed: Sequence[int], num_processes: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """
    Random puzzles with exactly one solution, each on a board of its own, in random order. There are as many of each number of
    given digits from `min_givens` to `max_givens` as of any other.

    Args:
        count (`int`): How many.
        min_givens, max_givens (`int`): Range of the number of given digits, both inclusive, from 20 to 80.
        seed (`Sequence[int]`): Seed of all randomness. The same seed gives the same puzzles with any number of processes.
        num_processes (`int`): Processes to use where there are enough puzzles with few digits for it to be quicker.

    Returns:
        The puzzles and their solutions as digits, `np.uint8` of shape `(count, 81)` each.
    """
    check_givens(min_givens, max_givens)
    rng = np.random.default_rng(seed)
    num_givens = wanted_givens(count, min_givens, max_givens, rng)
    starts = range(0, count, BOARDS_AT_ONCE)
    work = [num_givens[start : start + BOARDS_AT_ONCE] for start in starts], [(*seed, start) for start in starts]
    num_hard = sum(int(part.min() < HARD) for part in work[0])
    parts: Iterator[tuple[np.ndarray, np.ndarray]] = map(puzzles_with, *work)
    if min(num_hard, num_processes) > 1:
        # Not forked: this process may have threads.
        with ProcessPoolExecutor(min(num_hard, num_processes), multiprocessing.get_context("spawn")) as pool:
            parts = iter(list(pool.map(puzzles_with, *work)))
    puzzles, solutions = (np.concatenate(boards) for boards in zip(*parts, strict=True))
    order = rng.permutation(count)
    return puzzles[order], solutions[order]


def check_givens(min_givens: int, max_givens: int) -> None:
    """
    Raises:
        `ValueError`: a range of the number of given digits that cannot be generated.
    """
    if not FEWEST_GENERATED <= min_givens <= max_givens <= 80:
        raise ValueError(
            f"`--min_givens` and `--max_givens` of generated puzzles must be ordered, from {FEWEST_GENERATED} to 80, got "
            f"{min_givens} and {max_givens}. Puzzles with fewer than {FEWEST_GENERATED} digits come from files: pass "
            "`--train_file` and `--validation_file`."
        )


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

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Puzzles, and a solver's accuracy, by the number of given digits: as a table, for a file, and as a picture."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from hyperset_lab.sudoku.puzzles import Puzzles


MOST_ROWS = 10  # of a table: where there are more numbers of given digits, they share rows


@dataclass(frozen=True)
class Counts:
    """How many puzzles, and how many of them and of their blank cells are right."""

    puzzles: int
    boards_right: int
    blanks: int
    cells_right: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    @property
    def accuracies(self) -> dict[str, float]:
        """The share of boards with the right digit in every blank cell, and the share of blank cells with the right digit."""
        return {
            "board_accuracy": self.boards_right / self.puzzles,
            "cell_accuracy": self.cells_right / self.blanks,
        }


Counted = dict[int, Counts]  # by the number of given digits, from few to many


def count_right(predictions: np.ndarray, labels: np.ndarray) -> Counted:
    """
    What is right by the number of given digits.

    Args:
        predictions (`np.ndarray` of shape `(num_puzzles, 81)`): Labels 0 … 8 for the digits 1 … 9.
        labels (`np.ndarray` of shape `(num_puzzles, 81)`): The right ones, -100 in given cells, which do not count.
    """
    blank = labels != -100
    right = (predictions == labels) & blank
    whole = (right | ~blank).all(axis=1)
    num_givens = (~blank).sum(axis=1)
    counted = {}
    for number in np.unique(num_givens).tolist():
        rows = num_givens == number
        parts = (rows, whole[rows], blank[rows], right[rows])
        counted[number] = Counts(*(int(part.sum()) for part in parts))
    return counted


def total(counted: Counted) -> Counts:
    return sum(counted.values(), Counts(0, 0, 0, 0))


def bands(numbers: list[int], most: int = MOST_ROWS) -> list[range]:
    """Ranges of one width that hold all `numbers`, which are sorted: at most `most`, and none without a number."""
    low, high = numbers[0], numbers[-1]
    width = -(-(high - low + 1) // most)
    ranges = (range(start, min(start + width, high + 1)) for start in range(low, high + 1, width))
    return [band for band in ranges if any(number in band for number in numbers)]


def accuracy_table(by_depth: Mapping[int | None, Counted], trained: int | None) -> str:
    """Board accuracy in Markdown: a row for each number, or range of numbers, of given digits; a column for each depth."""
    numbers = list(next(iter(by_depth.values())))
    heads = ["boards right" if depth is None else f"{depth} iterations" for depth in by_depth]
    heads = [
        f"{head} (as trained)" if depth == trained and depth is not None else head
        for head, depth in zip(heads, by_depth, strict=True)
    ]
    rows = [["given digits", "boards", *heads], ["---"] * (len(heads) + 2)]
    for band in bands(numbers):
        sums = [total({n: counts for n, counts in counted.items() if n in band}) for counted in by_depth.values()]
        name = str(band[0]) if len(band) == 1 else f"{band[0]} to {band[-1]}"
        rows.append([name, str(sums[0].puzzles), *(f"{counts.accuracies['board_accuracy']:.4f}" for counts in sums)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def givens_report(
    data: Mapping[str, Puzzles], asked: range | None, by_depth: Mapping[int | None, Counted]
) -> dict[str, Any]:
    """
    All of it for a JSON file.

    Args:
        data: The puzzles of each split.
        asked (`range`, *optional*): The numbers of given digits that generated puzzles were asked to have, each as often.
        by_depth: What a solver had right in the split `eval`, by its number of iterations (`None` if it does not iterate).

    Returns:
        `dict` with `puzzles`, for each split how many puzzles came (and how many were `asked`) with each number of given
        digits, and `accuracy`, for each number of iterations the accuracies by the number of given digits.
    """
    puzzles: dict[str, dict[str, Any]] = {}
    for split, boards in data.items():
        puzzles[split] = {"came": counts_of(boards)}
        if asked is not None:
            puzzles[split]["asked"] = dict.fromkeys(map(str, asked), len(boards) / len(asked))
    accuracy = {
        str(depth or "–"): {
            str(number): {"boards": counts.puzzles, **counts.accuracies} for number, counts in counted.items()
        }
        for depth, counted in by_depth.items()
    }
    return {"puzzles": puzzles, "accuracy": accuracy}


def counts_of(data: Puzzles) -> dict[str, int]:
    """How many puzzles there are with each number of given digits."""
    numbers, counts = np.unique(data.num_givens, return_counts=True)
    return dict(zip(map(str, numbers.tolist()), counts.tolist(), strict=True))


def figure_of_givens(report: dict[str, Any]):
    """
    What [`givens_report`] found as a matplotlib figure: the puzzles of each split by the number of given digits, with what was
    asked as a line, and beside them the accuracies where there are some.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10 if report["accuracy"] else 5, 3.4), layout="constrained")
    axes = figure.subplots(1, 2 if report["accuracy"] else 1, squeeze=False)[0]
    for split, counts in report["puzzles"].items():
        axes[0].bar(list(map(int, counts["came"])), list(counts["came"].values()), alpha=0.7, label=f"{split}: came")
        if "asked" in counts:
            asked = counts["asked"]
            axes[0].plot(list(map(int, asked)), list(asked.values()), "k_", markersize=8, label=f"{split}: asked")
    axes[0].set(xlabel="given digits", ylabel="puzzles")
    axes[0].set_yscale("symlog")
    axes[0].legend(fontsize=8)
    for depth, counted in report["accuracy"].items():
        for measure, style in (("board_accuracy", "o-"), ("cell_accuracy", ":")):
            values = [row[measure] for row in counted.values()]
            name = f"{measure.split('_')[0]}s right" + ("" if depth == "–" else f", {depth} iterations")
            axes[1].plot(list(map(int, counted)), values, style, markersize=3, label=name)
    if report["accuracy"]:
        axes[1].set(xlabel="given digits", ylabel="share that is right", ylim=(-0.05, 1.05))
        axes[1].grid(alpha=0.3)
        axes[1].legend(fontsize=8)
    return figure

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What a run says of a solver: a Sudoku being solved over the iterations, and its accuracy by the number of given digits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from hyperset_lab.sudoku.givens import accuracy_table, figure_of_givens, givens_report
from hyperset_lab.sudoku.puzzles import Puzzles
from hyperset_lab.sudoku.trainer import SolverTrainer
from hyperset_lab.trainer import ScriptTrainingArguments
from modeling_hyperset import HyperSETConfig
from modeling_hyperset.analysis import answers
from modeling_hyperset.files import write_json, write_whole
from transformers import PreTrainedModel


# Colours that the colour-blind can tell apart too (Okabe and Ito). Wrong digits are also struck through.
GIVEN, RIGHT, WRONG = "#000000", "#0072B2", "#B04A00"
GIVEN_FIELD, WRONG_FIELD = "#E6E6E6", "#FBDCC8"


def trace(model: PreTrainedModel, puzzle: np.ndarray, solution: np.ndarray, max_iterations: int) -> dict[str, Any]:
    """
    What `model` answers to one puzzle when it runs 1, 2, … `max_iterations` iterations.

    Args:
        model: A Hyper-SET for token classification, or one of its baselines.
        puzzle, solution (`np.ndarray` of shape `(81,)`): Digits, 0 for a blank.

    Returns:
        `dict` with `puzzle` and `solution` as strings of 81 digits, `trained_iterations`, `num_blanks`, and lists with an entry
        per number of iterations: `boards` (the puzzle filled in, as strings), `num_right` (of the blank cells), and the
        energies `attention`, `feedforward` and `total` of the tokens. The energies are empty for a baseline that has none.
    """
    input_ids = torch.from_numpy(puzzle.astype(np.int64))[None]
    found = answers(model, {"input_ids": input_ids}, max_iterations)
    blank = puzzle == 0
    boards = np.where(blank, found.logits[:, 0].argmax(dim=-1).cpu().numpy() + 1, puzzle)
    attention, feedforward = ([], []) if found.energies is None else found.energies[:, 0].T.tolist()
    return {
        "puzzle": as_text(puzzle),
        "solution": as_text(solution),
        "trained_iterations": found.trained_iterations,
        "num_blanks": int(blank.sum()),
        "boards": list(map(as_text, boards)),
        "num_right": ((boards == solution) & blank).sum(axis=1).tolist(),
        "attention": attention,
        "feedforward": feedforward,
        "total": [sum(both) for both in zip(attention, feedforward, strict=True)],
    }


def as_text(digits: np.ndarray) -> str:
    return "".join(map(str, digits.tolist()))


def iterations_to_show(trained: int, longest: int, count: int = 6) -> list[int]:
    """At most `count` numbers of iterations from 1 to `longest`, closer together at the start; `trained` is among them."""
    spread = np.unique(np.geomspace(1, longest, count).round().astype(int)).tolist()
    if trained not in spread and trained < longest:
        inner = spread[1:-1] or [1]
        nearest = min(inner, key=lambda number: abs(np.log(number / trained)))
        spread = sorted({*spread, trained} - ({nearest} if len(spread) >= count else set()))
    return spread


def figure_of(report: dict[str, Any], shown: Sequence[int] | None = None):
    """
    What [`trace`] found as a matplotlib figure: boards after the iterations `shown` side by side, and below them the energies
    and the share of blank cells that are right over all iterations.
    """
    from matplotlib.figure import Figure

    longest, trained = len(report["boards"]), report["trained_iterations"]
    shown = shown or iterations_to_show(trained, longest)
    figure = Figure(figsize=(2.5 * max(len(shown), 3), 5.6), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.5, 1), squeeze=False).flat
    for axes, number in zip(np.atleast_1d(upper.subplots(1, len(shown))), shown, strict=True):
        draw_board(axes, report, number)
    upper.supxlabel("bold on grey: given    plain, blue: right    orange, struck through: wrong", fontsize=10)
    curves = []
    if report["total"]:
        labels = {"attention": r"$E_\mathrm{ATTN}$", "feedforward": r"$E_\mathrm{FF}$", "total": r"$E$"}
        curves = [(label, report[name], GIVEN) for name, label in labels.items()]
    curves.append(("blank cells right", [right / report["num_blanks"] for right in report["num_right"]], RIGHT))
    for axes, (title, values, colour) in zip(np.atleast_1d(lower.subplots(1, len(curves))), curves, strict=True):
        axes.plot(range(1, longest + 1), values, color=colour, linewidth=1.2)
        axes.plot(shown, [values[number - 1] for number in shown], "o", color=colour, markersize=4)
        axes.axvline(trained, color="#777777", linestyle=":", linewidth=1)
        axes.set(title=title, xlabel="iterations (dotted: as trained)")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    axes.set_ylim(-0.05, 1.05)
    return figure


def draw_board(axes, report: dict[str, Any], num_iterations: int) -> None:
    """One board, its right and wrong cells told apart."""
    from matplotlib.patches import Rectangle

    board = report["boards"][num_iterations - 1]
    for cell, (digit, given, right) in enumerate(zip(board, report["puzzle"], report["solution"], strict=True)):
        row, column = divmod(cell, 9)
        style: dict[str, Any] = {"color": RIGHT}
        field: dict[str, Any] = {"facecolor": "none"}
        if given != "0":
            style, field = {"color": GIVEN, "fontweight": "bold"}, {"facecolor": GIVEN_FIELD}
        elif digit != right:
            style, field = {"color": WRONG}, {"facecolor": WRONG_FIELD}
            axes.plot([column, column + 1], [row + 1, row], color=WRONG, linewidth=0.9)
        axes.add_patch(Rectangle((column, row), 1, 1, linewidth=0, **field))
        axes.text(column + 0.5, row + 0.53, digit, ha="center", va="center", fontsize=9.5, **style)
    for line in range(10):
        width = 1.2 if line % 3 == 0 else 0.3
        style = {"color": "black", "linewidth": width, "solid_capstyle": "projecting"}
        axes.plot([line, line], [0, 9], [0, 9], [line, line], **style)
    trained = ", as trained" if num_iterations == report["trained_iterations"] else ""
    plural = "" if num_iterations == 1 else "s"
    axes.set_title(f"{num_iterations} iteration{plural}{trained}", fontsize=10)
    axes.set_xlabel(f"{report['num_right'][num_iterations - 1]} of {report['num_blanks']} right", fontsize=10)
    axes.set(xlim=(-0.1, 9.1), ylim=(9.1, -0.1), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def write_solving(model: PreTrainedModel, data: Puzzles, arguments: ScriptTrainingArguments) -> None:
    """
    Follow the first puzzle to the largest of `--eval_num_iterations`, at least to twice the trained iterations, and write
    `solving.json` and `solving.png` to `output_dir`. Models of other families have no iterations to follow.
    """
    config, folder = model.config, arguments.output_dir
    if not isinstance(config, HyperSETConfig):
        return
    # Depth-wise LoRA has weights only for the trained iterations.
    longest = config.num_iterations
    if not config.lora_rank:
        longest = max([2 * longest, *(arguments.eval_num_iterations or [])])
    report = trace(model, data.puzzles[0], data.solutions[0], longest)
    write_json(f"{folder}/solving.json", report)
    write_whole(f"{folder}/solving.png", lambda temporary: figure_of(report).savefig(temporary, dpi=150))
    right = report["num_right"][config.num_iterations - 1]
    print(
        f"\nThe first puzzle to evaluate on after {config.num_iterations} iterations: {right} of {report['num_blanks']} blank "
        f"cells right. Drawn in {folder}/solving.png"
    )


def write_givens(data: Mapping[str, Puzzles], asked: range | None, trainer: SolverTrainer, folder: str) -> None:
    """Write `givens.json` and `givens.png` to `folder`, and print the table. For `data` and `asked` see [`givens_report`]."""
    report = givens_report(data, asked, trainer.by_depth)
    write_json(f"{folder}/givens.json", report)
    write_whole(f"{folder}/givens.png", lambda temporary: figure_of_givens(report).savefig(temporary, dpi=150))
    if trainer.by_depth:
        table = accuracy_table(trainer.by_depth, trainer.depth)
        print(f"\nBoards right, by the number of given digits ({folder}/givens.json has each number):\n\n{table}")

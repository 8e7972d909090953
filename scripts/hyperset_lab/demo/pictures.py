# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the demonstration draws, as HTML and SVG: an answer, a board, and curves over the iterations."""

import base64
import html
import io
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image

from hyperset_lab.demo.descent import Descent


# Okabe and Ito's colours, which the colour-blind can tell apart too, for the leading labels; `style.css` has lighter ones for a
# dark page. Other labels are grey. Words and frame have the colour of the page's text.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
GREY, INK = "#9aa7b2", "#010203"
ON_PAGE = {INK: "currentColor"} | {colour: f"var(--series-{index}, {colour})" for index, colour in enumerate(SERIES)}


def data_url(image: Image.Image) -> str:
    """A picture as an address that holds it, PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def frame(title: str, descent: Descent, iteration: int) -> tuple[Figure, Axes]:
    """An empty chart over the iterations, with the trained depth and the iteration that is shown."""
    figure = Figure(figsize=(6.4, 2.1))
    axes = figure.add_axes((0.09, 0.2, 0.79, 0.58))  # matplotlib's own layouts take as long as the rest
    axes.set_title(title, loc="left", fontsize=9, fontweight="bold", color=INK, pad=14)
    axes.set_xlabel("iteration", fontsize=8, color=INK)
    axes.tick_params(labelsize=8, colors=INK, length=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[:].set_visible(False)
    axes.grid(axis="y", color=INK, alpha=0.12)
    axes.axvline(descent.trained, color=INK, alpha=0.6, linestyle="--", linewidth=1)
    words = f"trained depth {descent.trained}"
    axes.text(descent.trained, 1.01, words, transform=axes.get_xaxis_transform(), fontsize=7, ha="center", color=INK)
    axes.axvline(iteration, color=INK, alpha=0.1, linewidth=5)
    return figure, axes


def add_curve(axes: Axes, values: np.ndarray, colour: str, iteration: int, name: str = "") -> None:
    """A curve; one with a `name` stands out, and has a point at the iteration that is shown."""
    steps, gid = np.arange(1, len(values) + 1), f"curve-{len(axes.lines)}"
    axes.plot(steps, values, color=colour, linewidth=1.8 if name else 0.7, gid=gid)
    if name:
        axes.plot(iteration, values[iteration - 1], "o", color=colour, markersize=5)


def name_curves(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Write `(value, name, colour)` beside the ends of curves, those that end close together one above the other."""
    low, high = axes.get_ylim()
    lowest = -np.inf
    for value, name, colour in sorted(ends):
        lowest = max(value, lowest + 0.13 * (high - low))
        at = ("axes fraction", "data")
        axes.annotate(name, (1.01, lowest), xycoords=at, color=colour, fontsize=8, va="center", annotation_clip=False)


def to_svg(figure: Figure, name: str) -> str:
    """A chart as SVG whose words are text and whose colours are the page's."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "path.simplify": False}):
        about = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=about)
    svg = buffer.getvalue()
    svg = re.sub(
        r'<svg .*?(viewBox="[^"]*")[^>]*>', rf'<svg class="chart" data-chart="{name}" role="img" \1>', svg, flags=re.S
    )
    for colour, own in ON_PAGE.items():
        svg = svg.replace(colour, own)
    return svg[svg.index("<svg") :].replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)


def energy_chart(descent: Descent, iteration: int) -> str:
    """The total energy over the iterations, or a sentence where there is none."""
    energy = descent.total_energy
    if energy is None:
        return '<p class="empty">This layer is derived from no energy: there is none to draw.</p>'
    figure, axes = frame("Energy of the tokens", descent, iteration)
    add_curve(axes, energy, SERIES[0], iteration, "energy")
    name_curves(axes, [(float(energy[-1]), f"{energy[-1]:.0f}", SERIES[0])])
    return to_svg(figure, "energy")


def energy_words(descent: Descent, iteration: int) -> str:
    """Both energies at one iteration."""
    if descent.energies is None:
        return ""
    attention, feedforward = descent.energies[iteration - 1]
    words = f"energy {attention + feedforward:.1f} = attention {attention:.1f} + feedforward {feedforward:.1f}"
    return words.replace("-", "−")


def share_chart(
    descent: Descent,
    iteration: int,
    labels: Sequence[str],
    title: str = "Probability of each digit",
    kind: str = "digit ",
) -> str:
    """The probability of each label over the iterations; the leading ones have a colour and a name."""
    shares = descent.probabilities
    figure, axes = frame(title, descent, iteration)
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    named = [label for label in np.argsort(-shares.max(axis=0))[: len(SERIES)] if shares[:, label].max() > 0.25]
    for label in set(range(len(labels))) - set(named):
        add_curve(axes, shares[:, label], GREY, iteration)
    ends = []
    for colour, label in zip(SERIES, named, strict=False):
        add_curve(axes, shares[:, label], colour, iteration, labels[label])
        ends.append((float(shares[-1, label]), f"{kind}{labels[label]}", colour))
    name_curves(axes, ends)
    return to_svg(figure, "probability")


def digit_view(descent: Descent | None, iteration: int, labels: Sequence[str], truth: str | None = None) -> str:
    """The answer at one iteration, and the curves."""
    if descent is None:
        return '<p class="empty">Draw a digit, or take one that the model was not trained on.</p>'
    shares = descent.probabilities[iteration - 1]
    best = int(shares.argmax())
    words = f"{shares[best]:.0%} sure after {count(iteration)}"
    if truth is not None:
        words += f"; it is a {truth}"
    bars = "".join(
        f'<div class="{"top" if index == best else ""}" title="{share:.1%}">'
        f'<span style="height:{max(share, 0) * 68:.0f}px"></span>{html.escape(labels[index])}</div>'
        for index, share in enumerate(shares)
    )
    return (
        f'<div class="answer"><span class="big" data-answer="{html.escape(labels[best])}">{html.escape(labels[best])}</span>'
        f'<span class="note">{words}<br>{energy_words(descent, iteration)}</span></div><div class="bars">{bars}</div>'
        + share_chart(descent, iteration, labels)
        + energy_chart(descent, iteration)
    )


def sudoku_view(
    descent: Descent | None,
    iteration: int,
    puzzle: np.ndarray | None = None,
    solution: np.ndarray | None = None,
    problem: str = "",
) -> str:
    """
    The board at one iteration, and the curve of the energy.

    Args:
        puzzle, solution (`np.ndarray` of shape `(81,)`): Digits, 0 for a blank; the solution where there is one and one only.
        problem (`str`): What is wrong with the puzzle, if anything is.
    """
    if descent is None or puzzle is None:
        return '<p class="empty">Type a Sudoku, paste its 81 digits into a cell, or take an example.</p>'
    board = board_at(descent, iteration, puzzle)
    cells, right = [], 0
    for cell in range(81):
        kind = "given" if puzzle[cell] else ""
        if not puzzle[cell] and solution is not None:
            kind = "right" if board[cell] == solution[cell] else "wrong"
            right += int(kind == "right")
        cells.append(f'<div class="{kind}">{board[cell]}</div>')
    blanks = int(np.equal(puzzle, 0).sum())
    words = problem or f"{right} of {blanks} blanks right after {count(iteration)}"
    legend = "<span><b>7</b> given</span>"
    if solution is not None:
        legend += '<span><b class="right">7</b> right</span><span><b class="wrong">7</b> wrong</span>'
    return (
        f'<div class="answer"><span class="note"><b data-answer="{right}">{html.escape(words)}</b><br>'
        f'{energy_words(descent, iteration)}</span></div><div class="board" data-board="{"".join(map(str, board))}">'
        f'{"".join(cells)}</div><div class="legend">{legend}</div>' + energy_chart(descent, iteration)
    )


def board_at(descent: Descent, iteration: int, puzzle: np.ndarray) -> np.ndarray:
    """The puzzle with its blanks filled in as the model does after some iteration: digits, of shape `(81,)`."""
    return np.where(puzzle == 0, descent.probabilities[iteration - 1].argmax(axis=-1) + 1, puzzle)


def count(iterations: int) -> str:
    return f"{iterations} iteration{'s' if iterations > 1 else ''}"

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the demonstration draws, as HTML and SVG: an answer, a board, and the curves over the iterations."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from hyperset_lab.demo.descent import Descent


# Okabe and Ito's colours, apart for the colour-blind too, for the labels that stand out, and lighter ones on a dark page, which
# `style.css` sets; the others are grey.
COLOURS = tuple(
    f"var(--series-{index}, {colour})" for index, colour in enumerate(("#0072B2", "#D55E00", "#009E73", "#CC79A7"))
)
GREY = "#9aa7b2"
WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 56, 64, 38, 34


def data_url(image: Image.Image) -> str:
    """A picture as an address that holds it, PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers within [low, high], about `count` of them."""
    span = max(high - low, 1e-9)
    step = 10 ** np.floor(np.log10(span / count))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= count)
    return [float(value) for value in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]


class Axes:
    """The frame of a chart over the iterations 1 … `depth`, with values from `low` to `high`."""

    def __init__(self, title: str, depth: int, low: float, high: float):
        self.depth, self.low, self.high = depth, low, high
        self.parts = [f'<text x="{LEFT}" y="15" font-size="13" font-weight="600" fill="currentColor">{title}</text>']

    def x(self, iteration: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (iteration - 1) / max(self.depth - 1, 1)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.low) / max(self.high - self.low, 1e-9)

    def text(self, x: float, y: float, words: str, colour: str = "currentColor", **attributes) -> None:
        attributes = {"font-size": 11, **{name.replace("_", "-"): value for name, value in attributes.items()}}
        given = " ".join(f'{name}="{value}"' for name, value in attributes.items())
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" {given}>{html.escape(words)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, **attributes) -> None:
        attributes = {
            "stroke": "currentColor",
            **{name.replace("_", "-"): value for name, value in attributes.items()},
        }
        given = " ".join(f'{name}="{value}"' for name, value in attributes.items())
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {given}/>')

    def frame(self, trained: int, iteration: int, label: str = "{:g}") -> None:
        """Grid, numbers, the trained depth and the iteration that is shown."""
        for value in ticks(self.low, self.high):
            self.line(LEFT, self.y(value), WIDTH - RIGHT, self.y(value), stroke_opacity=0.12)
            self.text(LEFT - 8, self.y(value) + 4, label.format(value), text_anchor="end", fill_opacity=0.7)
        for value in sorted({1, *(int(tick) for tick in ticks(1, self.depth, 8) if tick >= 1)}):
            self.text(self.x(value), HEIGHT - BOTTOM + 15, str(value), text_anchor="middle", fill_opacity=0.7)
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "iteration", text_anchor="middle", fill_opacity=0.7)
        x = self.x(trained)
        self.line(x, TOP - 4, x, HEIGHT - BOTTOM, stroke_dasharray="4 3", stroke_opacity=0.6)
        self.text(
            x,
            TOP - 8,
            f"trained depth {trained}",
            fill_opacity=0.75,
            text_anchor="middle" if x > LEFT + 45 else "start",
        )
        x = self.x(iteration)
        self.line(x, TOP - 4, x, HEIGHT - BOTTOM, stroke_width=6, stroke_opacity=0.1)

    def curve(self, values: Sequence[float], colour: str, iteration: int, width: float = 2.0) -> None:
        """A curve and the point on it at the iteration that is shown."""
        points = " ".join(f"{self.x(index):.1f},{self.y(value):.1f}" for index, value in enumerate(values, start=1))
        self.parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>'
        )
        if width > 1:
            x, y = self.x(iteration), self.y(values[iteration - 1])
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>')

    def svg(self, name: str) -> str:
        return (
            f'<svg class="chart" data-chart="{name}" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'xmlns="http://www.w3.org/2000/svg">{"".join(self.parts)}</svg>'
        )


def energy_chart(descent: Descent, iteration: int) -> str:
    """The total energy over the iterations, or a sentence where there is none."""
    energy = descent.total_energy
    if energy is None:
        return '<p class="empty">This layer is derived from no energy: there is none to draw.</p>'
    margin = 0.08 * max(float(np.ptp(energy)), 1e-6)
    axes = Axes("Energy of the tokens", descent.depth, float(energy.min()) - margin, float(energy.max()) + margin)
    axes.frame(descent.trained, iteration)
    axes.curve(energy.tolist(), COLOURS[0], iteration)
    axes.text(WIDTH - RIGHT + 8, axes.y(energy[-1]) + 4, f"{energy[-1]:.0f}", COLOURS[0])
    return axes.svg("energy")


def energy_words(descent: Descent, iteration: int) -> str:
    """Both energies at one iteration."""
    if descent.energies is None:
        return ""
    attention, feedforward = descent.energies[iteration - 1]
    sign = "+" if feedforward >= 0 else "−"
    return (
        f"energy {attention + feedforward:.1f} = attention {attention:.1f} {sign} feedforward {abs(feedforward):.1f}"
    )


def share_chart(descent: Descent, iteration: int, labels: Sequence[str]) -> str:
    """The probability of each label over the iterations; those that lead or nearly do are coloured and named."""
    shares = descent.probabilities
    axes = Axes("Probability of each digit", descent.depth, 0.0, 1.0)
    axes.frame(descent.trained, iteration, "{:.0%}")
    named = [label for label in np.argsort(-shares.max(axis=0))[: len(COLOURS)] if shares[:, label].max() > 0.25]
    for label in set(range(len(labels))) - set(named):
        axes.curve(shares[:, label].tolist(), GREY, iteration, width=0.8)
    taken: list[float] = []
    for colour, label in zip(COLOURS, named, strict=False):
        axes.curve(shares[:, label].tolist(), colour, iteration)
        y = axes.y(shares[-1, label]) + 4
        while any(abs(y - other) < 11.5 for other in taken):  # names side by side stay readable
            y -= 12
        taken.append(y)
        axes.text(WIDTH - RIGHT + 8, y, f"digit {labels[label]}", colour, font_weight=600)
    return axes.svg("probability")


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

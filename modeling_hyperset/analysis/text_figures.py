# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Pictures of a text: its tokens, coloured by what a causal model did with each. Needs matplotlib."""

from collections.abc import Sequence

from .figures import panels_of
from .texts import TextAnalysis


try:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise ImportError("The figures need matplotlib: pip install matplotlib") from error


COLUMNS = 72  # characters in a line
SHOWN = {"\n": "↵", "\t": "→", "\r": "←"}  # what has no picture of its own


def draw_text(analysis: TextAnalysis) -> Figure:
    """
    The tokens of a text, each on the colour of the iterations that it took, or without an energy tolerance on that of its
    surprise. Dark tokens are the hard ones.
    """
    if analysis.iterations is not None:
        values: Sequence[float | None] = analysis.iterations
        label = f"iterations (energy tolerance {analysis.energy_tolerance:g})"
    else:
        values, label = analysis.surprise, "surprise, nats"
    known = [value for value in values if value is not None] or [0]
    low, high = min(known), max(max(known), min(known) + 1)
    colours = ScalarMappable(Normalize(low, high), colormaps["Blues"])
    places, lines = places_of(analysis.tokens)
    figure = Figure(figsize=(9.5, 0.26 * lines + 0.9), layout="constrained")
    axes = figure.subplots()
    for index, (token, value, (line, column)) in enumerate(zip(analysis.tokens, values, places, strict=True)):
        shown = "".join(SHOWN.get(character, character) for character in token)
        share = 0.0 if value is None else (value - low) / (high - low)
        back = "white" if value is None else colormaps["Blues"](share)
        is_dark = share > 0.6
        axes.text(
            column,
            -line,
            shown,
            family="monospace",
            fontsize=9,
            color="white" if is_dark else "black",
            bbox={"facecolor": back, "edgecolor": "none", "pad": 1.2},
            gid=f"token {index}",
        )
    axes.set(xlim=(-0.5, COLUMNS + 0.5), ylim=(-lines + 0.3, 0.9))
    axes.set_axis_off()
    bar = figure.colorbar(colours, ax=axes, label=label, fraction=0.03, pad=0.01)
    bar.locator = MaxNLocator(nbins=6, integer=analysis.iterations is not None)
    bar.update_ticks()
    return figure


def places_of(tokens: Sequence[str]) -> tuple[list[tuple[int, int]], int]:
    """The line and column of each token in lines of [`COLUMNS`] characters that end with the text's own, and their number."""
    places, line, column = [], 0, 0
    for token in tokens:
        if column and column + len(token) > COLUMNS:
            line, column = line + 1, 0
        places.append((line, column))
        column += len(token)
        if "\n" in token:
            line, column = line + 1, 0
    return places, line + 1


def draw_token_energies(analysis: TextAnalysis, most_tokens: int = 60) -> Figure:
    """The energies of each token after every iteration: a column for each token, at most the first `most_tokens`."""
    figure, grid = panels_of(3, scale=1.3)
    pairs = zip(analysis.attention_energy, analysis.feedforward_energy, strict=True)
    total = [[a + f for a, f in zip(attention, feedforward, strict=True)] for attention, feedforward in pairs]
    panels = (
        ("attention energy", analysis.attention_energy),
        ("feedforward energy", analysis.feedforward_energy),
        ("total energy", total),
    )
    shown = min(most_tokens, len(analysis.tokens))
    for axes, (title, rows) in zip(grid, panels, strict=True):
        image = axes.imshow([row[:shown] for row in rows], aspect="auto", cmap="viridis", origin="lower", gid=title)
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="token", ylabel="iteration")
        axes.set_yticks(range(len(rows)), [str(step + 1) for step in range(len(rows))])
        figure.colorbar(image, ax=axes)
    return figure

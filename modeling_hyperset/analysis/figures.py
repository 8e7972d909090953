# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
The paper's figures of one model's forward pass, from an [`Analysis`]. Needs matplotlib.

Every function returns a `matplotlib.figure.Figure` to show or save. The `gid` of a curve is the name of its numbers. Readers
who are colour-blind can tell the colours of Okabe and Ito apart; markers and dashes differ even in grey.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from .analysis import Analysis
from .depth_tradeoff import DepthPoint


try:
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke
except ImportError as error:
    raise ImportError("The figures need matplotlib: pip install matplotlib") from error


BLACK, BLUE, ORANGE, GREEN, PURPLE, SKY = "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
# A style for each curve of a plot.
STYLES: list[dict[str, Any]] = [
    {"color": BLUE, "marker": "o", "linestyle": "-"},
    {"color": ORANGE, "marker": "s", "linestyle": "--"},
    {"color": GREEN, "marker": "^", "linestyle": "-."},
    {"color": PURPLE, "marker": "D", "linestyle": ":"},
    {"color": SKY, "marker": "v", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
    {"color": BLACK, "marker": "P", "linestyle": (0, (3, 1))},
]
PANEL = (2.9, 2.6)  # inches
GREY = "#666666"
RING = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "linestyle": "none"}  # around the model as trained

PER_HEAD_TITLES = {  # title of a figure, and label of its axis
    "effective_rank": ("Effective rank", "effective rank"),
    "mean_angle": ("Mean angle between tokens", "degrees"),
    "angle_of_mean_cosine": ("Angle of the mean cosine between tokens (Eq. 18)", "degrees"),
}


def draw_energies(analysis: Analysis) -> Figure:
    """
    Figure 5: attention, feedforward and total energy after every iteration, as the mean over samples with a band of one
    standard deviation. If the accuracy was measured, it has a panel too.
    """
    panels = [
        ("attention_energy", r"attention energy $E_\mathrm{ATTN}$", {"color": BLUE, "marker": "o"}),
        ("feedforward_energy", r"feedforward energy $E_\mathrm{FF}$", {"color": ORANGE, "marker": "s"}),
        ("total_energy", r"total energy $E_\mathrm{ATTN} + E_\mathrm{FF}$", {"color": BLACK, "marker": "D"}),
    ]
    has_accuracy = "accuracy" in analysis.statistics
    figure, grid = panels_of(len(panels) + has_accuracy)
    for axes, (name, title, style) in zip(grid, panels, strict=False):
        curve(axes, analysis, name, style)
        axes.set(title=title, ylabel="energy per sample")
    if has_accuracy:
        plot_accuracy(grid[-1], analysis)
    finish(grid, analysis)
    figure.suptitle(f"Mean and standard deviation over {samples(analysis, 'total_energy')}", fontsize=10)
    return figure


def draw_rank_and_angle(analysis: Analysis, head: int = 1) -> Figure:
    """
    Figure 6: effective rank, with the full rank above it, and average angle of the tokens in the subspace of one `head` (from
    1), with a band of one standard deviation over samples. Both averages of the angle are drawn, see [`average_angles`]; only
    the mean angle has a band.
    """
    if not 1 <= head <= analysis.num_heads:
        raise ValueError(f"`head` must lie between 1 and {analysis.num_heads}, got {head}.")
    figure, (left, right) = panels_of(2, scale=1.2)
    curve(left, analysis, "effective_rank", {"color": BLUE, "marker": "o"}, head)
    if "full_rank" in analysis.statistics:
        dashed = {"color": GREY, "marker": "", "linestyle": "--"}
        curve(left, analysis, "full_rank", dashed, head, label="full rank", band=False)
    left.set(title="effective rank", ylabel="rank")
    curve(right, analysis, "mean_angle", {"color": ORANGE, "marker": "s"}, head, label="mean angle")
    dashed = {"color": BLACK, "marker": "x", "linestyle": "--"}
    curve(right, analysis, "angle_of_mean_cosine", dashed, head, "angle of the mean cosine (Eq. 18)", band=False)
    right.set(title="average angle", ylabel="degrees")
    finish((left, right), analysis)
    figure.suptitle(f"Tokens in subspace {head}, over {samples(analysis, 'effective_rank')}", fontsize=10)
    return figure


def draw_per_head(analysis: Analysis, name: str) -> Figure:
    """Figures 9 to 12: `effective_rank`, `mean_angle` or `angle_of_mean_cosine`, with a panel for each head, on one scale."""
    style = {"color": BLUE, "marker": "o"} if name == "effective_rank" else {"color": ORANGE, "marker": "s"}
    return per_head(analysis, name, lambda axes, head: curve(axes, analysis, name, style, head))


def per_head(analysis: Analysis, name: str, draw: Callable[[Any, int], None]) -> Figure:
    """A figure of one of `PER_HEAD_TITLES` with a panel for each head of `analysis`. `draw(axes, head)` draws in it."""
    if name not in PER_HEAD_TITLES:
        raise ValueError(f"`name` must be one of {', '.join(PER_HEAD_TITLES)}, got {name!r}.")
    title, label = PER_HEAD_TITLES[name]
    columns = min(4, analysis.num_heads)
    rows = math.ceil(analysis.num_heads / columns)
    width = max(2.3 * columns + 0.6, 7.0)  # the title needs 7
    figure = Figure(figsize=(width, 2.1 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    used = list(grid.flat[: analysis.num_heads])
    for head, axes in enumerate(used, start=1):
        draw(axes, head)
        axes.set_title(f"head {head}", fontsize=9)
    for axes in grid.flat[analysis.num_heads :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel(label)
    finish(used, analysis, label_all=False)
    for position, axes in enumerate(used):
        below = position + columns < analysis.num_heads
        axes.tick_params(labelbottom=not below)
        axes.set_xlabel("" if below else x_label(analysis))
    figure.suptitle(f"{title} in each subspace, over {samples(analysis, name)}", fontsize=10)
    return figure


def draw_adaptive_depth(points: Sequence[DepthPoint]) -> Figure:
    """
    Accuracy against the mean number of iterations of a sample, at fixed and at adaptive depths. The trained depth has a ring.
    Adaptive depths are labelled with their tolerances.

    Args:
        points: The results of [`accuracy_at_depths`].
    """
    figure, (axes,) = panels_of(1, scale=1.7)
    fixed = [point for point in points if point.energy_tolerance is None]
    adaptive = [point for point in points if point.energy_tolerance is not None]
    for label, group, style in (("fixed depth", fixed, STYLES[0]), ("adaptive depth", adaptive, STYLES[1])):
        if group:
            group = sorted(group, key=lambda point: point.mean_iterations)
            means, accuracy = zip(*((point.mean_iterations, point.accuracy) for point in group), strict=True)
            axes.plot(means, accuracy, gid=label, label=label, markersize=4.5, linewidth=1.2, **style)
    if trained := [point for point in fixed if point.num_iterations == point.trained_iterations]:
        there = ([trained[0].mean_iterations], [trained[0].accuracy])
        axes.plot(*there, color=STYLES[0]["color"], gid="as trained", label="as trained", **RING)
    label_tolerances(axes, adaptive)
    axes.set(xlabel="mean iterations of a sample", ylabel="accuracy", title="Accuracy against depth")
    legend_below(figure, title="numbers: energy tolerance" if adaptive else None)
    axes.grid(alpha=0.3)
    return figure


def label_tolerances(axes, points: Sequence[DepthPoint]) -> None:
    """
    Write the tolerance beside each point, at an angle, so that neighbours do not overlap. It is below the point where the curve
    rises, else above. Points in one place share a label.
    """
    places: dict[tuple[float, float], list[str]] = {}
    for point in sorted(points, key=lambda point: (point.mean_iterations, point.energy_tolerance)):
        places.setdefault((point.mean_iterations, point.accuracy), []).append(f"{point.energy_tolerance:g}")
    corners = sorted(places)
    for index, corner in enumerate(corners):
        before, after = corners[max(index - 1, 0)], corners[min(index + 1, len(corners) - 1)]
        down = -1 if after[1] >= before[1] else 1
        axes.annotate(
            ", ".join(places[corner]),
            corner,
            xytext=(3, 4 * down),
            textcoords="offset points",
            rotation=30 * down,
            rotation_mode="anchor",
            horizontalalignment="left",
            verticalalignment="top" if down < 0 else "bottom",
            fontsize=7.5,
            color=ORANGE,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )


def draw_step_sizes(analysis: Analysis) -> Figure:
    """
    The step sizes α and γ: their mean over tokens, channels and samples, with a band of their deviation over tokens and
    channels, and the share of them that is positive.
    """
    figure, (*both, right) = panels_of(3)
    sides = (
        ("attention", "α, attention", {"color": BLUE, "marker": "o"}),
        ("feedforward", "γ, feedforward", STYLES[1]),
    )
    both[1].sharey(both[0])
    for axes, (side, symbol, style) in zip(both, sides, strict=True):
        name = f"{side}_step_size"
        mean, spread = analysis.mean(name), analysis.mean(f"{name}_deviation")
        steps = range(1, len(mean) + 1)
        axes.plot(steps, mean, gid=name, markersize=3.5, linewidth=1.2, **style)
        axes.fill_between(steps, mean - spread, mean + spread, color=style["color"], alpha=0.15, linewidth=0)
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set(title=symbol, ylabel="step size")
        positive = analysis.mean(f"{name}_positive")
        right.plot(steps, positive, label=symbol, gid=f"{name}_positive", markersize=3.5, linewidth=1.2, **style)
    right.set(title="share that is positive", ylabel="share", ylim=(-0.05, 1.05))
    finish((*both, right), analysis)
    count = samples(analysis, "attention_step_size")
    figure.suptitle(f"Step sizes, mean and deviation over tokens and channels, {count}", fontsize=10)
    return figure


def panels_of(count: int, scale: float = 1.0):
    """A figure with `count` panels side by side, `scale` times as wide as usual."""
    figure = Figure(figsize=(scale * PANEL[0] * count, PANEL[1] + 0.25), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def curve(
    axes,
    analysis: Analysis,
    name: str,
    style: dict,
    head: int | None = None,
    label: str | None = None,
    band: bool = True,
) -> None:
    """The mean of a quantity over samples after every step, and its deviation as a band."""
    mean, std = analysis.mean(name), analysis.std(name)
    gid = name
    if head is not None:
        mean, std, gid = mean[:, head - 1], std[:, head - 1], f"{name} of head {head}"
    steps = range(1, len(mean) + 1)
    axes.plot(steps, mean, gid=gid, label=label, **{"markersize": 3.5, "linewidth": 1.2} | style)
    if band:
        axes.fill_between(steps, mean - std, mean + std, color=style["color"], alpha=0.15, linewidth=0)


def plot_accuracy(axes, analysis: Analysis) -> None:
    """The accuracy. If the labels are for tokens, also the token accuracy, dashed."""
    has_tokens = "token_accuracy" in analysis.statistics
    style = {"color": GREEN, "marker": "^", "markersize": 4}
    curve(axes, analysis, "accuracy", style, label="samples all right" if has_tokens else None, band=False)
    if has_tokens:
        style = {"color": PURPLE, "linestyle": "--", "marker": "x", "markersize": 4}
        curve(axes, analysis, "token_accuracy", style, label="tokens right", band=False)
    axes.set(title="accuracy", ylabel="accuracy")


def legend_below(figure: Figure, title: str | None = None) -> None:
    """Add a legend of all labels below the panels, where it covers no curve, and make the figure higher for it."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if not found:
        return
    inches = 0.7 + 0.062 * max(map(len, found))  # of an entry
    columns = max(1, min(int(figure.get_figwidth() / inches), len(found)))
    rows = math.ceil(len(found) / columns) + (title is not None)
    figure.set_figheight(figure.get_figheight() + 0.17 * rows)
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": columns, "frameon": False}
    figure.legend(list(found.values()), list(found), fontsize=8, title=title, title_fontsize=8, **place)


def x_label(analysis: Analysis) -> str:
    return "iteration" if analysis.num_layers == 1 else "iteration, layer after layer"


def finish(grid: Sequence, analysis: Analysis, label_all: bool = True) -> None:
    """Mark the trained depth and the borders between layers, label the axes, and add the legend."""
    each, trained = analysis.num_iterations, analysis.trained_iterations
    for axes in grid:
        for layer in range(analysis.num_layers):
            if layer:
                axes.axvline(layer * each + 0.5, color=GREY, linewidth=0.8)
            if trained < each:
                mark = {"color": GREY, "linestyle": ":", "linewidth": 1.2, "gid": "trained depth"}
                axes.axvline(layer * each + trained, label=f"{trained} iterations, as trained", **mark)
        axes.set_xlim(0.5, each * analysis.num_layers + 0.5)
        axes.title.set_fontsize(10)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if label_all:
            axes.set_xlabel(x_label(analysis))
    legend_below(grid[0].figure)


def samples(analysis: Analysis, name: str) -> str:
    """The number of samples on which a quantity was measured."""
    count = analysis.statistics[name]["count"]
    return f"{count:,} sample{'' if count == 1 else 's'}"

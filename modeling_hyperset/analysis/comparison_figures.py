# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The paper's figures that compare models or runs. Needs matplotlib."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .analysis import Analysis
from .figures import GREY, RING, STYLES, Figure, legend_below, panels_of, per_head


def over_runs(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """
    Mean accuracy of several runs of one model, and its standard deviation over them (Σ/(n − 1)).

    Args:
        runs: The results of [`by_depth`] or [`analyze_depths`], all of the same depths.

    Returns:
        `dict` with `trained_iterations`, `num_iterations`, `accuracy`, `accuracy_deviation` and `num_runs`.

    Raises:
        `ValueError`: there are fewer than two runs, or they have different depths.
    """
    if len(runs) < 2 or any(run["num_iterations"] != runs[0]["num_iterations"] for run in runs):
        raise ValueError(f"`runs` must be at least two of the same depths, got {[r['num_iterations'] for r in runs]}.")
    values = list(zip(*(run["accuracy"] for run in runs), strict=True))
    return {name: runs[0][name] for name in ("trained_iterations", "num_iterations")} | {
        "accuracy": [statistics.fmean(step) for step in values],
        "accuracy_deviation": [statistics.stdev(step) for step in values],
        "num_runs": len(runs),
    }


def draw_accuracy(depths: dict[str, dict[str, Any]]) -> Figure:
    """
    Figure 3, right: accuracy against the number of iterations, below and beyond the trained one. Several runs of a model are a
    curve of their mean, with a band of one standard deviation.

    Args:
        depths: The results of [`by_depth`], [`analyze_depths`] or [`over_runs`], by the name of the model in the legend.

    Raises:
        `ValueError`: no model, or more models than styles.
    """
    if not 1 <= len(depths) <= len(STYLES):
        raise ValueError(f"`depths` must hold 1 to {len(STYLES)} models, got {len(depths)}.")
    figure, (axes,) = panels_of(1, scale=1.5)
    for (label, found), style in zip(depths.items(), STYLES, strict=False):
        steps, accuracy, trained = (found[key] for key in ("num_iterations", "accuracy", "trained_iterations"))
        axes.plot(steps, accuracy, gid=label, label=label, markersize=4, linewidth=1.2, **style)
        if "accuracy_deviation" in found:
            band(axes, steps, accuracy, found["accuracy_deviation"], style)
        if trained in steps:
            there = accuracy[steps.index(trained)]
            axes.plot([trained], [there], color=style["color"], gid=f"{label}: as trained", **RING)
    axes.plot([], [], color=GREY, label="as trained", **RING | {"markersize": 9})
    axes.set(
        xlabel="iterations of each layer at test time", ylabel="accuracy", title="Accuracy against depth at test time"
    )
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend_below(figure)
    axes.grid(alpha=0.3)
    return figure


def draw_overlay(analyses: Mapping[str, Analysis], name: str) -> Figure:
    """
    Figures 13 and 14: `effective_rank`, `mean_angle` or `angle_of_mean_cosine` of several models, with a panel for each head
    and a curve for each model.

    Args:
        analyses: The analyses by the name of the model in the legend, all with the same number of heads.

    Raises:
        `ValueError`: an unknown quantity, or one that a model does not have; models with different numbers of heads; no model,
            or more models than styles.
    """
    if not 1 <= len(analyses) <= len(STYLES):
        raise ValueError(f"`analyses` must hold 1 to {len(STYLES)} models, got {len(analyses)}.")
    heads = {label: analysis.num_heads for label, analysis in analyses.items()}
    if len(set(heads.values())) > 1:
        raise ValueError(f"`analyses` must be of models with one number of heads, got {heads}.")
    longest = max(analyses.values(), key=lambda analysis: analysis.num_layers * analysis.num_iterations)

    def draw(axes, head: int) -> None:
        for (model, analysis), style in zip(analyses.items(), STYLES, strict=False):
            values = analysis.mean(name)[:, head - 1]
            gid = f"{model}: {name} of head {head}"
            steps = range(1, len(values) + 1)
            axes.plot(steps, values, gid=gid, label=model, markersize=3.5, linewidth=1.2, **style)

    return per_head(longest, name, draw)


def draw_training(curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]], quantity: str) -> Figure:
    """
    Figure 3, left: a quantity in the course of training, as the mean over runs with a band of one standard deviation.

    Args:
        curves: For each model its runs, and for each run its values: pairs of epoch and value. Epochs that not all runs of a
            model have are left out.
        quantity (`str`): Its name on the axis.

    Raises:
        `ValueError`: no model, more models than styles, or a model whose runs have no epoch in common.
    """
    if not 1 <= len(curves) <= len(STYLES):
        raise ValueError(f"`curves` must hold 1 to {len(STYLES)} models, got {len(curves)}.")
    figure, (axes,) = panels_of(1, scale=1.5)
    for (model, runs), style in zip(curves.items(), STYLES, strict=False):
        epochs, means, deviations = mean_curve(runs)
        if not epochs:
            raise ValueError(f"`curves`: the runs of {model!r} have no epoch in common.")
        label = f"{model} ({len(runs)} runs)" if len(runs) > 1 else model
        every = max(1, len(epochs) // 12)
        axes.plot(epochs, means, gid=model, label=label, markersize=4, markevery=every, linewidth=1.2, **style)
        if len(runs) > 1:
            band(axes, epochs, means, deviations, style)
    axes.set(xlabel="epoch", ylabel=quantity, title=f"{quantity} in training")
    legend_below(figure)
    axes.grid(alpha=0.3)
    return figure


def mean_curve(runs: Sequence[Sequence[tuple[float, float]]]) -> tuple[list[float], list[float], list[float]]:
    """The epochs that all runs have, and the mean and the standard deviation (Σ/(n − 1)) of their values there."""
    values = [dict(run) for run in runs]
    epochs = sorted(set.intersection(*map(set, values)))
    found = [[run[epoch] for run in values] for epoch in epochs]
    deviations = [statistics.stdev(each) if len(each) > 1 else 0.0 for each in found]
    return epochs, [statistics.fmean(each) for each in found], deviations


def band(axes, steps: Sequence, means: Sequence[float], deviations: Sequence[float], style: dict[str, Any]) -> None:
    """Shade one deviation on both sides of a curve."""
    low, high = ([mean + sign * width for mean, width in zip(means, deviations, strict=True)] for sign in (-1, 1))
    axes.fill_between(steps, low, high, color=style["color"], alpha=0.15, linewidth=0)


def draw_trade_off(models: Sequence[dict[str, Any]]) -> Figure:
    """
    Figure 4: accuracy and parameters by the number of layers and of iterations of each layer, with a curve for each `series`.

    Args:
        models: For each model `series` (`str`), `num_layers`, `num_iterations`, `num_parameters` and `accuracy`. Models with
            the same first three (for example several seeds) become one point: the mean, with a bar of one standard deviation.
    """
    if not models:
        raise ValueError("`models` is empty: there is nothing to draw.")
    places = sorted({(model["num_layers"], model["num_iterations"]) for model in models})
    names = list(dict.fromkeys(model["series"] for model in models))
    if len(names) > len(STYLES):
        raise ValueError(f"`models` must be of at most {len(STYLES)} series, got {len(names)}.")
    figure, (left, right) = panels_of(2, scale=1.25)
    for name, style in zip(names, STYLES, strict=False):
        points = []
        for index, place in enumerate(places):
            alike = [m for m in models if m["series"] == name and (m["num_layers"], m["num_iterations"]) == place]
            if alike:
                accuracy = torch.tensor([model["accuracy"] for model in alike], dtype=torch.float64)
                points.append((index, accuracy.mean(), accuracy.std(correction=0), alike[0]["num_parameters"] / 1e6))
        positions, means, deviations, parameters = zip(*points, strict=True)
        line, _, _ = left.errorbar(positions, means, deviations, capsize=3, label=name, linewidth=1.2, **style)
        line.set_gid(f"{name}: accuracy")
        right.plot(positions, parameters, label=name, linewidth=1.2, gid=f"{name}: parameters", **style)
    for axes in (left, right):
        axes.set_xticks(range(len(places)), [f"{layers} × {iterations}" for layers, iterations in places])
        axes.set_xlabel("layers × iterations of each")
        axes.grid(alpha=0.3)
        axes.margins(x=0.1)
    left.set(title="accuracy", ylabel="accuracy")
    right.set(title="parameters", ylabel="millions")
    right.set_ylim(0, 1.1 * max(model["num_parameters"] for model in models) / 1e6)
    legend_below(figure)
    return figure

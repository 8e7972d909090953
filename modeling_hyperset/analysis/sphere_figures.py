# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The paper's Figure 1, from [`Trajectories`]: tokens on the sphere. Needs matplotlib."""

import math
from typing import Any

import torch

from .figures import GREY, ORANGE, Figure
from .trajectories import Trajectories


def draw_trajectories(paths: Trajectories, max_tokens: int = 32) -> Figure:
    """
    Figure 1: tokens of one sample on the sphere, in a subspace and in the whole space, from light (start) to dark (end). It
    draws at most `max_tokens` tokens, spread evenly over the sequence.
    """
    from matplotlib import colormaps

    figure, shades = Figure(figsize=(8.6, 4.7), layout="constrained"), colormaps["viridis_r"]
    last, count = paths.subspace.shape[0] - 1, paths.subspace.shape[1]
    shown = torch.linspace(0, count - 1, min(count, max_tokens)).round().long()
    spaces = (
        (f"Tokens in the subspace of head {paths.head}", paths.subspace, paths.subspace_share),
        ("Tokens in the whole space", paths.tokens, paths.tokens_share),
    )
    for position, (title, points, share) in enumerate(spaces):
        axes = figure.add_subplot(1, 2, position + 1, projection="3d")
        draw_sphere(axes)
        for token in shown.tolist():
            axes.plot(*points[:, token].T, color=GREY, linewidth=0.7, alpha=0.8, gid=f"path {token}")
        for step in range(last + 1):
            style = {"s": 9, "marker": "o", "linewidths": 0}
            if step in (0, last):
                style = {"s": 28, "marker": "D" if step else "o", "edgecolors": "black", "linewidths": 0.6}
            axes.scatter(*points[step, shown].T, color=[shades(step / max(1, last))], **style)
        for anchor in paths.anchors if points is paths.tokens else ():
            axes.plot(*torch.stack((0 * anchor, anchor)).T, color=ORANGE, linewidth=1.2, linestyle="--")
            axes.scatter(*anchor, color=ORANGE, marker="*", s=80, edgecolors="black", linewidths=0.5)
        axes.set_title(f"{title}\n(three dimensions hold {share:.0%} of their squared length)", fontsize=9)
    end = f"after iteration {last}" + (", as trained" if last == paths.trained_iterations else "")
    marks: list[tuple[str, dict[str, Any]]] = [
        ("before the first iteration", {"marker": "o", "color": shades(0.0)}),
        (end, {"marker": "D", "color": shades(1.0)}),
        ("pale: at the back", {"marker": "o", "color": "#DDDDDD", "markeredgecolor": GREY}),
    ]
    if len(paths.anchors):
        marks.append(("anchor, a column of D", {"marker": "*", "color": ORANGE, "markersize": 10}))
    handles = [
        axes.plot(
            [], [], [], label=label, linestyle="none", markeredgewidth=0.5, **{"markeredgecolor": "black"} | style
        )[0]
        for label, style in marks
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(marks), fontsize=8, frameon=False)
    if len(shown) < count:
        figure.suptitle(f"{len(shown)} of {count} tokens", fontsize=10)
    return figure


def draw_sphere(axes) -> None:
    """Draw the unit sphere as a faint grid, without axes."""
    angles = torch.linspace(0, 2 * math.pi, 61)
    for latitude in torch.arange(-60, 61, 30) * (math.pi / 180):
        ring = latitude.cos() * angles.cos(), latitude.cos() * angles.sin(), latitude.sin().expand(61)
        axes.plot(*ring, color="#BBBBBB", linewidth=0.4)
    for longitude in torch.arange(0, 180, 30) * (math.pi / 180):
        ring = angles.cos() * longitude.cos(), angles.cos() * longitude.sin(), angles.sin()
        axes.plot(*ring, color="#BBBBBB", linewidth=0.4)
    axes.set(xlim=(-0.68, 0.68), ylim=(-0.68, 0.68), zlim=(-0.68, 0.68))
    axes.set_box_aspect((1, 1, 1))
    axes.set_axis_off()

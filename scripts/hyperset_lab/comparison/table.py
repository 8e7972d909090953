# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The table of a comparison, as Markdown that is read in a terminal as well."""

import textwrap
from typing import Any


def with_deviation(value: dict[str, Any] | None, is_share: bool) -> str:
    """Mean ± standard deviation, of shares in per cent, or that one of the runs diverged."""
    if value is None:
        return "–"
    if value["mean"] is None:
        return "diverged"
    factor, digits = (100, 2) if is_share else (1, 4)
    mean = f"{factor * value['mean']:.{digits}f}"
    return mean if value["std"] is None else f"{mean} ± {factor * value['std']:.{digits}f}"


def aligned_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns are as wide as their widest cell; the first is aligned left, the others right."""
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]

    def line(cells: list[str]) -> str:
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join([cells[0].ljust(widths[0]), *rest])} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(line(cells) for cells in (header, rule, *rows))


def markdown(result: dict[str, Any]) -> str:
    """The results of a comparison: a line for each model, how they came about, and the accuracies that chose the rates."""
    models, timing, memory, settings = (result[name] for name in ("models", "timing", "memory", "settings"))
    seeds, rates = settings["seeds"], [f"{rate:g}" for rate in settings["learning_rates"]]
    score, is_share = settings["score"]["name"], settings["score"]["is_share"]
    label = score.replace("_", " ")
    unit, in_per_cent = (", %", ", in %,") if is_share else ("", "")
    header = ["model", "parameters", "MFLOPs", "learning rate"]
    header += [f"{label}{unit}", f"at twice the iterations{unit}", "memory, MB", "time per step"]
    rows = []
    for name, row in models.items():
        cells = [name, f"{row['parameters']:,}", f"{row['flops'] / 1e6:.1f}", f"{row['learning_rate']:g}"]
        cells += [with_deviation(row[key], is_share) for key in (score, f"{score}_at_twice_the_iterations")]
        rows.append([*cells, f"{memory[name] / 1e6:.1f}", f"{timing['models'][name]['relative']:.2f}"])
    several = f"mean ± standard deviation over the seeds {', '.join(map(str, seeds))}"
    deviation = several if len(seeds) > 1 else f"seed {seeds[0]}"
    notes = (
        f"{label.capitalize()}: {deviation}, on the split for evaluation, after training on all training data. MFLOPs: "
        "millions of floating point operations in the matrix products of one forward pass. Memory: what the forward pass of a "
        "training batch keeps for the backward pass, without the parameters. Time per training step: relative to "
        f"{timing['reference']}, median of {timing['num_turns']} turns side by side ({timing['device']}, "
        f"threads: {timing['num_threads']})."
    )
    budget = settings.get("selection_flags") or {}  # comparisons of older versions have none
    smaller = (
        f" Trained for that with {', '.join(f'{name} {value:g}' for name, value in budget.items())}." if budget else ""
    )
    choice = (
        "Every model's learning rate was chosen on data held out of the training split, a part for each of the seeds "
        f"{', '.join(map(str, settings['selection_seeds']))}; the split for evaluation was not looked at."
        f"{smaller}{edge_note(models, settings['learning_rates'])} {label.capitalize()} on the held-out data{in_per_cent} "
        "for each learning rate:"
    )
    validation = [
        [name, *(with_deviation(row[f"validation_{score}"][rate], is_share) for rate in rates)]
        for name, row in models.items()
    ]
    texts = [textwrap.fill(text, 119) for text in (notes, choice)]
    return "\n\n".join([aligned_table(header, rows), *texts, aligned_table(["model", *rates], validation)]) + "\n"


def edge_note(models: dict[str, Any], rates: list[float]) -> str:
    """Which models chose the lowest or the highest rate of a list of several, so that a better one may lie outside."""
    edges = (min(rates), max(rates)) if len(rates) > 1 else ()
    at_edge = [name for name, row in models.items() if row["learning_rate"] in edges]
    if not at_edge:
        return ""
    return f" Chosen at the edge of the list, beyond which a better one may lie: {', '.join(at_edge)}."

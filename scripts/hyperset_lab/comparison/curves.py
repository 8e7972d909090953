# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""How the runs of a comparison trained: their curves, and the pictures of mean and band over seeds (Figure 3, left)."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from hyperset_lab.comparison.plan import Comparison
from modeling_hyperset.files import write_json, write_whole


Curve = list[tuple[float, float]]  # epoch and value


def curves_of(folder: Path, names: dict[str, str]) -> dict[str, Curve]:
    """What a run in `folder` logged after each epoch, by the title that `names` gives; without what it never logged."""
    path, found = folder / "trainer_state.json", dict[str, Curve]()
    history = json.loads(path.read_text(encoding="utf-8"))["log_history"] if path.is_file() else []
    for logged, title in names.items():
        curve = {entry["epoch"]: entry[logged] for entry in history if logged in entry}
        least = 1 if logged == "loss" else 2  # the one evaluation after the training is no curve
        if len(curve) >= least:
            found[title] = sorted(curve.items())
    return found


def training_curves(comparison: Comparison, result: dict[str, Any]) -> dict[str, dict[str, list[Curve]]]:
    """
    For each quantity and model the curves of its runs with the chosen learning rate. Models with a run that diverged are left
    out.
    """
    score = comparison.score.name
    names = {"loss": "training loss", f"eval_{score}": score.replace("_", " ")}
    curves: dict[str, dict[str, list[Curve]]] = {}
    for model, row in result["models"].items():
        if row[score]["mean"] is None:
            continue
        runs = [curves_of(comparison.root / "runs" / run, names) for run in row["runs"]]
        for title in names.values():
            if all(title in run for run in runs):
                curves.setdefault(title, {})[model] = [run[title] for run in runs]
    return curves


def write_curves(comparison: Comparison, result: dict[str, Any]) -> list[Path]:
    """Write the curves of a comparison beside its table. Returns the files."""
    return draw_curves(comparison.root, training_curves(comparison, result))


def draw_curves(folder: Path, curves: dict[str, dict[str, list[Curve]]]) -> list[Path]:
    """Write `curves.json` in `folder`, and a picture of each quantity, where there is a curve. Returns the files."""
    from modeling_hyperset.analysis.comparison_figures import STYLES, draw_training  # they import matplotlib

    if not curves:
        return []
    files = [folder / "curves.json"]
    write_json(files[0], curves)
    for title, models in curves.items():
        shown = dict(list(models.items())[: len(STYLES)])
        files.append(folder / f"{title.replace(' ', '_')}.png")
        write_whole(files[-1], partial(draw_training(shown, title).savefig, dpi=200))
        if len(shown) < len(models):
            print(f"{files[-1]} shows the first {len(shown)} of {len(models)} models; curves.json has all.")
    return files

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Choose every model's learning rate on held-out data, and gather what the models reach with it."""

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

from hyperset_lab.comparison.costs import forward_flops
from hyperset_lab.comparison.plan import Comparison
from hyperset_lab.comparison.runs import VERSIONS
from hyperset_lab.models import model_of
from hyperset_lab.tasks import Score
from hyperset_lab.trainer import ScriptTrainer


def mean_and_deviation(runs: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Mean and sample standard deviation over runs. One value has no deviation. If a run diverged, there is neither."""
    values: list[Any] = [metrics.get(name) for metrics in runs]
    if None in values:
        return {"mean": None, "std": None, "values": values}
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": deviation, "values": values}


def best_rate(grid: dict[float, list[dict[str, Any]]], score: Score) -> float:
    """
    The learning rate with the best mean score over the seeds. Where two are equal, the lower mean loss decides. A rate with
    which a run diverged does not count; it is a `ValueError` if there is no other.
    """
    rates = [rate for rate, runs in grid.items() if not any("diverged" in metrics for metrics in runs)]
    if not rates:
        raise ValueError(f"A run diverges with each of the `learning_rates` {[*grid]}: list lower ones.")

    def goodness(rate: float) -> tuple[float, float]:
        reached, loss = (
            statistics.fmean(metrics[f"eval_{name}"] for metrics in grid[rate]) for name in (score.name, "loss")
        )
        return round(reached if score.higher_is_better else -reached, 9), -loss

    return max(rates, key=goodness)


def compare(comparison: Comparison, trainers: dict[str, ScriptTrainer]) -> dict[str, Any]:
    """Choose every model's learning rate, train it with that one, and gather everything but times."""
    arguments, score = comparison.arguments, comparison.score
    rates = dict.fromkeys(comparison.models, arguments.learning_rates)
    validation = comparison.finish_grid("validation", rates, arguments.selection_seeds)
    chosen = {}
    for model, grid in validation.items():
        try:
            chosen[model] = best_rate(grid, score)
        except ValueError as error:
            raise ValueError(f"The model {model!r} has no learning rate. {error}") from error
    test = comparison.finish_grid("test", {model: [rate] for model, rate in chosen.items()}, arguments.seeds)
    rows = {}
    for model, rate in chosen.items():
        num_iterations = comparison.configs[model]["num_iterations"]
        twice = f"eval_{2 * num_iterations}_iterations_{score.name}"
        metrics = test[model][rate]
        rows[model] = {
            "parameters": model_of(trainers[model]).num_parameters(),
            "flops": forward_flops(trainers[model]),
            "num_iterations": num_iterations,
            "learning_rate": rate,
            f"validation_{score.name}": {
                f"{tried:g}": mean_and_deviation(grid, f"eval_{score.name}")
                for tried, grid in validation[model].items()
            },
            score.name: mean_and_deviation(metrics, f"eval_{score.name}"),
            f"{score.name}_at_twice_the_iterations": (
                mean_and_deviation(metrics, twice) if any(twice in one for one in metrics) else None
            ),
            "runs": [comparison.run(model, "test", rate, seed).folder.name for seed in arguments.seeds],
        }
    settings = comparison.settings() | {"score": dataclasses.asdict(score)}
    return {"settings": settings, "versions": VERSIONS, "models": rows}


def stored_result(path: Path, comparison: Comparison) -> dict[str, Any]:
    """What a finished comparison of the same settings wrote."""
    if not path.is_file():
        raise ValueError(
            f"`--time_only` needs a finished comparison, but there is no {path}: compare without it first."
        )
    result = json.loads(path.read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(comparison.settings()))
    if {name: result["settings"].get(name) for name in wanted} != wanted:
        raise ValueError(
            f"`--time_only` needs a comparison of the same settings, but {path} has others: compare again without it."
        )
    return result

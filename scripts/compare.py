# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train several image classifiers on the same data with the same budget and seeds, and write one table.

    python scripts/compare.py scripts/recipes/compare_digits.yaml

Every model is trained with every learning rate of one list on a part of the training images, and its own best one is chosen on
the others (the mean accuracy over seeds, each with its own held-out part; the lower loss where two are equal). With that
rate it is trained on all training images and evaluated on the split for evaluation, which nothing before has looked at, at the
trained number of iterations and at twice as many. Time per step is that of training steps of all models in turns.

Finished runs are stored in `output_dir`, each under a hash of its settings, and not trained again: a comparison that was
stopped goes on. Their code is no part of the hash; after a change to it, choose another `output_dir`.
"""

import contextlib
import dataclasses
import io
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperset_lab.arguments import ModelArguments, parse_arguments, parse_object, parse_overrides, read_recipe
from hyperset_lab.comparison.costs import forward_flops, measure_times
from hyperset_lab.comparison.runs import VERSIONS, Run, finish, trainer_of
from hyperset_lab.comparison.table import markdown
from modeling_hyperset.files import write_json, write_whole
from transformers import Trainer, set_seed


# What a comparison decides by itself, whatever the base recipe says.
DECIDED = {
    "do_train": True,
    "do_eval": True,
    "eval_strategy": "no",
    "save_strategy": "no",
    "logging_strategy": "epoch",
    "load_best_model_at_end": False,
    "push_to_hub": False,
    "report_to": "none",
    "disable_tqdm": True,
}
PER_RUN = {"learning_rate", "seed", "output_dir", "hold_out_validation", "eval_num_iterations"}


@dataclass
class ComparisonArguments:
    """Which models to compare, and how."""

    base_recipe: str = field(
        metadata={"help": "Recipe of the training script that all models share; looked for beside the comparison's."}
    )
    models: str = field(
        metadata={
            "help": "What each model sets otherwise: a JSON object from names to flags of the model, such as "
            '\'{"A": {}, "B": {"model_type": "transformer"}}\'.'
        }
    )
    reference: str = field(metadata={"help": "The model whose time per step is 1."})
    learning_rates: list[float] = field(metadata={"help": "Learning rates to choose from, for every model."})
    seeds: list[int] = field(metadata={"help": "Seeds to train every model with."})
    output_dir: str = field(metadata={"help": "Folder of the runs and the table."})
    selection_seeds: list[int] | None = field(
        default=None,
        metadata={
            "help": "Seeds to choose the learning rates with, in place of `seeds`: fewer trainings for a rougher choice."
        },
    )
    flags: str = field(
        default="{}", metadata={"help": "Flags of the training script to set otherwise for all models, as JSON."}
    )
    num_workers: int = field(
        default=1, metadata={"help": "Trainings at a time, which share the processor's threads equally."}
    )
    timing_turns: int = field(
        default=9, metadata={"help": "Turns that the models take when steps are timed, a few steps in each."}
    )
    time_only: bool = field(
        default=False,
        metadata={"help": "Measure the time per step of a finished comparison again, and leave all else as it is."},
    )

    def __post_init__(self):
        self.models, self.flags = parse_object(self.models, "models"), parse_object(self.flags, "flags")
        if not self.models or not all(isinstance(own, dict) for own in self.models.values()):
            raise ValueError(f"`models` must map at least one name to flags, got {self.models}.")
        if self.reference not in self.models:
            raise ValueError(f"`reference` must be one of {', '.join(self.models)}, got {self.reference!r}.")
        if self.selection_seeds is None:
            self.selection_seeds = self.seeds
        for name in ("learning_rates", "seeds", "selection_seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values) or min(values) < 0:
                raise ValueError(f"`{name}` must be distinct numbers, none negative and at least one, got {values}.")
        for name in ("num_workers", "timing_turns"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if taken := self.flags.keys() & (DECIDED.keys() | PER_RUN):
            raise ValueError(f"`flags` sets what the comparison decides: {', '.join(sorted(taken))}.")
        known = {item.name for item in dataclasses.fields(ModelArguments)}
        for name, own in self.models.items():
            if other := own.keys() - known:
                raise ValueError(
                    f"The model {name!r} may set flags of the model alone, because data and budget are the same for all; got "
                    f"{', '.join(sorted(map(str, other)))}."
                )


def merge(*parts: dict[str, Any]) -> dict[str, Any]:
    """The union of flags; the last to set one wins, except that `config_overrides` add up."""
    overrides = {}
    for part in parts:
        own = part.get("config_overrides") or {}
        overrides |= parse_overrides(own) if isinstance(own, str) else own
    merged = {name: value for part in parts for name, value in part.items()}
    return merged | ({"config_overrides": overrides} if overrides else {})


class Comparison:
    """The settings of every model and run of a comparison, whose `base` recipe all models share."""

    def __init__(self, arguments: ComparisonArguments, base: dict[str, Any]):
        self.arguments = arguments
        shared = {name: value for name, value in base.items() if name not in PER_RUN}
        self.models = {name: merge(shared, arguments.flags, own, DECIDED) for name, own in arguments.models.items()}
        self.root = Path(arguments.output_dir)
        self.configs: dict[str, dict[str, Any]] = {}

    def settings(self) -> dict[str, Any]:
        """What a finished comparison is recognised by."""
        names = ("reference", "learning_rates", "seeds", "selection_seeds")
        return {"models": self.models} | {name: getattr(self.arguments, name) for name in names}

    def build(self, folder: Path) -> dict[str, Trainer]:
        """
        A trainer of every model that writes to `folder`, with the first seed and its part of the training images.

        Raises:
            `ValueError`: what the training script says to the settings of a model, with the model's name.
        """
        trainers = {}
        for index, (name, settings) in enumerate(self.models.items()):
            own = folder / str(index)
            own.mkdir()
            own_settings = {"seed": self.arguments.seeds[0], "hold_out_validation": True, "logging_strategy": "no"}
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    trainers[name], _ = trainer_of(settings | own_settings, own)
            except ValueError as error:
                raise ValueError(f"The model {name!r} cannot be trained: {error}") from error
            self.configs[name] = trainers[name].model.config.to_dict()
        return trainers

    def run(self, model: str, phase: str, learning_rate: float, seed: int) -> Run:
        """One training. Validation trains on a part of the training images and evaluates on the rest, drawn by the seed."""
        own = {"learning_rate": learning_rate, "seed": seed, "hold_out_validation": phase == "validation"}
        if phase == "validation":
            own["eval_num_iterations"] = [self.configs[model]["num_iterations"]]
        settings = self.models[model] | own
        return Run(model, phase, learning_rate, seed, settings, self.configs[model], self.root / "runs")

    def finish_grid(
        self, phase: str, rates: dict[str, list[float]], seeds: list[int]
    ) -> dict[str, dict[float, list[dict[str, Any]]]]:
        """The metrics of every model, for each of its `rates`, one for every seed; or why that run diverged."""
        cells = [(model, rate) for model, own in rates.items() for rate in own]
        runs = [self.run(model, phase, rate, seed) for model, rate in cells for seed in seeds]
        print(f"\n{phase}: {len(runs)} runs")
        metrics = finish(runs, self.arguments.num_workers)
        grid = {model: {} for model in rates}
        for index, (model, rate) in enumerate(cells):
            grid[model][rate] = metrics[index * len(seeds) : (index + 1) * len(seeds)]
        return grid


def spread(runs: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Mean and sample standard deviation over runs; one value has none, and neither exists where a run diverged."""
    values = [metrics.get(name) for metrics in runs]
    if None in values:
        return {"mean": None, "std": None, "values": values}
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": deviation, "values": values}


def best_rate(grid: dict[float, list[dict[str, Any]]]) -> float:
    """
    The learning rate with the highest mean accuracy over the seeds; the lower mean loss where two are equal. Those with which a
    run diverged are out of the question.

    Raises:
        `ValueError`: there is no other.
    """
    rates = [rate for rate, runs in grid.items() if not any("diverged" in metrics for metrics in runs)]
    if not rates:
        raise ValueError(f"With each of the `learning_rates` {[*grid]} a run diverges: list lower ones.")

    def score(rate: float) -> tuple[float, float]:
        return tuple(
            statistics.fmean(metrics[name] for metrics in grid[rate]) for name in ("eval_accuracy", "eval_loss")
        )

    return max(rates, key=lambda rate: (round(score(rate)[0], 9), -score(rate)[1]))


def compare(comparison: Comparison, trainers: dict[str, Trainer]) -> dict[str, Any]:
    """Choose every model's learning rate, train it with that one, and gather everything but times."""
    arguments = comparison.arguments
    rates = dict.fromkeys(comparison.models, arguments.learning_rates)
    validation = comparison.finish_grid("validation", rates, arguments.selection_seeds)
    chosen = {}
    for model, grid in validation.items():
        try:
            chosen[model] = best_rate(grid)
        except ValueError as error:
            raise ValueError(f"The model {model!r} has no learning rate. {error}") from error
    test = comparison.finish_grid("test", {model: [rate] for model, rate in chosen.items()}, arguments.seeds)
    rows = {}
    for model, rate in chosen.items():
        num_iterations = comparison.configs[model]["num_iterations"]
        twice = f"eval_{2 * num_iterations}_iterations_accuracy"
        metrics = test[model][rate]
        rows[model] = {
            "parameters": trainers[model].model.num_parameters(),
            "flops": forward_flops(trainers[model]),
            "num_iterations": num_iterations,
            "learning_rate": rate,
            "validation_accuracy": {
                f"{tried:g}": spread(grid, "eval_accuracy") for tried, grid in validation[model].items()
            },
            "accuracy": spread(metrics, "eval_accuracy"),
            "accuracy_at_twice_the_iterations": (
                spread(metrics, twice) if any(twice in one for one in metrics) else None
            ),
            "runs": [comparison.run(model, "test", rate, seed).folder.name for seed in arguments.seeds],
        }
    return {"settings": comparison.settings(), "versions": VERSIONS, "models": rows}


def stored_result(path: Path, comparison: Comparison) -> dict[str, Any]:
    """What a finished comparison of the same settings wrote."""
    if not path.is_file():
        raise ValueError(f"`--time_only` needs a finished comparison, and there is no {path}.")
    result = json.loads(path.read_text(encoding="utf-8"))
    if result["settings"] != json.loads(json.dumps(comparison.settings())):
        raise ValueError(f"`--time_only` needs a comparison of the same settings, and {path} is of others.")
    return result


def base_recipe_path(parsed: ComparisonArguments, arguments: list[str]) -> Path:
    """The base recipe, beside the comparison recipe that comes first of the command's `arguments`, if one does."""
    beside = Path(arguments[0]).parent if arguments[0].endswith((".yaml", ".yml", ".json")) else Path()
    path = beside / parsed.base_recipe
    if not path.is_file():
        raise ValueError(f"`base_recipe` must be a recipe, and {str(path)!r} is no file.")
    return path


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run or finish a comparison, write `comparison.json` and `comparison.md`, print the table, and return what was written."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    (parsed,) = parse_arguments((ComparisonArguments,), arguments)
    comparison = Comparison(parsed, read_recipe(base_recipe_path(parsed, arguments)))
    path = comparison.root / "comparison.json"
    with tempfile.TemporaryDirectory() as folder:
        # All models are built before any is trained, so that none is found to be wrong after hours.
        trainers = comparison.build(Path(folder))
        result = stored_result(path, comparison) if parsed.time_only else compare(comparison, trainers)
        set_seed(parsed.seeds[0])
        print(f"\ntime per step: {parsed.timing_turns} turns")
        result["timing"] = measure_times(trainers, parsed.reference, parsed.timing_turns)
    text = markdown(result)
    write_json(path, result)
    write_whole(path.with_suffix(".md"), lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))
    print(f"\n{text}\nWritten to {path} and {path.with_suffix('.md')}")
    return result


if __name__ == "__main__":
    main()

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What is compared: the models, the settings of each of their runs, and the grid of runs."""

import contextlib
import dataclasses
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperset_lab.arguments import ModelArguments, option
from hyperset_lab.comparison.runs import Run, arguments_of, finish, trainer_of
from hyperset_lab.models import model_of
from hyperset_lab.recipes import behind, is_recipe, parse_object
from hyperset_lab.tasks import NAMES, task_named
from hyperset_lab.trainer import ScriptTrainer


# A comparison sets these itself and ignores the base recipe's.
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
# What the choice of the learning rates may set otherwise: a smaller budget.
BUDGET = ("num_train_epochs", "max_steps", "max_train_samples")
PER_RUN = {"learning_rate", "seed", "output_dir", "hold_out_validation", "eval_num_iterations"}


@dataclass
class ComparisonArguments:
    """Which models to compare, and how."""

    base_recipe: str = field(
        metadata={"help": "Recipe of the training script that all models share; looked for beside the comparison's."}
    )
    models: str = field(
        metadata={
            "help": "The flags that differ between the models: a JSON object from names to flags of the model, as "
            '\'{"A": {}, "B": {"layer_type": "transformer"}}\'.'
        }
    )
    reference: str = field(metadata={"help": "The model whose time per step is 1."})
    learning_rates: list[float] = field(metadata={"help": "Learning rates to choose from, for every model."})
    seeds: list[int] = field(metadata={"help": "Seeds to train every model with."})
    output_dir: str = field(metadata={"help": "Folder of the runs and the table."})
    selection_seeds: list[int] = field(
        default_factory=list,
        metadata={
            "help": "Seeds to choose the learning rates with, instead of `seeds`: fewer trainings, but a rougher choice."
        },
    )
    selection_flags: str = option(
        "{}",
        f"A smaller budget to choose the learning rates with, as JSON: {', '.join(BUDGET)}. Cheaper, but a rougher choice.",
    )
    flags: str = option("{}", "Flags of the training script to set otherwise for all models, as JSON.")
    num_workers: int = option(1, "Trainings at a time, which share the processor's threads equally.")
    eval_every_epoch: bool = option(
        False,
        "Evaluate after every epoch of the trainings with the chosen rates, for curves of the score in training. (The rates "
        "are chosen before.)",
    )
    timing_turns: int = option(9, "Turns that the models take when steps are timed, a few steps in each.")
    time_only: bool = option(False, "Measure only the time per step of a finished comparison again.")
    task: str = option("images", f"What the models are trained for: {', '.join(NAMES)}.")

    def __post_init__(self):
        self.own_flags, self.shared_flags = own_flags_of(self.models), parse_object(self.flags, "flags")
        task_named(self.task, "task")
        if self.reference not in self.own_flags:
            raise ValueError(f"`reference` must be one of {', '.join(self.own_flags)}, got {self.reference!r}.")
        self.selection_budget = parse_object(self.selection_flags, "selection_flags")
        if other := self.selection_budget.keys() - set(BUDGET):
            raise ValueError(
                f"`selection_flags` may set {', '.join(BUDGET)} only, because all else is what the rates are chosen for; got "
                f"{', '.join(sorted(map(str, other)))}."
            )
        for name, value in self.selection_budget.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"`selection_flags` must give positive numbers, got {name}={value!r}.")
        self.selection_seeds = self.selection_seeds or self.seeds
        for name in ("learning_rates", "seeds", "selection_seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values) or min(values) < 0:
                raise ValueError(f"`{name}` must be one or more distinct numbers that are not negative, got {values}.")
        for name in ("num_workers", "timing_turns"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if taken := self.shared_flags.keys() & (DECIDED.keys() | PER_RUN):
            raise ValueError(f"`flags` sets what the comparison decides: {', '.join(sorted(taken))}.")


def own_flags_of(models: str) -> dict[str, dict[str, Any]]:
    """The flags of each model, from the JSON of `models`. A `ValueError` says that it is none, or has flags of other things."""
    own_flags = parse_object(models, "models")
    if not own_flags or not all(isinstance(own, dict) for own in own_flags.values()):
        raise ValueError(f"`models` must map at least one name to flags, got {models}.")
    known = {item.name for item in dataclasses.fields(ModelArguments)}
    for name, own in own_flags.items():
        if other := own.keys() - known:
            raise ValueError(
                f"The model {name!r} may set flags of the model only, because data and budget are the same for all; got "
                f"{', '.join(sorted(map(str, other)))}."
            )
    return own_flags


class Comparison:
    """The settings of every model and run of a comparison, whose `base` recipe all models share."""

    def __init__(self, arguments: ComparisonArguments, base: dict[str, Any]):
        self.arguments = arguments
        shared = behind({name: value for name, value in base.items() if name not in PER_RUN}, arguments.shared_flags)
        self.models = {name: behind(behind(shared, own), DECIDED) for name, own in arguments.own_flags.items()}
        self.task = task_named(arguments.task)
        self.root = Path(arguments.output_dir)
        self.configs: dict[str, dict[str, Any]] = {}

    def settings(self) -> dict[str, Any]:
        """What a finished comparison is recognised by."""
        names = ("task", "reference", "learning_rates", "seeds", "selection_seeds")
        own = {"models": self.models, "selection_flags": self.arguments.selection_budget}
        return own | {name: getattr(self.arguments, name) for name in names}

    def build(self, folder: Path) -> dict[str, ScriptTrainer]:
        """
        A trainer of every model that writes to `folder`, with the first seed and its part of the training data. A `ValueError`
        of the training script gets the name of the model.
        """
        trainers: dict[str, ScriptTrainer] = {}
        for index, (name, settings) in enumerate(self.models.items()):
            own = folder / str(index)
            own.mkdir()
            own_settings = {"seed": self.arguments.seeds[0], "hold_out_validation": True, "logging_strategy": "no"}
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    # A budget that cannot be is an error here. Memory and times are of the whole one.
                    arguments_of(
                        self.arguments.task, behind(settings | own_settings, self.arguments.selection_budget), own
                    )
                    trainers[name], _ = trainer_of(self.arguments.task, settings | own_settings, own)
                self.score = self.task.score(trainers[name])
            except ValueError as error:
                raise ValueError(f"The model {name!r} cannot be trained: {error}") from error
            self.configs[name] = model_of(trainers[name]).config.to_dict()
        return trainers

    def run(self, model: str, phase: str, learning_rate: float, seed: int) -> Run:
        """One training. Validation trains on a part of the training data and evaluates on the rest, drawn by the seed."""
        holds_out, config, task = phase == "validation", self.configs[model], self.arguments.task
        own = {"learning_rate": learning_rate, "seed": seed, "hold_out_validation": holds_out}
        settings = self.models[model] | own
        if holds_out:
            settings = behind(settings, self.arguments.selection_budget)
            settings["eval_num_iterations"] = [config["num_iterations"]]
        elif self.arguments.eval_every_epoch:
            settings["eval_strategy"] = "epoch"
        return Run(task, self.score, model, phase, learning_rate, seed, settings, config, self.root / "runs")

    def finish_grid(
        self, phase: str, rates: dict[str, list[float]], seeds: list[int]
    ) -> dict[str, dict[float, list[dict[str, Any]]]]:
        """The metrics of every model, for each of its `rates`, one for every seed; or why that run diverged."""
        cells = [(model, rate) for model, own in rates.items() for rate in own]
        runs = [self.run(model, phase, rate, seed) for model, rate in cells for seed in seeds]
        print(f"\n{phase}: {len(runs)} runs")
        metrics = finish(runs, self.arguments.num_workers)
        grid: dict[str, dict[float, list[dict[str, Any]]]] = {model: {} for model in rates}
        for index, (model, rate) in enumerate(cells):
            grid[model][rate] = metrics[index * len(seeds) : (index + 1) * len(seeds)]
        return grid


def base_recipe_path(base_recipe: str, arguments: list[str]) -> Path:
    """The base recipe, beside the comparison recipe that comes first of the command's `arguments`, if one does."""
    beside = Path(arguments[0]).parent if is_recipe(arguments[0]) else Path()
    path = beside / base_recipe
    if not path.is_file():
        raise ValueError(f"`base_recipe` must be a recipe, but {str(path)!r} is no file.")
    return path

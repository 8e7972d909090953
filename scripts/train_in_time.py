# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train several models for as many epochs as fit in a time, one after the other.

    python scripts/train_in_time.py scripts/recipes/in_time_cifar10.yaml
    python scripts/train_in_time.py scripts/recipes/in_time_cifar10.yaml --budget_minutes 4 --output_dir outputs/four \\
        --flags '{"dataset_name": "cifar10", "image_column_name": "img", "label_column_name": "label"}'

The pace of every model is measured first, for about a quarter of the time. All models then train the same number of epochs, the
most that fit, and their learning rates' schedules end there. A clock stops a training that would take longer. Then its
schedule has not ended, and the output says so. On a GPU the models are compiled and train in bfloat16.

`output_dir` has a folder for each model, with weights, metrics, card and `origin.json`, as `make_results.py` takes it, and
`in_time.json` and the curves for all. It is written after every model: what comes before a failure is kept.
"""

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperset_lab.arguments import option, parse_arguments
from hyperset_lab.comparison import in_time
from hyperset_lab.comparison.curves import Curve, curves_of, draw_curves
from hyperset_lab.comparison.plan import DECIDED, base_recipe_path, own_flags_of
from hyperset_lab.comparison.runs import name_of_folder
from hyperset_lab.comparison.table import aligned_table
from hyperset_lab.origin import began
from hyperset_lab.recipes import behind, parse_object, read_recipe
from hyperset_lab.run import leave_processes
from hyperset_lab.tasks import NAMES, task_named
from modeling_hyperset.files import write_json


IN_TIME = DECIDED | {
    "eval_strategy": "steps",
    "eval_steps": 1 / in_time.EVALUATIONS,
    "logging_strategy": "steps",
    "logging_steps": 1 / in_time.LOGGED,
}
PER_RUN = {"max_steps", "output_dir", "resume_from_checkpoint"}


@dataclass
class InTimeArguments:
    """Which models to train, and for how long."""

    base_recipe: str = field(
        metadata={"help": "Recipe of the training script that all models share; looked for beside this one's recipe."}
    )
    models: str = field(
        metadata={
            "help": "The flags that differ between the models, in the order of training: a JSON object from names to flags of "
            'the model, as \'{"A": {}, "B": {"layer_type": "transformer"}}\'.'
        }
    )
    output_dir: str = field(metadata={"help": "A new folder for the models and what was measured."})
    budget_minutes: float = option(8.0, "Time for all models together.")
    flags: str = option("{}", "Flags of the training script to set otherwise for all models, as JSON.")
    commit: str | None = option(None, "The commit of the code, where its folder is no checkout of git of its own.")
    task: str = option("images", f"What the models are trained for: {', '.join(NAMES)}.")

    def __post_init__(self):
        task_named(self.task, "task")
        self.own_flags, self.shared_flags = own_flags_of(self.models), parse_object(self.flags, "flags")
        if taken := self.shared_flags.keys() & (IN_TIME.keys() | PER_RUN):
            raise ValueError(f"`flags` sets what this command decides: {', '.join(sorted(taken))}.")
        if not 0 < self.budget_minutes < math.inf:
            raise ValueError(f"`budget_minutes` must be positive and finite, got {self.budget_minutes}.")
        folders = [name_of_folder(label) for label in self.own_flags]
        if "" in folders or len(set(folders)) < len(folders):
            raise ValueError(
                f"`models` must have names that differ in letters or digits, because folders are named so, got "
                f"{', '.join(self.own_flags)}."
            )
        if Path(self.output_dir).is_dir() and any(Path(self.output_dir).iterdir()):
            raise ValueError(f"`output_dir` must be a new or empty folder, but {self.output_dir!r} has files.")


def settings_of(parsed: InTimeArguments, base: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The training script's flags of every model."""
    base = {name: value for name, value in base.items() if name not in ("output_dir", "resume_from_checkpoint")}
    use_cpu = (base | parsed.shared_flags).get("use_cpu", False)
    shared = behind(behind(base, in_time.on_this_machine(use_cpu)), parsed.shared_flags)
    return {label: behind(behind(shared, own), IN_TIME) for label, own in parsed.own_flags.items()}


def save(root: Path, record: dict[str, Any], score: str) -> None:
    """Write `in_time.json` and the curves of the models so far."""
    write_json(root / "in_time.json", record)
    names = {"loss": "training loss", f"eval_{score}": score.replace("_", " ")}
    curves: dict[str, dict[str, list[Curve]]] = {}
    for label, row in record["models"].items():
        if "metrics" in row:
            for title, curve in curves_of(root / row["folder"], names).items():
                curves.setdefault(title, {})[label] = [curve]
    draw_curves(root, curves)


def table(record: dict[str, Any], score: str) -> str:
    """The models that were trained, as Markdown."""
    rows = []
    for label, row in record["models"].items():
        value = row["metrics"][f"eval_{score}"] if "metrics" in row else None
        steps = f"{row['steps']:,} of {record['steps']:,}"
        rows.append([label, steps, "diverged" if value is None else f"{value:.4f}", f"{row['seconds']:.0f}"])
    return aligned_table(["model", "steps", score.replace("_", " "), "seconds"], rows)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and train; print, write and return the record."""
    begin = time.monotonic()
    words = list(sys.argv[1:] if arguments is None else arguments)
    (parsed,) = parse_arguments((InTimeArguments,), words)
    seconds = 60 * parsed.budget_minutes
    start = began(parsed.command)
    if parsed.commit is not None:  # what git says may be of a checkout around this folder
        start |= {"commit": parsed.commit, "changed": None}
    models = settings_of(parsed, read_recipe(base_recipe_path(parsed.base_recipe, words)))
    root = Path(parsed.output_dir)
    root.mkdir(parents=True, exist_ok=True)

    paces: dict[str, in_time.Pace] = {}
    part = in_time.MEASURED_SHARE * seconds / len(models)
    for label, settings in models.items():
        measured = in_time.measured(parsed.task, settings, part, label)
        paces[label] = measured.pace
        print(f"{label}: {json.dumps(in_time.as_record(measured.pace))}", flush=True)
    left, of_epoch, score = seconds - (time.monotonic() - begin), measured.steps_per_epoch, measured.score
    steps = in_time.steps_that_fit(list(paces.values()), left, of_epoch, measured.steps_of_recipe)
    print(f"{steps:,} steps fit, {steps / of_epoch:.4g} epochs of {of_epoch:,}; {left:.0f} s are left.", flush=True)

    record: dict[str, Any] = start | {"budget_minutes": parsed.budget_minutes, "steps": steps}
    record |= {"steps_per_epoch": of_epoch, "steps_of_the_recipe": measured.steps_of_recipe, "models": {}}
    for index, (label, settings) in enumerate(models.items()):
        folder = name_of_folder(label)
        deadline = in_time.training_deadline(list(paces.values())[index:], steps, time.monotonic(), begin + seconds)
        found = in_time.train_in_time(
            parsed.task, settings | {"max_steps": steps}, root / folder, score, start, deadline
        )
        record["models"][label] = {"folder": folder} | in_time.as_record(paces[label]) | found
        if "metrics" in found and not found["schedule_ended"]:
            print(
                f"{label}: the time was over after {found['steps']:,} of {steps:,} steps, so its learning rate "
                "did not come to the end of its schedule.",
                flush=True,
            )
        save(root, record, score.name)
        print(f"\n{table(record, score.name)}\n", flush=True)
    record["seconds"] = time.monotonic() - begin
    write_json(root / "in_time.json", record)
    print(f"Written: {root}, in {record['seconds']:.0f} of {seconds:.0f} s")
    return record


if __name__ == "__main__":
    main()
    leave_processes()

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The runs of a comparison: trained by the training script's own functions, stored when finished, found again later."""

import concurrent.futures
import contextlib
import hashlib
import json
import multiprocessing
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from hyperset_lab.arguments import parse_arguments
from hyperset_lab.origin import VERSIONS, began, write_origin
from hyperset_lab.run import run as train_and_evaluate
from hyperset_lab.tasks import Score, task_named
from hyperset_lab.trainer import ScriptTrainer
from modeling_hyperset.files import write_json, write_text


RECORD = "run.json"


def name_of_folder(label: str) -> str:
    """The name of a model as a part of a folder's."""
    return re.sub(r"\W+", "-", label.lower()).strip("-")


@dataclass(frozen=True)
class Run:
    """One training: of a `model`, for a `phase` (`validation` or `test`), with a learning rate and a seed."""

    task: str
    score: Score
    model: str
    phase: str
    learning_rate: float
    seed: int
    settings: dict[str, Any]  # the training script's flags, all but `output_dir`
    config: dict[str, Any]  # the config that the settings come to
    root: Path

    @property
    def identity(self) -> dict[str, Any]:
        """All that the metrics depend on, without the contents of data and code."""
        identity: dict[str, Any] = {"task": self.task, "settings": self.settings, "config": self.config}
        identity["versions"] = VERSIONS
        if self.settings.get("extension"):
            identity["extension"] = Path(self.settings["extension"]).read_text(encoding="utf-8")
        return json.loads(json.dumps(identity))

    @property
    def folder(self) -> Path:
        """Where the run keeps its recipe, its model and its record."""
        key = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:12]
        return self.root / f"{name_of_folder(self.model)}-{self.phase}-lr{self.learning_rate:g}-seed{self.seed}-{key}"

    @property
    def label(self) -> str:
        return f"{self.model}, {self.phase}, learning rate {self.learning_rate:g}, seed {self.seed}"

    def stored_metrics(self) -> dict[str, Any] | None:
        """The metrics of this very run if it has finished, else `None`. A record that cannot be read is a `ValueError`."""
        path = self.folder / RECORD
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return record["metrics"] if record["identity"] == self.identity else None
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no record of a run ({error!r}): delete its folder to train it again."
            ) from error


def arguments_of(task: str, settings: dict[str, Any], folder: Path) -> tuple[Any, ...]:
    """The arguments of a run that writes to `folder`. Its recipe, which the training script takes too, is written there."""
    recipe = folder / "recipe.yaml"
    text = yaml.safe_dump(settings | {"output_dir": str(folder)}, sort_keys=False)
    write_text(recipe, text)
    kind = task_named(task)
    return parse_arguments(kind.arguments, [str(recipe)], kind.script)


def trainer_of(task: str, settings: dict[str, Any], folder: Path) -> tuple[ScriptTrainer, dict[str, Any]]:
    """The trainer of a run that writes to `folder`."""
    return task_named(task).build_trainer(*arguments_of(task, settings, folder))


def train(run: Run, num_threads: int | None = None) -> dict[str, Any]:
    """
    Train and evaluate a run on `num_threads` processor threads, and store its metrics. What it prints goes to `log.txt`. A run
    that diverges has the result `{"diverged": why}` instead of metrics.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    folder = run.folder
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            try:
                trainer, card = trainer_of(run.task, run.settings, folder)
                start = began(getattr(trainer.args, "command", None))
                metrics: dict[str, Any] = train_and_evaluate(trainer, card)
                write_origin(trainer, metrics, run.score, start, card.get("dataset"))
            except FloatingPointError as error:
                metrics = {"diverged": str(error)}
    write_json(folder / RECORD, {"identity": run.identity, "metrics": metrics})
    return metrics


def finish(runs: Sequence[Run], num_workers: int, report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """The metrics of all `runs`, in their order: stored ones as they are, the others trained, `num_workers` at a time."""
    metrics: list[Any] = [run.stored_metrics() for run in runs]
    missing = [index for index, stored in enumerate(metrics) if stored is None]
    if len(missing) < len(runs):
        report(f"{len(runs) - len(missing)} of {len(runs)} runs are stored already")

    def done(count: int, index: int, result: dict[str, Any]) -> None:
        metrics[index] = result
        outcome = "diverged"
        if "diverged" not in result:
            value, is_share = result[f"eval_{runs[index].score.name}"], runs[index].score.is_share
            outcome = f"{100 * value:.1f} %" if is_share else f"{value:.4g}"
        report(f"[{count}/{len(missing)}] {runs[index].label}: {outcome}")

    if num_workers == 1:
        for count, index in enumerate(missing, start=1):
            done(count, index, train(runs[index]))
        return metrics
    num_threads = max(1, torch.get_num_threads() // num_workers)
    # Not by fork: that would copy torch while its threads are at work.
    with concurrent.futures.ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(train, runs[index], num_threads): index for index in missing}
        try:
            for count, future in enumerate(concurrent.futures.as_completed(futures), start=1):
                done(count, futures[future], future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return metrics

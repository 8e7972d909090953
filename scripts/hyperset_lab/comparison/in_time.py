# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Trainings that end within a time: the pace of each model is measured, and the steps that fit are trained. The learning rate's
schedule ends with them.
"""

import contextlib
import gc
import math
import os
import tempfile
import time
from collections.abc import Sequence, Sized
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hyperset_lab.comparison.costs import StepTimer
from hyperset_lab.comparison.runs import trainer_of
from hyperset_lab.origin import write_origin
from hyperset_lab.run import evaluate_depths, run
from hyperset_lab.tasks import Score, task_named
from hyperset_lab.trainer import ScriptTrainer
from transformers import TrainerCallback


MEASURED_STEPS = 30
MEASURED_SHARE = 0.25  # of the budget, at most, for these steps of all models; the first step of each comes on top
USED_SHARE = 0.95  # of what is left then: times drift
# Of the time of the first step, in the second training. On a CPU it is nearly none, because torch keeps what it has compiled in
# a process; no GPU has shown it yet.
REPEATED_SHARE = 0.5
EVALUATIONS = 5  # in the course of a training, for the curve; one more where the steps are no multiple of it
LOGGED = 50  # losses in the course of a training
SECONDS_TO_SAVE = 10.0  # and to load the data again


@dataclass
class Pace:
    """What a model takes, in seconds."""

    first_step: float  # with the start of the workers and the compilation
    step: float  # with its part of the reading of data
    evaluation: float  # at the trained depth
    all_depths: float  # the evaluations after the training

    def around(self) -> float:
        """All but the steps after the first."""
        return (
            REPEATED_SHARE * self.first_step + (EVALUATIONS + 1) * self.evaluation + self.all_depths + SECONDS_TO_SAVE
        )


@dataclass
class Measured:
    """A model's pace, the steps of an epoch and of the whole recipe, and the measure that counts."""

    pace: Pace
    steps_per_epoch: int
    steps_of_recipe: int
    score: Score


class Clock(TrainerCallback):
    """
    Take the time of every step, and stop the training once the `deadline` (of `time.monotonic()`) has passed, or so many
    seconds `after_first`, the first step.
    """

    def __init__(self, deadline: float = math.inf, after_first: float = math.inf):
        self.deadline, self.after_first = deadline, after_first
        self.times: list[float] = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.times = [StepTimer.now(args)]

    def on_step_end(self, args, state, control, **kwargs):
        self.times.append(StepTimer.now(args))
        if time.monotonic() >= self.deadline or self.times[-1] - self.times[1] >= self.after_first:
            control.should_training_stop = True


def on_this_machine(use_cpu: bool) -> dict[str, Any]:
    """Flags that make training fast here: on a GPU bfloat16, compiled models, and a worker for each of almost all cores."""
    if use_cpu or not torch.cuda.is_available():
        return {}
    workers = {"dataloader_num_workers": max(1, (os.cpu_count() or 2) - 2), "dataloader_persistent_workers": True}
    # A last batch that is smaller would be compiled for anew.
    return {"bf16": True, "torch_compile": True, "dataloader_drop_last": True} | workers


def steps_per_epoch(trainer: ScriptTrainer) -> int:
    """
    Raises:
        `ValueError`: several processes, whose clocks may disagree, or data that are streamed, which have no epochs.
    """
    if trainer.args.world_size > 1:
        raise ValueError(
            f"A training in time takes one process, got {trainer.args.world_size}: leave `accelerate` out."
        )
    if not isinstance(trainer.train_dataset, Sized):
        raise ValueError("A training in time takes whole epochs, and streamed data have none: leave `streaming` out.")
    return math.ceil(len(trainer.get_train_dataloader()) / trainer.args.gradient_accumulation_steps)


def most_steps(trainer: ScriptTrainer) -> int:
    """The steps of the whole recipe."""
    if trainer.args.max_steps > 0:
        return trainer.args.max_steps
    return math.ceil(trainer.args.num_train_epochs * steps_per_epoch(trainer))


def pace_of(trainer: ScriptTrainer, seconds: float) -> Pace:
    """Train a few steps, for at most so many `seconds` after the first, evaluate at each depth, and say what it takes."""
    # Batches that workers have made while the first step was compiled would flatter the pace.
    skipped = 5 + (trainer.args.dataloader_prefetch_factor or 2) * trainer.args.dataloader_num_workers
    clock = Clock(after_first=seconds)
    trainer.add_callback(clock)
    trainer.args.max_steps = skipped + MEASURED_STEPS
    trainer.train()
    taken = clock.times
    if len(taken) < 4:
        raise ValueError(
            f"`--budget_minutes` is too little: {len(taken) - 1} steps took {taken[-1] - taken[0]:.0f} s. Give more, or take a "
            "smaller model."
        )
    skipped = min(skipped, (len(taken) - 1) // 2)
    start = time.monotonic()
    trainer.evaluate()
    once = time.monotonic()
    evaluate_depths(trainer)
    return Pace(
        first_step=taken[1] - taken[0],
        step=(taken[-1] - taken[skipped]) / (len(taken) - 1 - skipped),
        evaluation=once - start,
        all_depths=time.monotonic() - once,
    )


def measure(task: str, settings: dict[str, Any], seconds: float) -> Measured:
    """What [`pace_of`] measures of a model in so many `seconds`, and what its data and its recipe say."""
    with tempfile.TemporaryDirectory() as folder, quiet(Path(folder) / "log.txt"):
        own = {"logging_strategy": "no", "eval_strategy": "no"}
        trainer, _ = trainer_of(task, {**settings, **own}, Path(folder))
        of_epoch, most = steps_per_epoch(trainer), most_steps(trainer)
        try:
            return Measured(pace_of(trainer, seconds), of_epoch, most, task_named(task).score(trainer))
        finally:
            del trainer
            free()


def measured(task: str, settings: dict[str, Any], seconds: float, label: str) -> Measured:
    """[`measure`]; a model that cannot be compiled here is trained without, and the `settings` say so."""
    try:
        return measure(task, settings, seconds)
    except ValueError:  # of a flag or of the budget: another try would say the same
        raise
    except Exception as error:  # of torch.compile and what it calls
        if not settings.get("torch_compile"):
            raise
        print(f"{label} is not compiled, because that failed: {error}", flush=True)
    settings["torch_compile"] = False
    for name in ("backend", "mode"):  # each would switch it on again
        settings.pop(f"torch_compile_{name}", None)
    torch.compiler.reset()
    return measure(task, settings, seconds)


def steps_that_fit(paces: Sequence[Pace], seconds: float, of_epoch: int, most: int) -> int:
    """
    Steps that every model can make in `seconds` together: whole epochs, or part of the first, at most those of the recipe.

    Raises:
        `ValueError`: not one step fits.
    """
    left = USED_SHARE * seconds - sum(pace.around() for pace in paces)
    fit = int(left / sum(pace.step for pace in paces))
    if fit < 1:
        raise ValueError(
            f"`--budget_minutes` is too little: {seconds:.0f} s are left after measuring, and start, evaluations and saving "
            f"alone take {sum(pace.around() for pace in paces):.0f} s."
        )
    if fit >= most:
        return most
    return fit - fit % of_epoch if fit >= of_epoch else fit


def training_deadline(paces: Sequence[Pace], steps: int, now: float, end: float) -> float:
    """
    When the training of the first of the models must stop, so that its last evaluations and all models after it are done by
    `end`. Each gets its share of the time that is left over.
    """
    wanted = [pace.around() + steps * pace.step for pace in paces]
    share = (end - now) * wanted[0] / sum(wanted)
    return now + share - paces[0].all_depths - SECONDS_TO_SAVE


def train_in_time(
    task: str, settings: dict[str, Any], folder: Path, score: Score, start: dict[str, Any], deadline: float
) -> dict[str, Any]:
    """
    Train and evaluate as the `settings` say, and stop once the `deadline` has passed. What is printed goes to `log.txt`, and
    `origin.json` says where the result comes from (`start`, as [`origin.began`] gives it) and whether the schedule ended.

    Returns:
        `metrics` of the evaluation, or why the run `diverged`; the `steps` made, the seconds, and whether `schedule_ended`.
    """
    begin = time.monotonic()
    folder.mkdir(parents=True)
    found: dict[str, Any] = {}
    with quiet(folder / "log.txt"):
        trainer, card = trainer_of(task, settings, folder)
        trainer.add_callback(Clock(deadline))
        try:
            found["metrics"] = run(trainer, card)
        except FloatingPointError as error:
            found["diverged"] = str(error)
        steps = trainer.state.global_step
        ends = {"steps": steps, "schedule_ended": steps == settings["max_steps"]}
        if "metrics" in found:
            write_origin(trainer, found["metrics"], score, start | ends, card.get("dataset"))
        del trainer
        free()
    return found | ends | {"seconds": time.monotonic() - begin}


def as_record(pace: Pace) -> dict[str, float]:
    return {f"seconds_of_{name}": value for name, value in asdict(pace).items()}


@contextlib.contextmanager
def quiet(log: Path):
    """Within it, what is printed goes to the file `log`."""
    with open(log, "w", encoding="utf-8") as file:
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield


def free() -> None:
    """Give the memory of models that are gone back to the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

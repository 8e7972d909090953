# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the training scripts do with a Trainer: train or resume, evaluate at several depths, save, write the card, push."""

import contextlib
import gc
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints
from transformers.utils import SAFE_WEIGHTS_NAME

from hyperset_lab.card import write_card
from hyperset_lab.checkpoints import (
    STATE,
    UNFINISHED,
    all_checkpoints,
    clean_up,
    defects,
    is_sharded,
    last_whole_checkpoint,
    publish,
    publish_model,
    writing,
)
from hyperset_lab.hub import check_login, pushing
from modeling_hyperset.analysis.callback import EnergyCallback
from modeling_hyperset.files import write_json, write_whole
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments


logger = logging.getLogger(__name__)


@dataclass
class ScriptTrainingArguments(TrainingArguments):
    """`TrainingArguments`, the depths to evaluate at, and Adam, whose weight decay is part of the gradient."""

    optim: str = field(
        default=TrainingArguments.optim,
        metadata={"help": "The optimizer: `adam` (torch's Adam), or one of transformers' `OptimizerNames`."},
    )
    eval_num_iterations: list[int] | None = field(
        default=None,
        metadata={
            "help": "Numbers of iterations to evaluate the trained model at; the trained number and twice as many if not given."
        },
    )

    log_energies: bool = field(
        default=False,
        metadata={
            "help": "Log the energies of the first batch to evaluate on at every evaluation (`EnergyCallback`)."
        },
    )

    def __getstate__(self) -> dict[str, Any]:
        """What goes into `training_args.bin`, which is pushed: not the token."""
        return self.__dict__ | {"hub_token": None}

    def __post_init__(self):
        adam = self.optim == "adam"
        if adam:
            self.optim = "adamw_torch"  # a name that is known there
        super().__post_init__()
        if adam:
            self.optim = "adam"
        if self.eval_num_iterations is not None and min(self.eval_num_iterations, default=0) < 1:
            raise ValueError(
                f"`--eval_num_iterations` must be one or more positive numbers, got {self.eval_num_iterations}."
            )
        if self.push_to_hub and self.process_index == 0:
            check_login(self.hub_token)


class EpochSetter(TrainerCallback):
    """Tell the training data the epoch before it is read: accelerate does not where several processes shuffle."""

    def __init__(self, data):
        self.data = data

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.data.set_epoch(int(state.epoch))


class StepRecord(TrainerCallback, ExportableState):
    """Keep in a checkpoint's state what its steps were: a run of other steps would continue at another place in the data."""

    def __init__(self, samples_per_step: int, num_processes: int):
        self.samples_per_step, self.num_processes = samples_per_step, num_processes

    def state(self) -> dict[str, dict[str, int]]:
        return {"args": vars(self).copy(), "attributes": {}}


class ScriptTrainer(Trainer):
    """
    `Trainer` whose checkpoints, models and metrics are whole or absent, whatever stops it: they are written in a folder beside
    their place and renamed. The next run removes what a killed one left. A full disk is an `OSError` that names what could not
    be written, and leaves the last checkpoint.

    A resumed run computes what an unbroken one does if nothing random happens while data are read but as a function of the
    epoch: the state of the random numbers is restored only after the first batches. A `train_dataset` that has `set_epoch` is
    told the epoch.

    Nothing is trained on NaN: a loss or gradient that is not finite is a `FloatingPointError` that names the step, before the
    weights are changed. Trainer by itself logs the mean of the steps before in the place of such a loss, and goes on.
    """

    staged: str | None = None  # the folder of the checkpoint that is being written

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if os.environ.get("ACCELERATE_USE_FSDP") == "true" and not self.is_fsdp_enabled:
            raise ValueError("accelerate does not shard models on CPUs: use another of its config files, or GPUs.")
        if hasattr(self.train_dataset, "set_epoch"):
            self.add_callback(EpochSetter(self.train_dataset))
        samples = self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps
        self.steps = StepRecord(samples, self.args.world_size)
        self.add_callback(self.steps)
        self.args.logging_nan_inf_filter = False  # `training_step` looks instead, as often and as cheaply

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: TrainingArguments, model: PreTrainedModel | None = None):
        if args.optim == "adam":
            betas = (args.adam_beta1, args.adam_beta2)
            return torch.optim.Adam, {"lr": args.learning_rate, "betas": betas, "eps": args.adam_epsilon}
        return Trainer.get_optimizer_cls_and_kwargs(args, model)

    def train(self, *args, **kwargs):
        self.on_each_disk(self.args.output_dir, lambda: clean_up(self.args.output_dir))
        return super().train(*args, **kwargs)

    def training_step(self, *args, **kwargs) -> torch.Tensor:
        try:
            loss = super().training_step(*args, **kwargs)
        except ValueError as error:  # what the model says of its inputs
            raise ValueError(f"In step {self.state.global_step + 1}: {error}") from error
        self.check_finite("loss", loss)
        return loss

    def _get_grad_norm(self, *args, **kwargs) -> torch.Tensor | float:
        norm = super()._get_grad_norm(*args, **kwargs)
        if getattr(self.accelerator, "scaler", None) is None:  # which skips a step whose gradient overflows in float16
            self.check_finite("gradient", norm)
        return norm

    def check_finite(self, name: str, value: torch.Tensor | float) -> None:
        """
        Raises:
            `FloatingPointError`: `value`, the loss or the norm of the gradient, is NaN or infinite.
        """
        if math.isfinite(value):
            return
        message = (
            f"The {name} of step {self.state.global_step + 1} is {float(value)}; nothing was changed or saved since."
        )
        if kept := last_whole_checkpoint(self.args.output_dir, self.args.save_only_model):
            message += (
                f" {kept} is whole: `--resume_from_checkpoint true` continues from it, with other flags or data."
            )
        raise FloatingPointError(message)

    def on_each_disk(self, folder: str, work: Callable[[], None]) -> None:
        """Have one process do `work` wherever there is a `folder`: machines may share their disk or not."""
        for mine in (self.args.should_save, self.args.local_process_index == 0):
            if mine and os.path.isdir(folder):
                work()
            self.accelerator.wait_for_everyone()

    def _get_output_dir(self, trial) -> str:
        return self.staged or super()._get_output_dir(trial)

    def _save_checkpoint(self, model, trial) -> None:
        folder = self._get_output_dir(trial)
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        checkpoint, staged = os.path.join(folder, name), os.path.join(folder, UNFINISHED, name)
        self.staged = os.path.dirname(staged)
        try:
            with writing(checkpoint, self.staged):
                super()._save_checkpoint(model, trial)
                if self.state.best_model_checkpoint == staged:
                    self.state.best_model_checkpoint = checkpoint
                    if self.args.should_save:
                        self.state.save_to_json(os.path.join(staged, STATE))
                self.accelerator.wait_for_everyone()
                self.on_each_disk(staged, lambda: publish(staged, checkpoint))
        finally:
            self.staged = None
        if self.args.push_to_hub:
            self.push_checkpoint(checkpoint)
        if self.args.should_save:
            rotate_checkpoints(folder, self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=True)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """`_save_checkpoint` pushes what it has renamed, by [`push_checkpoint`]: the upload goes on while training does."""

    def push_checkpoint(self, checkpoint: str) -> None:
        """Push the model of a checkpoint, and the code that its config names, which Trainer leaves for the last push."""
        if self.is_world_process_zero():
            for path in Path(checkpoint).glob("*.py"):
                shutil.copy(path, self.args.output_dir)
        super()._push_from_checkpoint(checkpoint)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        output_dir = self.args.output_dir if output_dir is None else output_dir
        if self.staged is not None or not self.args.should_save:
            super()._save(output_dir, state_dict)
            return
        staged = os.path.join(output_dir, UNFINISHED, "model")
        with writing(os.path.join(output_dir, SAFE_WEIGHTS_NAME), os.path.dirname(staged)):
            super()._save(staged, state_dict)
            publish_model(staged, output_dir)

    def save_state(self) -> None:
        if self.is_world_process_zero():
            write_whole(os.path.join(self.args.output_dir, STATE), self.state.save_to_json)

    def save_metrics(self, split: str, metrics: dict[str, float], combined: bool = True) -> None:
        if not self.is_world_process_zero():
            return
        names = {f"{split}_results.json": {}}
        if combined:
            path = os.path.join(self.args.output_dir, "all_results.json")
            names["all_results.json"] = {}
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    names["all_results.json"] = json.load(file)
        for name, others in names.items():
            write_json(os.path.join(self.args.output_dir, name), dict(sorted((others | metrics).items())))


def check_splits(arguments: TrainingArguments, splits: Collection[str], predicts: bool = False) -> None:
    """
    Raises:
        `ValueError`: neither training nor evaluation is asked for, the data lack the split (`train`, `eval`) for it, or
            predictions are asked for of a script that does not predict (`predicts`).
    """
    if arguments.do_predict and not predicts:
        raise ValueError("`--do_predict` is for texts: this script trains and evaluates.")
    if not (arguments.do_train or arguments.do_eval):
        raise ValueError("Nothing to do: pass `--do_train`, `--do_eval`, or both.")
    if arguments.do_train and "train" not in splits:
        raise ValueError("The data set has no split to train on.")
    if arguments.do_eval and "eval" not in splits:
        raise ValueError("The data set has no split to evaluate on.")


@contextlib.contextmanager
def depth(model: PreTrainedModel, num_iterations: int):
    """Within it, `model` runs each layer `num_iterations` times."""
    trained, model.config.num_iterations = model.config.num_iterations, num_iterations
    try:
        yield
    finally:
        model.config.num_iterations = trained


def run(trainer: Trainer, card: dict[str, Any]) -> dict[str, float]:
    """
    Train (or resume) and evaluate as the trainer's arguments say; save the model, its processor and the metrics in
    `output_dir` with a model card that says `card` (the keywords of [`model_card.write_card`]), and push them if asked to.

    Returns:
        The metrics of the evaluation: at the trained number of iterations by the names Trainer gives them, such as
        `eval_accuracy`, at any other with its number, such as `eval_16_iterations_accuracy`.
    """
    arguments, model = trainer.args, trainer.model
    check_flags(arguments)
    check_depths(arguments, model)
    if trainer.is_fsdp_enabled and not arguments.do_train:
        raise ValueError(
            "accelerate shards a model together with its optimizer: without `--do_train`, evaluate with another of its config "
            "files, such as ddp.yaml."
        )
    if arguments.log_energies:
        try:
            trainer.add_callback(EnergyCallback(trainer))
        except ValueError as error:
            raise ValueError(f"`--log_energies` cannot be done here: {error}") from error
    if arguments.do_train:
        checkpoint = checkpoint_to_resume(arguments)
        if checkpoint is not None:
            check_continues(trainer, checkpoint)
        metrics = trainer.train(resume_from_checkpoint=checkpoint).metrics
        if trainer.is_fsdp_enabled:
            # The model is saved whole; checkpoints are in shards.
            trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        trainer.save_model(_internal_call=True)  # which does not push: that comes once, at the end, with the card
        trainer.save_state()
        trainer.log_metrics("train", metrics)
        trainer.save_metrics("train", metrics)
    metrics = {}
    if arguments.do_eval:
        metrics = evaluate_depths(trainer)
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)
    # Whatever pushes writes this card, instead of Trainer's own.
    trainer.create_model_card = lambda **_: write_card(trainer, metrics, **card)
    if arguments.push_to_hub:
        with pushing(arguments.output_dir, trainer.hub_model_id):
            trainer.push_to_hub()
    elif arguments.do_train or not os.path.exists(os.path.join(arguments.output_dir, SAFE_WEIGHTS_NAME)):
        trainer.create_model_card()  # an evaluation beside a model leaves the card that says how it was trained
    return metrics


NOT_RESUMED = (None, False, "False", "false")  # values of `--resume_from_checkpoint`


def check_flags(arguments: ScriptTrainingArguments) -> None:
    """
    Raises:
        `ValueError`: a flag that what is to be done does not read.
    """
    if arguments.resume_from_checkpoint not in NOT_RESUMED and not arguments.do_train:
        raise ValueError(
            "`--resume_from_checkpoint` goes with `--do_train`; to evaluate a checkpoint, name it with "
            f"`--model_name_or_path`, got {arguments.resume_from_checkpoint!r} without it."
        )
    if arguments.log_energies and not arguments.do_eval:
        raise ValueError("`--log_energies` logs at every evaluation and goes with `--do_eval`, got it alone.")


def checkpoint_to_resume(arguments: TrainingArguments) -> str | None:
    """
    The checkpoint that `--resume_from_checkpoint` names, the last whole one of `output_dir` if it is `True`.

    Raises:
        `ValueError`: there is none, the one named is not whole, or a run that does not resume would mix its checkpoints with
        those of an earlier one.
    """
    checkpoint, folder = arguments.resume_from_checkpoint, arguments.output_dir
    if checkpoint in NOT_RESUMED:
        if found := all_checkpoints(folder):
            raise ValueError(
                f"`--output_dir` {folder!r} holds {found[-1].name} of an earlier run. Continue that run with "
                "`--resume_from_checkpoint true`, or give this one another folder."
            )
        return None
    if checkpoint in ("True", "true", True):
        checkpoint = last_whole_checkpoint(folder, arguments.save_only_model)
        if checkpoint is None:
            raise ValueError(f"`--resume_from_checkpoint` finds no whole checkpoint in {folder!r}.")
    elif found := defects(checkpoint, arguments.save_only_model):
        raise ValueError(f"`--resume_from_checkpoint` cannot continue from {checkpoint!r}: {', '.join(found)}.")
    return checkpoint


def check_continues(trainer: ScriptTrainer, checkpoint: str) -> None:
    """
    See that `trainer` takes the steps that the run of `checkpoint` took. A warning says so where the number of processes is
    another: each has random numbers of its own.

    Raises:
        `ValueError`: a step takes another number of samples than it did, or one of the two runs is in shards.
    """
    refusal = f"`--resume_from_checkpoint` cannot continue from {checkpoint!r}"
    if is_sharded(checkpoint) != trainer.is_fsdp_enabled:
        saved, now = ("in shards (FSDP)", "not") if is_sharded(checkpoint) else ("whole", "in shards (FSDP)")
        raise ValueError(
            f"{refusal}: it was saved {saved}, and this run is {now}. Use the config of accelerate that saved it."
        )
    state = json.loads((Path(checkpoint) / STATE).read_text(encoding="utf-8"))
    before = state["stateful_callbacks"].get(StepRecord.__name__, trainer.steps.state())["args"]
    samples, processes = trainer.steps.samples_per_step, trainer.steps.num_processes
    if before["samples_per_step"] != samples and not trainer.args.ignore_data_skip:
        raise ValueError(
            f"{refusal}: its steps were of {before['samples_per_step']} samples on {before['num_processes']} process(es), "
            f"those of this run would be of {samples} on {processes}, and go on elsewhere in the data. Keep the product of "
            "`--per_device_train_batch_size`, processes and `--gradient_accumulation_steps`, or pass `--ignore_data_skip` to "
            "begin the epoch anew."
        )
    if before["num_processes"] != processes:
        logger.warning(
            "Continuing from %s on %d process(es), which %d saved: what is random in training differs from an unbroken run.",
            checkpoint, processes, before["num_processes"],
        )  # fmt: skip


def check_depths(arguments: ScriptTrainingArguments, model: PreTrainedModel) -> None:
    """
    Raises:
        `ValueError`: `--eval_num_iterations` without an evaluation, of a model that does not iterate, or above the iterations
        that have depth-wise LoRA weights.
    """
    depths, trained = arguments.eval_num_iterations, getattr(model.config, "num_iterations", None)
    if depths is None:
        return
    if not arguments.do_eval:
        raise ValueError(f"`--eval_num_iterations` goes with `--do_eval`, got {depths} without it.")
    if trained is None:
        raise ValueError(f"`--eval_num_iterations` is for models that iterate, {model.config.model_type!r} does not.")
    if model.config.lora_rank and max(depths) > trained:
        raise ValueError(
            f"`--eval_num_iterations` must not exceed the {trained} iterations that have depth-wise LoRA weights, got "
            f"{depths}."
        )


def evaluate_depths(trainer: Trainer) -> dict[str, float]:
    """Evaluate at the trained number of iterations and at all that `--eval_num_iterations` asks for."""
    model, metrics = trainer.model, {}
    trained = getattr(model.config, "num_iterations", None)
    if trained is None:
        return trainer.evaluate()
    wanted = trainer.args.eval_num_iterations
    if wanted is None:
        # Depth-wise LoRA has weights for the trained iterations alone.
        wanted = [trained] if model.config.lora_rank else [trained, 2 * trained]
    for num_iterations in dict.fromkeys([trained, *wanted]):
        prefix = "eval" if num_iterations == trained else f"eval_{num_iterations}_iterations"
        with depth(model, num_iterations):
            metrics |= trainer.evaluate(metric_key_prefix=prefix)
    return metrics


def leave_processes() -> None:
    """
    Leave the group of processes, if this is one of several. Scripts do so last: a thread of gloo that lets go of a tensor while
    the interpreter is ending kills the process ("terminate called without an active exception"), after all is written. Not
    after an error, when others may wait for this process, which had better be gone.
    """
    if torch.distributed.is_initialized():
        # The model's DDP lies in a cycle of references, and keeps the threads. They end with the last reference to the group,
        # which is torch's own then and does not hold the interpreter while it waits for them.
        gc.collect()
        torch.distributed.destroy_process_group()

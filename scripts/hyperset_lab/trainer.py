# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The Trainer of the training scripts, by the public methods and callbacks of transformers' Trainer."""

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate.utils import DynamoBackend
from torch import nn
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy
from transformers.utils import SAFE_WEIGHTS_NAME

from hyperset_lab import checkpoints
from hyperset_lab.arguments import option
from hyperset_lab.hub import check_login
from hyperset_lab.models import check_trained
from modeling_hyperset.baselines_hyperset import EnergyLayerNorm
from modeling_hyperset.cem_hyperset import Preconditioner
from modeling_hyperset.embeddings_hyperset import HyperSETEmbeddings
from modeling_hyperset.files import write_json, write_whole
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments


MOST_GRAPHS = 256  # of compiled layers in a process; torch's own limit is 8

# What the scripts use of Trainer that transformers does not promise. `tests/lab/test_trainer.py` says what changed of it.
PRIVATE = (("save_model", "_internal_call", "tells a save of Trainer's own, after which nothing is pushed"),)

# Modules whose own parameters scale tokens or are added to them: gains, the class and mask tokens, learned positions, CEM's P.
NOT_DECAYED = (nn.LayerNorm, nn.RMSNorm, EnergyLayerNorm, HyperSETEmbeddings, Preconditioner)


@dataclass
class ScriptTrainingArguments(TrainingArguments):
    """`TrainingArguments`, the depths to evaluate at, and Adam with weight decay as a part of the gradient."""

    if TYPE_CHECKING:
        output_dir: str = ""  # `TrainingArguments` sets it where it is not given

    optim: str = option(
        TrainingArguments.optim, "The optimizer: `adam` (torch's Adam), or one of transformers' `OptimizerNames`."
    )
    eval_num_iterations: list[int] | None = option(  # noqa: RUF009
        None,
        "Numbers of iterations to evaluate the trained model at; half the trained number, itself and twice if not given.",
    )

    log_energies: bool = option(
        False, "Log the energies of the first batch to evaluate on at every evaluation (`EnergyCallback`)."
    )

    decay_all: bool = option(
        False,
        "Weight decay for every parameter, as in the paper's program. By default there is none for gains, biases, the "
        "class and mask tokens, and learned positions.",
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
    """Tell the training data the epoch before it is read. With several processes that shuffle, accelerate does not."""

    def __init__(self, data):
        self.data = data

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.data.set_epoch(int(state.epoch))


class StepRecord(TrainerCallback, ExportableState):
    """Keep the size of the steps in a checkpoint: a run with other steps would continue at another place in the data."""

    def __init__(self, samples_per_step: int, num_processes: int):
        self.samples_per_step, self.num_processes = samples_per_step, num_processes

    def state(self) -> dict[str, dict[str, int]]:
        return {"args": vars(self).copy(), "attributes": {}}


class Hooks(TrainerCallback):
    """Trainer has no public methods for these moments: before a step of the optimizer, and around a checkpoint's end."""

    def __init__(self, trainer: "ScriptTrainer"):
        self.trainer = trainer

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.trainer.check_gradient()

    def on_push_begin(self, args, state, control, **kwargs):
        self.trainer.finish_checkpoint()  # before it is uploaded, on the process that uploads

    def on_save(self, args, state, control, **kwargs):
        self.trainer.finish_checkpoint()
        self.trainer.remove_old_checkpoints()


class ScriptTrainer(Trainer):
    """
    `Trainer` whose checkpoints, models and metrics are whole or absent, even if it is stopped. A checkpoint is whole once it
    has its manifest, which is written last. Models and metrics are written beside their place and renamed. The next run removes
    what a killed one left. A full disk is an `OSError` that names what could not be written, and leaves the last checkpoint.

    A resumed run computes what an unbroken one does if all that is random in reading the data depends on the epoch alone: the
    state of the random numbers is restored only after the first batches. A `train_dataset` with `set_epoch` is told the epoch.

    A loss or gradient that is not finite is a `FloatingPointError`. It names the step, and comes before the weights change.
    Trainer by itself would go on, and log the mean of the earlier steps instead of such a loss.
    """

    args: ScriptTrainingArguments
    unfinished: str | None = None  # the checkpoint that is being written
    written: str | None = None  # the last one that is whole
    weights_name = SAFE_WEIGHTS_NAME

    def __init__(self, model: PreTrainedModel | nn.Module, args: ScriptTrainingArguments, **options):
        if not args.do_train:
            check_trained(model)
        super().__init__(model, args, **options)
        if os.environ.get("ACCELERATE_USE_FSDP") == "true" and not self.is_fsdp_enabled:
            raise ValueError("accelerate does not shard models on CPUs: use another of its config files, or GPUs.")
        if hasattr(self.train_dataset, "set_epoch"):
            self.add_callback(EpochSetter(self.train_dataset))
        self.compile_blocks(model)
        samples = self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps
        self.steps = StepRecord(samples, self.args.world_size)
        self.add_callback(self.steps)
        self.add_callback(Hooks(self))  # after those that may add files to a checkpoint
        self.save_total_limit = self.args.save_total_limit
        self.args.eval_do_concat_batches = True  # every measure is of all samples at once
        self.args.logging_nan_inf_filter = False  # `training_step` checks instead, at the same cost

    def compile_blocks(self, model: PreTrainedModel | nn.Module) -> None:
        """With `--torch_compile`, compile the layers of a model that can do it, in place of the whole model."""
        plugin = self.accelerator.state.dynamo_plugin
        if plugin.backend != DynamoBackend.NO and hasattr(model, "compile_repeated_blocks"):
            # Layers share code, so their graphs share a limit: without room, torch would run the later ones uncompiled.
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST_GRAPHS)
            cast(Any, model).compile_repeated_blocks(**plugin.to_kwargs())
            plugin.backend = DynamoBackend.NO  # accelerate would compile the whole model

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: TrainingArguments, model: PreTrainedModel | None = None):
        if args.optim == "adam":
            betas = (args.adam_beta1, args.adam_beta2)
            return torch.optim.Adam, {"lr": args.learning_rate, "betas": betas, "eps": args.adam_epsilon}
        return Trainer.get_optimizer_cls_and_kwargs(args, model)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Matrices have weight decay, except those of the modules [`NOT_DECAYED`]. Names do not count."""
        return [
            f"{prefix}.{name}" if prefix else name
            for prefix, module in model.named_modules()
            for name, parameter in module.named_parameters(recurse=False)
            if self.args.decay_all or (parameter.ndim > 1 and not isinstance(module, NOT_DECAYED))
        ]

    def get_eval_dataloader(self, eval_dataset=None):
        """All samples, also with `--dataloader_drop_last`: that is for training, and Trainer would leave some out here too."""
        dropped, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = dropped

    def train(self, *args, **kwargs):
        self.on_each_disk(lambda: checkpoints.clean_up(self.args.output_dir))
        try:
            return super().train(*args, **kwargs)
        except BaseException as error:
            if self.unfinished is not None:
                shutil.rmtree(self.unfinished, ignore_errors=True)
                checkpoints.unmark(self.unfinished)
                checkpoints.name_target(self.unfinished, error)
            raise
        finally:
            self.unfinished, self.args.save_total_limit = None, self.save_total_limit

    def training_step(self, *args, **kwargs) -> torch.Tensor:
        try:
            loss = super().training_step(*args, **kwargs)
        except ValueError as error:  # what the model says of its inputs
            raise ValueError(f"In step {self.state.global_step + 1}: {error}") from error
        self.check_finite("loss", loss)
        return loss

    def check_gradient(self) -> None:
        """Raise a `FloatingPointError` for a gradient that is NaN or infinite. Clipping, which comes before, keeps it so."""
        if getattr(self.accelerator, "scaler", None) is not None:
            return  # it skips a step whose gradient overflows in float16
        gradients = [parameter.grad for parameter in self.model_wrapped.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        self.check_finite("gradient", norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def check_finite(self, name: str, value: torch.Tensor | float) -> None:
        """Raise a `FloatingPointError` for a `value`, the loss or the norm of the gradient, that is NaN or infinite."""
        if math.isfinite(value):
            return
        message = (
            f"The {name} of step {self.state.global_step + 1} is {float(value)}; nothing was changed or saved since."
        )
        if kept := checkpoints.last_whole_checkpoint(self.args.output_dir, self.args.save_only_model):
            message += (
                f" {kept} is whole: `--resume_from_checkpoint true` continues from it, with other flags or data."
            )
        raise FloatingPointError(message)

    def on_each_disk(self, work: Callable[[], None]) -> None:
        """Have one process do `work` for every disk. If machines share a disk, it is done twice."""
        for mine in (self.args.should_save, self.args.local_process_index == 0):
            if mine:
                work()
            self.accelerator.wait_for_everyone()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        folder = self.args.output_dir if output_dir is None else output_dir
        if self.is_in_train and os.path.basename(folder) == f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}":
            self.begin_checkpoint(folder)
            return
        staged = os.path.join(folder, checkpoints.UNFINISHED, "model")
        with checkpoints.writing(os.path.join(folder, self.weights_name), os.path.dirname(staged)):
            self.write_model(staged)
            if self.args.should_save and os.path.isdir(staged):
                checkpoints.publish_model(staged, folder)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def write_model(self, folder: str) -> None:
        """Write the model, as it is saved at the end, in `folder`."""
        super().save_model(folder, _internal_call=True)

    def begin_checkpoint(self, folder: str) -> None:
        """Write the model, the first file of a checkpoint. Trainer writes the others, and then calls back."""
        self.unfinished = folder
        self.on_each_disk(lambda: checkpoints.begin(folder))
        super().save_model(folder, _internal_call=True)
        # Trainer would remove old checkpoints before this one is whole.
        self.args.save_total_limit = None
        pushes = self.args.push_to_hub and self.args.hub_strategy != HubStrategy.END
        if pushes and self.is_world_process_zero():
            # The config names this code, and Trainer would leave it for the last push.
            for path in Path(folder).glob("*.py"):
                shutil.copy(path, self.args.output_dir)

    def finish_checkpoint(self) -> None:
        """Make the checkpoint that is being written whole, once every process has written its files."""
        if (folder := self.unfinished) is not None:
            self.accelerator.wait_for_everyone()
            self.on_each_disk(lambda: checkpoints.finish(folder))
            self.written, self.unfinished = folder, None

    def remove_old_checkpoints(self) -> None:
        """Keep to `save_total_limit`. The last checkpoint and the best one stay."""
        self.args.save_total_limit = self.save_total_limit
        if self.args.should_save and self.written is not None:
            kept = {self.written, self.state.best_model_checkpoint}
            checkpoints.rotate(os.path.dirname(self.written), self.save_total_limit, kept)

    def card_section(self) -> str:
        """A section of the model card about what a task alone has."""
        return ""

    def save_state(self) -> None:
        if self.is_world_process_zero():
            write_whole(os.path.join(self.args.output_dir, checkpoints.STATE), self.state.save_to_json)

    def save_metrics(self, split: str, metrics: dict[str, float], combined: bool = True) -> None:
        if not self.is_world_process_zero():
            return
        names: dict[str, dict[str, float]] = {f"{split}_results.json": {}}
        if combined:
            path = os.path.join(self.args.output_dir, "all_results.json")
            names["all_results.json"] = {}
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    names["all_results.json"] = json.load(file)
        for name, others in names.items():
            write_json(os.path.join(self.args.output_dir, name), dict(sorted((others | metrics).items())))

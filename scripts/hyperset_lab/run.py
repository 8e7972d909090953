# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""A training script's run of its trainer: train or resume, evaluate at several depths, save, write the card, push."""

import contextlib
import gc
import json
import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from transformers.utils import SAFE_WEIGHTS_NAME

from hyperset_lab.card import write_card
from hyperset_lab.checkpoints import STATE, all_checkpoints, defects, is_leftover, is_sharded, last_whole_checkpoint
from hyperset_lab.hub import pushing
from hyperset_lab.models import check_trained
from hyperset_lab.trainer import ScriptTrainer, ScriptTrainingArguments, StepRecord
from modeling_hyperset.analysis.callback import EnergyCallback
from transformers import PreTrainedModel


logger = logging.getLogger(__name__)


def check_splits(arguments: ScriptTrainingArguments, splits: Collection[str], predicts: bool = False) -> None:
    """
    Raises:
        `ValueError`: neither training nor evaluation is asked for, the data have no split (`train`, `eval`) for it, or
            `--do_predict` is given to a script that does not predict (`predicts`).
    """
    if arguments.do_predict and not predicts:
        raise ValueError("`--do_predict` is for texts, but this script only trains and evaluates: leave it out.")
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


def run(trainer: ScriptTrainer, card: dict[str, Any]) -> dict[str, float]:
    """
    Train (or resume) and evaluate as the trainer's arguments say; save the model, its processor and the metrics in
    `output_dir` with a model card that says `card` (the keywords of [`card.write_card`]), and push them if asked to.

    Returns:
        The metrics of the evaluation: at the trained number of iterations by the names Trainer gives them, such as
        `eval_accuracy`, at any other with its number, such as `eval_16_iterations_accuracy`.
    """
    arguments = trainer.args
    model: Any = trainer.model
    check_flags(arguments)
    check_depths(arguments, model)
    if trainer.is_fsdp_enabled and not arguments.do_train:
        raise ValueError(
            "accelerate shards a model only together with its optimizer: without `--do_train`, use another of its config "
            "files, as ddp.yaml."
        )
    if arguments.log_energies:
        try:
            trainer.add_callback(EnergyCallback(trainer))
        except ValueError as error:
            raise ValueError(f"`--log_energies` cannot be used here: {error}") from error
    if arguments.do_train:
        checkpoint = checkpoint_to_resume(arguments)
        if checkpoint is not None:
            check_continues(trainer, checkpoint)
        metrics = trainer.train(resume_from_checkpoint=checkpoint).metrics
        if trainer.state.global_step == 0:
            check_trained(model)
        if trainer.is_fsdp_enabled:
            # The model is saved whole; checkpoints are in shards.
            trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        trainer.save_model(_internal_call=True)  # this does not push: one push comes at the end, with the card
        trainer.save_state()
        trainer.log_metrics("train", metrics)
        trainer.save_metrics("train", metrics)
    metrics = {}
    if arguments.do_eval:
        metrics = evaluate_depths(trainer)
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)
    # Every push writes this card instead of Trainer's own.
    trainer.create_model_card = lambda **_: write_card(trainer, metrics, **card)  # type: ignore[method-assign]
    if arguments.push_to_hub:
        with pushing(arguments.output_dir, str(trainer.hub_model_id)):
            trainer.push_to_hub()
    elif arguments.do_train or not os.path.exists(os.path.join(arguments.output_dir, SAFE_WEIGHTS_NAME)):
        trainer.create_model_card()  # an evaluation keeps the card of a model that is there
    return metrics


NOT_RESUMED = (None, False, "False", "false")  # values of `--resume_from_checkpoint`


def check_flags(arguments: ScriptTrainingArguments) -> None:
    """Refuse flags of a training or of an evaluation that is not asked for."""
    if arguments.resume_from_checkpoint not in NOT_RESUMED and not arguments.do_train:
        raise ValueError(
            f"`--resume_from_checkpoint` needs `--do_train`, got {arguments.resume_from_checkpoint!r} without it. To evaluate "
            "a checkpoint, name it with `--model_name_or_path`."
        )
    if arguments.log_energies and not arguments.do_eval:
        raise ValueError("`--log_energies` logs at every evaluation: it goes with `--do_eval`, got it without.")


def checkpoint_to_resume(arguments: ScriptTrainingArguments) -> str | None:
    """
    The checkpoint that `--resume_from_checkpoint` names; if it is `True`, the last whole one of `output_dir`.

    Raises:
        `ValueError`: there is none, or it is not whole; or `output_dir` has checkpoints, and the run does not resume.
    """
    checkpoint, folder = arguments.resume_from_checkpoint, arguments.output_dir
    if checkpoint in NOT_RESUMED:
        if earlier := [path for path in all_checkpoints(folder) if not is_leftover(path)]:
            raise ValueError(
                f"`--output_dir` {folder!r} holds {earlier[-1].name} of an earlier run. Continue that run with "
                "`--resume_from_checkpoint true`, or give this one another folder."
            )
        return None
    if checkpoint in ("True", "true", True):
        checkpoint = last_whole_checkpoint(folder, arguments.save_only_model, contents=True)
        if checkpoint is None:
            raise ValueError(f"`--resume_from_checkpoint` finds no whole checkpoint in {folder!r}.")
    elif found := defects(checkpoint, arguments.save_only_model, contents=True):
        raise ValueError(f"`--resume_from_checkpoint` cannot continue from {checkpoint!r}: {', '.join(found)}.")
    return checkpoint


def check_continues(trainer: ScriptTrainer, checkpoint: str) -> None:
    """
    Refuse to continue with steps of another number of samples than those of `checkpoint`, or in shards where it is not. Another
    number of processes is only a warning: each process has random numbers of its own.
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
            f"those of this run would be of {samples} on {processes}, and continue elsewhere in the data. Keep the product of "
            "`--per_device_train_batch_size`, processes and `--gradient_accumulation_steps`, or pass `--ignore_data_skip` to "
            "begin the epoch again."
        )
    if before["num_processes"] != processes:
        logger.warning(
            "Continuing from %s on %d process(es), which %d saved: what is random in training differs from an unbroken run.",
            checkpoint, processes, before["num_processes"],
        )  # fmt: skip


def check_depths(arguments: ScriptTrainingArguments, model: PreTrainedModel) -> None:
    """Refuse `--eval_num_iterations` without an evaluation, and depths that the model cannot run."""
    depths, trained = arguments.eval_num_iterations, getattr(model.config, "num_iterations", None)
    if depths is None:
        return
    if not arguments.do_eval:
        raise ValueError(f"`--eval_num_iterations` goes with `--do_eval`, got {depths} without it.")
    if trained is None:
        raise ValueError(
            f"`--eval_num_iterations` is for models that iterate, but {model.config.model_type!r} does not."
        )
    if model.config.lora_rank and max(depths) > trained:
        raise ValueError(
            f"`--eval_num_iterations` must not exceed the {trained} iterations that have depth-wise LoRA weights, got "
            f"{depths}."
        )


def evaluate_depths(trainer: ScriptTrainer) -> dict[str, float]:
    """
    Evaluate at the trained number of iterations and at all that `--eval_num_iterations` asks for: half and twice as many, if it
    is not given.
    """
    model: Any = trainer.model
    metrics: dict[str, float] = {}
    trained = getattr(model.config, "num_iterations", None)
    if trained is None:
        return trainer.evaluate()
    wanted = trainer.args.eval_num_iterations
    if wanted is None:
        # Depth-wise LoRA has weights only for the trained iterations.
        wanted = [max(1, trained // 2), trained if model.config.lora_rank else 2 * trained]
    for num_iterations in dict.fromkeys([trained, *wanted]):
        prefix = "eval" if num_iterations == trained else f"eval_{num_iterations}_iterations"
        with depth(model, num_iterations):
            metrics |= trainer.evaluate(metric_key_prefix=prefix)
    return metrics


def leave_processes() -> None:
    """
    Leave the group of processes, if this is one of several. Scripts do so last. Otherwise a thread of gloo may let go of a
    tensor while the interpreter ends, which kills the process ("terminate called without an active exception"). After an error
    they do not: other processes may wait for this one, and it should be gone.
    """
    if torch.distributed.is_initialized():
        # The model's DDP is in a cycle of references, and keeps the threads. They end with the last reference to the group.
        # After the collection this is torch's own, and it does not hold the interpreter while it waits for them.
        gc.collect()
        torch.distributed.destroy_process_group()

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
What models cost: floating point operations of a forward pass, memory of a training step, and its time beside another model's.
"""

import contextlib
import io
import statistics
import time
from typing import Any, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from hyperset_lab.models import model_of
from hyperset_lab.trainer import ScriptTrainer
from transformers import TrainerCallback


STEPS_PER_TURN = 5  # the first one warms up and is not counted


@torch.no_grad()
def forward_flops(trainer: ScriptTrainer) -> int:
    """
    Floating point operations of a forward pass on one sample: two for every multiply-add of the matrix products. PyTorch's
    `FlopCounterMode` counts them in eager attention, because it does not see into every fused kernel.
    """
    model, data = model_of(trainer), cast(Any, trainer.eval_dataset)
    batch = trainer.data_collator([data[0]])
    batch = {name: tensor.to(model.device) for name, tensor in batch.items() if name != "labels"}
    implementation, training = model.config._attn_implementation, model.training
    model.set_attn_implementation("eager")
    try:
        with FlopCounterMode(display=False) as counter:
            model.eval()(**batch)
    finally:
        model.set_attn_implementation(implementation)
        model.train(training)
    return counter.get_total_flops()


def step_memory(trainer: ScriptTrainer) -> int:
    """
    Bytes that the forward pass of one training batch keeps for the backward pass, without the parameters. They grow with batch
    and depth, and are the same on every machine with the same kernels, unlike the peak of a small model's process.
    """
    model: Any = model_of(trainer)
    batch = next(iter(trainer.get_train_dataloader()))
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    known = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    training = model.training
    try:
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = model.train()(**batch).loss  # held, so that no storage is freed and counted again at its address
        del loss
    finally:
        model.train(training)
    return sum(kept.values())


class StepTimer(TrainerCallback):
    """Seconds of every training step: forward and backward pass, clipping and optimizer, without loading the batch."""

    def __init__(self):
        self.seconds: list[float] = []
        self.start = 0.0

    def on_step_begin(self, args, state, control, **kwargs):
        self.start = self.now(args)

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds.append(self.now(args) - self.start)

    @staticmethod
    def now(args) -> float:
        if args.device.type == "cuda":
            torch.cuda.synchronize(args.device)
        return time.perf_counter()


def measure_times(trainers: dict[str, ScriptTrainer], reference: str, num_turns: int) -> dict[str, Any]:
    """
    Time training steps of all models side by side: in every turn each model makes a few steps, because times on a busy machine
    drift. This trains the models a little. For each model the result has its median `seconds` per step, and `relative`: the
    median over turns of its time divided by that of the reference in the same turn, with the `lowest` and the `highest`.
    """
    medians: dict[str, list[float]] = {name: [] for name in trainers}
    timers = {name: StepTimer() for name in trainers}
    for name, trainer in trainers.items():
        trainer.args.max_steps = STEPS_PER_TURN
        trainer.add_callback(timers[name])
    for _ in range(num_turns):
        for name, trainer in trainers.items():
            timers[name].seconds.clear()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                trainer.train()
            medians[name].append(statistics.median(timers[name].seconds[1:]))
    relative = {
        name: [own / other for own, other in zip(values, medians[reference], strict=True)]
        for name, values in medians.items()
    }
    return {
        "device": str(trainers[reference].args.device),
        "num_threads": torch.get_num_threads(),
        "num_turns": num_turns,
        "reference": reference,
        "models": {
            name: {
                "seconds": statistics.median(medians[name]),
                "relative": statistics.median(values),
                "lowest": min(values),
                "highest": max(values),
            }
            for name, values in relative.items()
        },
    }

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Small models of every head, and what must hold for each on a GPU."""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from hyperset_lab.gpu_check.numbers import relative, tf32
from hyperset_lab.gpu_check.report import Check, Found
from modeling_hyperset import (
    HyperSETConfig,
    HyperSETForCausalLM,
    HyperSETForImageClassification,
    HyperSETForMaskedImageModeling,
    HyperSETForMaskedLM,
    HyperSETForSequenceClassification,
    HyperSETForTokenClassification,
)
from transformers import PreTrainedModel


SMALL = {"hidden_size": 64, "num_attention_heads": 2, "num_iterations": 3, "step_size_time_dim": 16, "num_labels": 5}
IMAGES = SMALL | {"image_size": 16, "patch_size": 4}
TEXT = SMALL | {"vocab_size": 20, "max_position_embeddings": 16}
CODES = TEXT | {"position_embedding_type": "sinusoidal_2d"}
CAUSAL = TEXT | {"attention_energy": "causal_softmax"}
HEADS: dict[str, tuple[type[PreTrainedModel], dict[str, Any]]] = {
    "image classification": (HyperSETForImageClassification, IMAGES),
    "sequence classification": (HyperSETForSequenceClassification, TEXT),
    "token classification": (HyperSETForTokenClassification, TEXT),
    "masked language": (HyperSETForMaskedLM, TEXT),
    "causal language": (HyperSETForCausalLM, CAUSAL),
    "masked pixels": (HyperSETForMaskedImageModeling, IMAGES),
    "masked codes": (HyperSETForMaskedImageModeling, CODES),
}


def make(head: str) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    """A model with random weights, none of them zero, and a batch with labels; texts have padding."""
    torch.manual_seed(0)
    model_class, fields = HEADS[head]
    model = model_class(HyperSETConfig(**fields))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    inputs: dict[str, torch.Tensor]
    if "image_size" in fields:
        inputs = {"pixel_values": torch.randn(4, 3, 16, 16)}
    else:
        inputs = {"input_ids": torch.randint(0, 19, (4, 16))}
        if head != "masked codes":
            inputs["attention_mask"] = (torch.arange(16) < torch.tensor([[16], [9], [16], [12]])).long()
    if head in ("image classification", "sequence classification"):
        inputs["labels"] = torch.arange(4)
    elif head in ("masked pixels", "masked codes"):
        inputs["bool_masked_pos"] = torch.arange(16).expand(4, -1) % 3 == 0
    else:
        inputs["labels"] = (inputs["input_ids"] % 5).masked_fill(inputs["attention_mask"] == 0, -100)
    return model.eval(), inputs


def on(device: torch.device, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.to(device) for name, value in inputs.items()}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def worst_gradient(model: torch.nn.Module, wanted: dict[str, torch.Tensor]) -> float:
    """The largest relative error of the gradient of a parameter, relative to a hundredth of the longest one at least."""
    least = 0.01 * max(float(gradient.norm()) for gradient in wanted.values())
    errors = []
    found = gradients(model)
    for name in wanted:
        if name not in found:
            return float("inf")  # the gradient was lost
        difference = (found[name].cpu().double() - wanted[name].cpu().double()).norm()
        errors.append(float(difference) / max(least, float(wanted[name].norm())))
    return max(errors)


def check_equals_cpu(head: str, attention: str, device: torch.device) -> Found:
    """Loss and gradients in float32, against the plain reference on the CPU."""
    model, inputs = make(head)
    twin = torch.nn.Module.to(copy.deepcopy(model), device)
    model.set_attn_implementation("eager")
    twin.set_attn_implementation(attention)
    with tf32(False):
        loss, other = model(**inputs).loss, twin(**on(device, inputs)).loss
        loss.backward()
        other.backward()
    measured = {
        "loss": relative(other.detach().cpu(), loss.detach()),
        "gradients": worst_gradient(twin, gradients(model)),
    }
    return Found(measured, {"loss": 1e-4, "gradients": 1e-3})


def check_trains(head: str, dtype: torch.dtype, device: torch.device, num_steps: int) -> Found:
    """A batch is learned under autocast, and every weight stays finite."""
    model, inputs = make(head)
    torch.nn.Module.to(model.train(), device)
    inputs = on(device, inputs)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    losses = []
    for _ in range(num_steps):
        with torch.autocast(device.type, dtype=dtype):
            loss = model(**inputs).loss
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    not_finite = sum(int((~torch.isfinite(parameter)).sum()) for parameter in model.parameters())
    measured = {"last loss / first": losses[-1] / losses[0], "not finite": float(not_finite)}
    return Found(measured, {"last loss / first": 0.99, "not finite": 0.0})


def check_waits(head: str, device: torch.device) -> Found:
    """A training step in which the host waits for the device for nothing."""
    model, inputs = make(head)
    torch.nn.Module.to(model.train(), device)
    inputs = on(device, inputs)
    model(**inputs).loss.backward()  # builds the kernels
    torch.cuda.synchronize(device)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            model(**inputs).loss.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [warning for warning in seen if "synchronizing" in str(warning.message)]
    return Found({"waits": float(len(waits))}, {"waits": 0.0})


def check_graph(head: str, device: torch.device) -> Found:
    """A forward pass, captured once and replayed on other numbers."""
    model, inputs = make(head)
    torch.nn.Module.to(model, device)
    inputs = on(device, inputs)
    changing = next(iter(inputs))
    inputs.pop("labels", None)
    other = inputs[changing].roll(1, dims=0)
    with torch.no_grad():
        wanted = model(**(inputs | {changing: other}))[0].clone()
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):  # torch asks for a pass on another stream before a capture
            model(**inputs)
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = model(**inputs)[0]
        inputs[changing].copy_(other)
        graph.replay()
    return Found({"difference": relative(output, wanted)}, {"difference": 1e-5})


def checks(device: torch.device, is_tiny: bool) -> list[Check]:
    """Those of every head: numbers, half precision, waits and graphs."""
    heads = ["image classification", "causal language"] if is_tiny else list(HEADS)
    found = []

    def add(part: str, name: str, call: Callable[..., Found], *arguments: Any) -> None:
        found.append(Check(part, name, 20, partial(call, *arguments)))

    for attention in ("fused", "eager", "sdpa"):
        for head in heads:
            if attention in ("eager", "sdpa") or head != "causal language":  # its energy has no kernels of ours
                add("heads", f"{head}, {attention}, float32 as on the CPU", check_equals_cpu, head, attention, device)
    for dtype in (torch.bfloat16, torch.float16):
        for head in heads[:1] if is_tiny else heads:
            name = f"{head}, {str(dtype).removeprefix('torch.')}, autocast"
            add("training", name, check_trains, head, dtype, device, 5 if is_tiny else 20)
    if device.type == "cuda":
        for head in heads:
            add("waits", f"{head}, a training step", check_waits, head, device)
        for head in heads:
            add("graphs", f"{head}, captured and replayed", check_graph, head, device)
    return found

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What stands around a model on a GPU: `torch.compile`, gradient checkpointing, FSDP2."""

import tempfile
from functools import partial
from pathlib import Path

import torch

from hyperset_lab.gpu_check.heads import gradients, make, on, worst_gradient
from hyperset_lab.gpu_check.report import Check, Found


def check_compiled(head: str, mode: str, device: torch.device) -> Found:
    """The gradients of a compiled training step, and of the same step uncompiled."""
    torch.compiler.reset()
    model, inputs = make(head)
    torch.nn.Module.to(model.train(), device)
    inputs = on(device, inputs)
    model(**inputs).loss.backward()
    wanted = {name: gradient.clone() for name, gradient in gradients(model).items()}
    call = torch.compile(model, mode=mode, fullgraph=True)
    for _ in range(3):  # CUDA graphs are replayed from the third time on
        model.zero_grad()
        torch.compiler.cudagraph_mark_step_begin()
        call(**inputs).loss.backward()
    return Found({"gradients": worst_gradient(model, wanted)}, {"gradients": 1e-2})


def check_lengths(device: torch.device) -> Found:
    """Texts of several lengths need one graph, or two: the first may be for its own length alone."""
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    model, inputs = make("token classification")
    torch.nn.Module.to(model, device)
    call = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        for length in (5, 9, 12, 16):
            call(**{name: value[:, :length].contiguous() for name, value in on(device, inputs).items()})
    return Found({"graphs": float(torch._dynamo.utils.counters["stats"]["unique_graphs"])}, {"graphs": 2.0})


def check_checkpointing(head: str, device: torch.device) -> Found:
    """Gradients with gradient checkpointing, and without."""
    model, inputs = make(head)
    torch.nn.Module.to(model.train(), device)
    inputs = on(device, inputs)
    model(**inputs).loss.backward()
    wanted = {name: gradient.clone() for name, gradient in gradients(model).items()}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model(**inputs).loss.backward()
    return Found({"gradients": worst_gradient(model, wanted)}, {"gradients": 1e-4})


def check_fsdp(head: str, device: torch.device) -> Found:
    """Two steps of FSDP2 in one process, with weights in bfloat16 and gradient checkpointing."""
    import torch.distributed as dist
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    model, inputs = make(head)
    torch.nn.Module.to(model.train(), device)
    model.gradient_checkpointing_enable()
    with tempfile.TemporaryDirectory() as folder:
        store = f"file://{Path(folder) / 'store'}"
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", init_method=store, rank=0, world_size=1)
        try:
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
            names = model._no_split_modules or ()
            for module in [part for part in model.modules() if type(part).__name__ in names]:
                fully_shard(module, mp_policy=policy)
            fully_shard(model, mp_policy=policy)
            optimizer = torch.optim.AdamW(model.parameters())
            losses = []
            for _ in range(2):
                loss = model(**on(device, inputs)).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                losses.append(float(loss))
        finally:
            dist.destroy_process_group()
    return Found({"last loss / first": losses[-1] / losses[0]}, {"last loss / first": 1.0})


def checks(device: torch.device, is_tiny: bool) -> list[Check]:
    """Those of programs around a model. Compilers take long, so these come late."""
    found = [
        Check("programs", "gradient checkpointing", 20, partial(check_checkpointing, "image classification", device))
    ]
    if is_tiny:
        return found
    if device.type == "cuda":
        found.append(Check("programs", "FSDP2", 20, partial(check_fsdp, "sequence classification", device)))
    for mode in ("default", "reduce-overhead"):
        for head in ("image classification", "token classification"):
            name = f"compiled ({mode}), {head}, a training step"
            found.append(Check("programs", name, 60, partial(check_compiled, head, mode, device)))
    found.append(Check("programs", "compiled, texts of several lengths", 60, partial(check_lengths, device)))
    return found

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The authors' tensors: read from a file, measured, and renamed."""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals


StateDict = dict[str, torch.Tensor]
# Pairs of (pattern of the authors' whole name, our name), tried in order.
Renames = list[tuple[str, str]]

# Where tensors go that the authors' program holds and never applies, such as the causal mask of the Sudoku models.
UNUSED = ""

LORA_PARTS = {"attention_A": "bases_a", "attention_B": "bases_b", "ff_A": "directions_a", "ff_B": "directions_b"}


class Blank:
    """Stands where a checkpoint names a class that its weights do not need. It takes anything and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> "Blank":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class BlankDict:
    """The same in the place of a kind of dict, because items are put into it."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


# What trainers keep beside the weights: callbacks, settings, numbers. Weights hold none of it.
NOT_WEIGHTS = re.compile(
    r"(pytorch_lightning|lightning|lightning_fabric|omegaconf|numpy|pathlib|typing|argparse)\..+"
    r"|collections\.defaultdict|_?operator\.getitem|builtins\.(bool|bytes|dict|float|int|list|object|set|str|tuple|type)"
)


WAY_OUT = (
    "If you trust the file, save its weights alone where the program that wrote it is installed, and convert these: "
    "python -c \"import torch; c = torch.load('FILE', map_location='cpu', weights_only=False); "
    "torch.save({'state_dict': dict(c.get('state_dict', c.get('model_state_dict', c)))}, 'weights.ckpt')\""
)


def read_checkpoint(path: str | PathLike) -> Any:
    """
    Read what `torch.save` wrote: tensors and plain containers. No code of the file runs. Where it names a class of a training
    program beside its weights, such as a callback of Lightning, a [`Blank`] takes the place of that class.

    Raises:
        `ValueError`: the file is none, or it needs other classes. The message says what to do.
    """
    try:
        named = set(get_unsafe_globals_in_checkpoint(path))
    except OSError:
        raise
    except Exception:  # no file of today's torch; `torch.load` says what is wrong with it
        named = set()
    blanks: list[Callable | tuple[Callable, str]] = []
    for name in named:
        if NOT_WEIGHTS.fullmatch(name):
            module, _, short = name.rpartition(".")
            kind = BlankDict if "dict" in short.lower() else Blank
            blanks.append(type(short, (kind,), {"__module__": module, "__qualname__": short}))
    try:
        with safe_globals(blanks):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises as many kinds as there are ways to break a file
        others = sorted(name for name in named if not NOT_WEIGHTS.fullmatch(name))
        if not others:
            raise ValueError(f"{path} cannot be read as tensors and plain containers: {error}") from error
        raise ValueError(
            f"{path} cannot be read with weights_only=True: it needs {', '.join(others)}, which could run code. {WAY_OUT}"
        ) from error


def load_original_state_dict(path: str | PathLike) -> StateDict:
    """
    Read a checkpoint of the authors: a bare state dict, or one under `model_state_dict` (native) or under `state_dict` with
    names that start with `model.` (Lightning). It is read by [`read_checkpoint`].

    Raises:
        `ValueError`: the file holds no state dict.
    """
    checkpoint = read_checkpoint(path)
    if isinstance(checkpoint, Mapping):
        checkpoint = checkpoint.get("model_state_dict", checkpoint.get("state_dict", checkpoint))
    named = isinstance(checkpoint, Mapping) and all(isinstance(name, str) for name in checkpoint)
    if not named or not all(torch.is_tensor(value) for value in checkpoint.values()):
        raise ValueError(f"{path} holds no state dict: neither bare, nor under 'model_state_dict' or 'state_dict'.")
    return {name.removeprefix("model."): value for name, value in checkpoint.items()}


def check_tensors(state_dict: StateDict) -> None:
    """Dense tensors with values, on a processor, from which sizes can be read."""
    for name, tensor in state_dict.items():
        dense = tensor.layout == torch.strided and not tensor.is_meta
        if not dense or tensor.is_complex() or tensor.ndim == 0 or tensor.numel() == 0:
            raise ValueError(
                f"The checkpoint's {name} must be a dense tensor of real numbers, of one dimension at least and not empty, got "
                f"shape {tuple(tensor.shape)}, {tensor.dtype}, {tensor.layout} on {tensor.device}."
            )


def find(state_dict: StateDict, pattern: str, dimensions: int = 1) -> torch.Tensor:
    """The first tensor whose name matches; it has at least so many dimensions."""
    for name, tensor in state_dict.items():
        if re.fullmatch(pattern, name):
            if tensor.ndim < dimensions:
                raise ValueError(f"{name} must have {dimensions} dimensions, got shape {tuple(tensor.shape)}.")
            return tensor
    raise ValueError(f"The checkpoint lacks a tensor {pattern!r} that says its size; it holds {sorted(state_dict)}.")


def has(state_dict: StateDict, pattern: str) -> bool:
    return any(re.fullmatch(pattern, name) for name in state_dict)


def count_layers(state_dict: StateDict, prefix: str) -> int:
    """Number of distinct layers, whose names start with `prefix` and their index."""
    return max(1, len({match[1] for name in state_dict if (match := re.match(rf"{prefix}\.(\d+)\.", name))}))


def stack_adapters(state_dict: StateDict) -> StateDict:
    """The depth-wise LoRA of a state dict, which holds a tensor for each iteration, as one tensor for all of them."""
    stacked = {}
    for theirs, ours in LORA_PARTS.items():
        prefix = f"deltaW_{theirs}."
        pattern = rf"{re.escape(prefix)}(\d+)"
        indices = sorted(int(match[1]) for name in state_dict if (match := re.fullmatch(pattern, name)))
        if indices != list(range(len(indices))):
            raise ValueError(f"The adapters {prefix}t must be numbered from 0 without gaps, got {indices}.")
        if len({state_dict[f"{prefix}{index}"].shape for index in indices}) > 1:
            raise ValueError(f"The adapters {prefix}t must have one shape.")
        if indices:
            stacked[f"hyperset.lora.{ours}"] = torch.stack([state_dict[f"{prefix}{index}"] for index in indices])
    return stacked


def rename_state_dict(state_dict: StateDict, renames: Renames) -> StateDict:
    """
    The tensors under our names, without those that the authors' program never applies.

    Raises:
        `ValueError`: names that no rename knows; the message lists them.
    """
    renamed, unknown = stack_adapters(state_dict), []
    for name, tensor in state_dict.items():
        if re.fullmatch(rf"deltaW_(?:{'|'.join(LORA_PARTS)})\.\d+", name):
            continue
        for pattern, template in renames:
            if match := re.fullmatch(pattern, name):
                if template != UNUSED:
                    renamed[match.expand(template)] = tensor
                break
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f"The checkpoint holds tensors the model has no place for: {', '.join(sorted(unknown))}.")
    return renamed


def check_fit(expected: Mapping[str, torch.Tensor], given: StateDict) -> None:
    """
    Raises:
        `ValueError`: tensors that a model lacks, has no place for, or has with other shapes.
    """
    missing, extra = expected.keys() - given.keys(), given.keys() - expected.keys()
    if missing or extra:
        raise ValueError(f"The checkpoint does not fit its options: missing {sorted(missing)}, extra {sorted(extra)}.")
    wrong = [
        f"{name} {tuple(tensor.shape)} ≠ {tuple(expected[name].shape)}"
        for name, tensor in given.items()
        if tensor.shape != expected[name].shape
    ]
    if wrong:
        raise ValueError(f"The checkpoint's shapes contradict its options: {'; '.join(wrong)}.")

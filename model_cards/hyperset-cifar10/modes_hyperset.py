# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""How torch runs the code at this moment: under autocast, in a transform, in a trace."""

import torch
from torch.autograd import forward_ad


def in_transform() -> bool:
    """Whether a transform of `torch.func` (`grad`, `jvp`, `vmap`, …) is active: it wraps tensors in its own."""
    # torch.compile handles the transforms itself. In it, the second check would always be true.
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def is_traced() -> bool:
    """Whether an export or a trace records operators. It needs standard ones."""
    # This reads the flag itself: before torch 2.12 `is_exporting()` is also true in `torch.compile`, and torch 2.6 has no such
    # function.
    return torch.jit.is_tracing() or getattr(torch.compiler, "_is_exporting_flag", False)


def takes_own_operators() -> bool:
    """
    Whether operators of ours can run, which only have a backward pass: no trace records them, and nobody asks for their
    derivatives in another way. (In forward mode torch would silently leave them out.)
    """
    return not (is_traced() or in_transform() or forward_ad._current_level >= 0)


def is_autocast(device: str) -> bool:
    return device != "meta" and torch.is_autocast_enabled(device)


def as_autocast(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` in the dtype in which autocast multiplies matrices, if it is active. Autocast leaves float64 alone, too."""
    device = tensor.device.type
    if tensor.dtype == torch.float64 or not is_autocast(device):
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))

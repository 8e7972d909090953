# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Peak memory of a call, beyond what was held before it."""

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path

import torch


def peak_memory(call: Callable[[], None], device: torch.device) -> int | None:
    """
    Bytes that `call` held at its peak beyond what was held when it began: of the GPU as torch's allocator counts them, or
    of the process where Linux counts them; `None` elsewhere.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if not sys.platform.startswith("linux"):
        return None
    ctypes.CDLL(None).malloc_trim(0)  # give back what earlier calls left, or it would be used again unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts anew
    before = resident("VmRSS")
    call()
    return max(0, resident("VmHWM") - before)


def resident(name: str) -> int:
    """A figure of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}.")

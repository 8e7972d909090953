# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Seconds and peak memory of a call."""

import ctypes
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def seconds(call: Callable[[], Any], device: torch.device) -> float:
    """How long `call` takes, to the end of what it starts on `device`."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def peak_memory(call: Callable[[], None], device: torch.device) -> int | None:
    """
    Bytes that `call` held at its peak beyond those held when it began. On a GPU torch's allocator counts them. On a CPU they
    are those of the process, which only Linux counts: elsewhere it is `None`.
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

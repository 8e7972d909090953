# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Seconds of a call."""

import time
from collections.abc import Callable
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

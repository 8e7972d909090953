# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The memory of a model in CUDA graphs."""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

from hyperset_lab.benchmarking.models import Setting, passes, subject_of


def pool_bytes(snapshot: Sequence[dict[str, Any]]) -> int:
    """Bytes of the segments in a snapshot of torch's allocator that belong to graphs. Pool (0, 0) is everyone's."""
    return sum(segment["total_size"] for segment in snapshot if tuple(segment["segment_pool_id"]) != (0, 0))


def measure(name: str, setting: Setting, is_forward: bool, options: argparse.Namespace) -> int:
    """For a process of its own: capture the graphs of one model, and count what they hold."""
    subject = subject_of(name, setting, options)
    for _ in range(4):  # the first passes warm up and capture
        passes(subject, is_forward)
    torch.cuda.synchronize(torch.device(options.device))
    return pool_bytes(torch.cuda.memory_snapshot())


def memory_of_graphs(name: str, setting: Setting, is_forward: bool, options: argparse.Namespace) -> int:
    """
    Bytes that the CUDA graphs of a model hold for good. The graphs of all models in a process share memory, so each model is
    measured in a process of its own, which compiles it again.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, name, setting, is_forward, options).result()

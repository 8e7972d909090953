# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Compile the attention kernels without their GPU: to see what they take of one, and to have them ready.

Triton asks a driver which GPU to compile for. In the processes here the answer is a constant, so they need none.
"""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from hyperset_lab.gpu_check.numbers import HEAD_DIMS, Case, operands, tf32
from hyperset_lab.gpu_check.report import Check, Found


SMALLEST_SHARED_MEMORY = 99 * 1024  # bytes for a program, on a GPU of capability 8.6, 8.9 or 12.0
MOST_STACK = 64.0  # bytes of a thread: a few numbers that do not fit its registers do no harm, thousands do


@dataclass(frozen=True)
class Compiled:
    """What a kernel takes of a GPU: bytes of shared memory of a program, and registers and bytes of stack of a thread."""

    kernel: str
    shared: int
    registers: int
    stack: int


def usage_of(cubin: bytes) -> tuple[int, int]:
    """Registers and stack of a thread, as NVIDIA's tool reads them from a compiled kernel."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(tool), "--dump-resource-usage", str(path)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    if found is None:
        raise RuntimeError(f"{tool} says nothing of registers: {text[:200]!r}")
    return int(found[1]), int(found[2])


class NoDriver:
    """Stands in for the driver of a GPU of this capability (80 for 8.0)."""

    def __init__(self, capability: int):
        from triton.backends.compiler import GPUTarget

        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self):
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        return 0


def compile_case(case: Case, capability: int) -> list[Compiled]:
    """All kernels of a case. Only for a process of its own: Triton's driver is replaced."""
    from triton.runtime import driver

    from modeling_hyperset import attention_launch_hyperset as launching

    driver.set_active(NoDriver(capability))
    found = []

    class CompileAlone(launching.Launch):
        def start(self, kernel, tile, arguments, constants):
            built = kernel.warmup(*arguments, grid=self.grid, **constants, **launching.of_tile(tile))
            built = built.result() if hasattr(built, "result") else built
            found.append(Compiled(kernel.fn.__name__, built.metadata.shared, *usage_of(built.asm["cubin"])))

    launching.Launch = CompileAlone  # type: ignore[misc]
    tokens, gain, mask, cotangent = (
        None if tensor is None else tensor.detach() for tensor in operands(case, torch.device("cpu"))
    )
    with tf32(case.tf32):
        _, normaliser = launching.TRITON.forward(tokens, gain, mask)
        launching.TRITON.backward(cotangent, tokens, gain, mask, normaliser)
        launching.TRITON.normaliser_backward(normaliser, tokens, gain, mask, normaliser)
    return found


def number_of_workers() -> int:
    """The cores that this process may use, but one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)


def make_ready(cases: Sequence[Case], capability: int, seconds: float) -> str:
    """
    Let all cores compile the kernels of these cases, for so many seconds at most. The checks find them in Triton's cache, and
    compile what is not there. Returns what to say of it.
    """
    start = time.monotonic()
    pool = ProcessPoolExecutor(number_of_workers(), mp_context=get_context("spawn"))
    try:
        done, _ = wait([pool.submit(compile_case, case, capability) for case in cases], timeout=seconds)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)

    ready = sum(future.exception() is None for future in done)
    return f"kernels of {ready} of {len(cases)} cases compiled ahead in {time.monotonic() - start:.0f} s"


def check_tiles(case: Case, capability: int) -> Found:
    """Every kernel of a case fits the smallest GPUs, and its numbers fit the registers."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        kernels = pool.submit(compile_case, case, capability).result()
    measured = {
        "shared memory, KiB": max(kernel.shared for kernel in kernels) / 1024,
        "stack, bytes": float(max(kernel.stack for kernel in kernels)),
        "registers": float(max(kernel.registers for kernel in kernels)),
    }
    return Found(measured, {"shared memory, KiB": SMALLEST_SHARED_MEMORY / 1024, "stack, bytes": MOST_STACK})


def checks(capability: int, is_tiny: bool) -> list[Check]:
    """A case for each dtype and head, or the most usual one alone."""
    dtypes = (("bfloat16", False), ("float32", False), ("float32", True))
    cases = [Case(dtype, size, tf32=tf32) for dtype, tf32 in dtypes for size in sorted(HEAD_DIMS)]
    cases = [Case("bfloat16", 64)] if is_tiny else cases
    return [Check("tiles", str(case), 60, partial(check_tiles, case, capability)) for case in cases]

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Other programs on the machine: processes that keep a core busy when told to."""

import contextlib
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier, Event

import torch


def work(is_wanted: Event, start: Barrier) -> None:
    """Multiply matrices on one thread, as long as it is wanted."""
    torch.set_num_threads(1)
    matrix = torch.randn(256, 256)
    start.wait()
    while True:
        is_wanted.wait()
        torch.mm(matrix, matrix)


class Neighbours:
    """So many processes, which rest until [`busy`]. They end with the block that opened them."""

    def __init__(self, number: int):
        context = get_context("spawn")
        self.is_wanted, self.start = context.Event(), context.Barrier(number + 1)
        arguments = (self.is_wanted, self.start)
        self.processes = [context.Process(target=work, args=arguments, daemon=True) for _ in range(number)]

    def __enter__(self) -> "Neighbours":
        for process in self.processes:
            process.start()
        self.start.wait()  # until then they import torch
        return self

    def __exit__(self, *_) -> None:
        for process in self.processes:
            process.terminate()
            process.join()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Within it, they work."""
        self.is_wanted.set()
        try:
            yield
        finally:
            self.is_wanted.clear()

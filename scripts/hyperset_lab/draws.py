# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Examples that are drawn anew in every epoch, of images and of text. Each is a function of the seed, the epoch and its index, so
a resumed run sees what an unbroken one does, with any number of workers.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from datasets import Dataset, IterableDataset


def numbers(*key: int) -> np.random.Generator:
    """Random numbers that are a function of `key`."""
    return np.random.default_rng(key)


# An example of the data set and its random numbers → what the model takes.
Transform = Callable[[dict, np.random.Generator], dict]


class DrawnExamples(torch.utils.data.Dataset):
    """A data set whose examples are drawn again in every epoch. Trainer sets the epoch, and workers see it."""

    def __init__(self, data: Dataset, seed: int):
        self.data, self.seed = data, seed
        self.epoch = torch.zeros(
            (), dtype=torch.int64
        ).share_memory_()  # shared with workers that live longer than an epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.data)

    def numbers_of(self, index: int) -> np.random.Generator:
        """The random numbers of an example in this epoch."""
        return numbers(self.seed, int(self.epoch), index)


class RandomExamples(DrawnExamples):
    """A data set that `transform`s its examples again in every epoch, one by one."""

    def __init__(self, data: Dataset, transform: Transform, seed: int):
        super().__init__(data, seed)
        self.transform = transform

    def __getitem__(self, index: int) -> dict:
        return self.transform(self.data[index], self.numbers_of(index))


class StreamedExamples(torch.utils.data.IterableDataset):
    """
    A stream of `transform`ed examples. With `repeat` it starts again and again, shuffled anew each time. Trainer counts the
    steps of one pass; so it finds its place again when it resumes in a later one.
    """

    def __init__(self, data: IterableDataset, transform: Transform, seed: int, repeat: bool):
        self.data, self.transform, self.seed, self.repeat = data, transform, seed, repeat

    def __iter__(self) -> Iterator[dict]:
        worker = torch.utils.data.get_worker_info()
        for epoch in itertools.count() if self.repeat else (0,):
            self.data.set_epoch(epoch)
            index = -1
            for index, example in enumerate(self.data):
                yield self.transform(example, numbers(self.seed, epoch, index, 0 if worker is None else worker.id))
            if index < 0:
                return  # a worker without a file of the stream

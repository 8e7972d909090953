# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What a model of text takes: blocks or windows of tokens, with all tokens as labels, or with some that are masked."""

from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import Dataset

from hyperset_lab.draws import RandomExamples, StreamedExamples, Transform, numbers
from hyperset_lab.language.data import LanguageDataArguments
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerBase


EVALUATION_SEED = 0  # what is masked at evaluation is the same for every `--seed`
# The tokenizer → what the examples are made with.
MakeTransform = Callable[[PreTrainedTokenizerBase], Transform]


def label_all(example: dict, rng: np.random.Generator) -> dict[str, Any]:
    """Every token is a label. The model shifts them: a token predicts the next one."""
    return {"input_ids": example["input_ids"], "labels": example["input_ids"]}


def masking(tokenizer: PreTrainedTokenizerBase, probability: float) -> Transform:
    """
    A share of the tokens are labels, as in BERT: of these 80 % are masked, 10 % replaced by any token, and 10 % stay.

    Raises:
        `ValueError`: the tokenizer has no mask token.
    """
    if tokenizer.mask_token is None:
        raise ValueError(
            "A masked language model needs a tokenizer with a mask token, and this one has none: pass another with "
            "`--tokenizer_name`, as bert-base-uncased or characters."
        )
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=probability, return_tensors="np")

    def mask(example: dict, rng: np.random.Generator) -> dict[str, Any]:
        collator.generator = rng
        input_ids, labels = collator.numpy_mask_tokens(np.array(example["input_ids"])[None])
        return {"input_ids": input_ids[0], "labels": labels[0]}

    return mask


class RandomWindows(RandomExamples):
    """
    As many windows as there are blocks, each of a block's size. Where a window begins depends on the seed, the epoch and its
    index alone.
    """

    def __init__(self, data: Dataset, transform: Transform, seed: int):
        super().__init__(data, transform, seed)
        self.size = len(data[0]["input_ids"])

    def __getitem__(self, index: int) -> dict:
        rng = numbers(self.seed, int(self.epoch), index)
        row, offset = divmod(int(rng.integers((len(self.data) - 1) * self.size + 1)), self.size)
        input_ids = self.data[row]["input_ids"]
        if offset:
            input_ids = np.concatenate((input_ids[offset:], self.data[row + 1]["input_ids"][:offset]))
        return self.transform({"input_ids": input_ids}, rng)


def readable(split: str, blocks: Any, transform: Transform, arguments: LanguageDataArguments, seed: int) -> Any:
    """The split, as the trainer reads it."""
    trains = split == "train"
    seed = seed if trains else EVALUATION_SEED
    if arguments.streaming:
        if trains:
            blocks = blocks.shuffle(seed=seed, buffer_size=arguments.shuffle_buffer_size)
        limit = arguments.limits[split]
        return StreamedExamples(blocks if limit is None else blocks.take(limit), transform, seed, repeat=trains)
    return (RandomWindows if trains and arguments.random_windows else RandomExamples)(blocks, transform, seed)

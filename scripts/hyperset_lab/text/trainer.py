# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Trainer for texts: batches of similar lengths that a resumed run and every process repeat, and predictions in a file."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import Sampler, SequentialSampler
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices

from hyperset_lab.metrics import MULTI_LABEL, REGRESSION, decide
from hyperset_lab.text.labels import LabelSpace
from hyperset_lab.training import EpochSetter, ScriptTrainer
from modeling_hyperset.files import write_whole


class LengthGroups(LengthGroupedSampler):
    """
    Batches of texts of similar lengths in random order, the longest first, so that memory runs out at once or never. The order
    is a function of seed and epoch. transformers' sampler draws it from the global random numbers, which in a resumed run, and
    after dropout in several processes, are others; and it has the lengths fall through the epoch.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int):
        super().__init__(batch_size, lengths=lengths)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of that epoch from now on."""
        self.epoch = epoch

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        indices = get_length_grouped_indices(self.lengths, self.batch_size, generator=generator)
        whole = len(indices) // self.batch_size
        batches = [
            indices[start : start + self.batch_size] for start in range(0, whole * self.batch_size, self.batch_size)
        ]
        order = [0, *(torch.randperm(whole - 1, generator=generator) + 1).tolist()] if whole else []
        yield from (index for batch in order for index in batches[batch])
        yield from indices[whole * self.batch_size :]


class TextTrainer(ScriptTrainer):
    """
    `ScriptTrainer` that groups texts by length as [`LengthGroups`] does, evaluates in the order of the data, and predicts what
    `labels` mean for a `predict_dataset`. `metric_name` is the metric of someone else that it measures by, if there is one.
    """

    def __init__(
        self,
        *args: Any,
        labels: LabelSpace,
        predict_dataset: Dataset | None = None,
        metric_name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.labels, self.predict_dataset, self.metric_name = labels, predict_dataset, metric_name

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        train_dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        # What one step of all processes takes together is alike, so that none waits for another's long texts.
        together = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        sampler = LengthGroups(together, list(map(len, cast(Dataset, train_dataset)["input_ids"])), seed)
        self.remove_callback(EpochSetter)
        self.add_callback(EpochSetter(sampler))
        return sampler

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        # With groups by length Trainer's would have `predict` return the predictions in the order of the groups.
        return SequentialSampler(eval_dataset)

    def write_predictions(self) -> None:
        """
        Write the label of every text of the `predict_dataset` to `predict_results.txt` in `output_dir`, a line with index and
        label for each in the order of the data, and the metrics, if there are labels, to `predict_results.json`.
        """
        output = self.predict(cast(Any, self.predict_dataset), metric_key_prefix="predict")
        metrics = output.metrics or {}
        self.log_metrics("predict", metrics)
        self.save_metrics("predict", metrics)
        logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
        lines = ["index\tprediction"]
        for index, row in enumerate(decide(logits, self.labels.problem_type)):
            if self.labels.problem_type == REGRESSION:
                prediction = f"{row.item():.6g}"
            elif self.labels.problem_type == MULTI_LABEL:
                prediction = str([self.labels.names[position] for position in np.flatnonzero(row)])
            else:
                prediction = self.labels.names[row]
            lines.append(f"{index}\t{prediction}")
        if self.is_world_process_zero():
            text = "\n".join(lines) + "\n"
            path = Path(str(self.args.output_dir)) / "predict_results.txt"
            write_whole(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))

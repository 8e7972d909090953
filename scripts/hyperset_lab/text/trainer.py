# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Trainer for texts: batches of similar lengths that a resumed run and every process repeat, and predictions in a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset
from transformers.trainer_pt_utils import get_length_grouped_indices

from hyperset_lab.metrics import MULTI_LABEL, REGRESSION, decide
from hyperset_lab.text.labels import LabelSpace
from hyperset_lab.trainer import ScriptTrainer, ScriptTrainingArguments
from modeling_hyperset.files import write_text
from transformers import DataCollatorWithPadding


class LengthGroups(Dataset):
    """
    Texts in a random order with batches of similar lengths. The longest batch is first: memory runs out at once or never. The
    order is a function of seed and epoch. transformers' sampler draws it from the global random numbers. These differ in a
    resumed run, and after dropout in several processes. With it the lengths also fall through the epoch.
    """

    def __init__(self, texts: datasets.Dataset, batch_size: int, seed: int):
        self.texts, self.batch_size, self.seed = texts, batch_size, seed
        self.lengths = list(map(len, texts["input_ids"]))
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of that epoch."""
        generator, size = torch.Generator().manual_seed(self.seed + epoch), self.batch_size
        indices = get_length_grouped_indices(self.lengths, size, generator=generator)
        whole = len(indices) // size
        order = [0, *(torch.randperm(whole - 1, generator=generator) + 1).tolist()] if whole else []
        self.order = [index for batch in order for index in indices[batch * size : (batch + 1) * size]]
        self.order += indices[whole * size :]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.texts[self.order[place]]


@dataclass
class TextCollator(DataCollatorWithPadding):
    """Pads a batch to its longest text, or to a multiple, but never to more than `longest` tokens, a model's positions."""

    longest: int | None = None

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        multiple, most = self.pad_to_multiple_of, self.longest
        if multiple and most is not None:
            length = max(len(feature["input_ids"]) for feature in features)
            if -(-length // multiple) * multiple > most:
                return DataCollatorWithPadding(self.tokenizer, "max_length", max_length=most)(features)
        return super().__call__(features)


class TextTrainer(ScriptTrainer):
    """
    `ScriptTrainer` that groups texts by length as [`LengthGroups`] does, evaluates in the order of the data, and predicts the
    `labels` of a `predict_dataset`. If it measures by a metric of `evaluate`, `metric_name` is its name.
    """

    def __init__(
        self,
        *,
        args: ScriptTrainingArguments,
        labels: LabelSpace,
        train_dataset: datasets.Dataset | None = None,
        predict_dataset: datasets.Dataset | None = None,
        metric_name: str | None = None,
        **kwargs: Any,
    ):
        if args.train_sampling_strategy == "group_by_length":
            # The texts themselves are in the order of the groups. Trainer would also group the texts to predict for.
            args.train_sampling_strategy = "sequential"
            if train_dataset is not None:
                # The texts of one step are of similar lengths in all processes: no process waits for the long texts of another.
                together = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
                train_dataset = LengthGroups(
                    train_dataset, together, args.seed if args.data_seed is None else args.data_seed
                )
        super().__init__(args=args, train_dataset=train_dataset, **kwargs)
        self.labels, self.predict_dataset, self.metric_name = labels, predict_dataset, metric_name

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
            write_text(path, text)

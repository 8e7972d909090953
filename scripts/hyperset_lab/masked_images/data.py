# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The data sets of images for tasks that read no labels."""

from typing import Any

from datasets import Dataset, IterableDataset

from hyperset_lab.data import limited
from hyperset_lab.images.data import (
    ImageDataArguments,
    check_max_steps,
    checked,
    holds_out,
    read_columns,
    streams,
    used_splits,
)
from transformers import TrainingArguments, ViTImageProcessorPil


def load_unlabelled(
    arguments: ImageDataArguments, training_arguments: TrainingArguments, hub_options: dict[str, Any]
) -> dict[str, Dataset | IterableDataset]:
    """
    The splits `train` and `eval` of a data set, those that are asked for and exist, each with the column `image` alone. Where
    there is nothing to evaluate on, some of the training images are held out. Flags about labels are a `ValueError`.
    """
    if arguments.mixes:
        raise ValueError("`--mixup_alpha` and `--cutmix_alpha` mix labels, but this task reads none: leave them out.")
    if arguments.label_column_name != ImageDataArguments.label_column_name:
        raise ValueError(
            f"This task reads no labels: `--label_column_name` is not for it, got {arguments.label_column_name!r}."
        )
    seed, do_train, do_eval = training_arguments.seed, training_arguments.do_train, training_arguments.do_eval
    check_max_steps(arguments, training_arguments)
    with training_arguments.main_process_first():  # one process downloads and checks, the others find it done
        splits = read_columns(arguments, hub_options, {"image_column_name": "image"})
        splits = used_splits(splits, arguments, do_train, do_eval)
        if arguments.streaming:
            return streams(splits, arguments, seed)
        if holds_out(splits, arguments, do_eval):
            if len(splits["train"]) < 2:
                raise ValueError("There is only one training image, and so none to evaluate on: pass more.")
            parts = splits["train"].train_test_split(arguments.train_val_split, seed=seed)
            splits = {"train": parts["train"], "eval": parts["test"]}
            splits = used_splits(splits, arguments, do_train, do_eval)
        splits = limited(splits, arguments, seed)
        return checked(splits, arguments, hub_options, training_arguments.dataloader_num_workers)


def refuse_statistics(arguments: ImageDataArguments) -> None:
    """Refuse flags that normalise pixels, because a VQ model takes them in [0, 1] or [−1, 1]. It is a `ValueError`."""
    for flag in arguments.processor_fields:
        raise ValueError(f"`--{flag}` is not for a VQ model, which has a range of pixels of its own: leave it out.")


def square_processor(side: int, crop_pct: float | None) -> ViTImageProcessorPil:
    """
    An image processor that gives `side` × `side` pixels in [0, 1]. It resizes the whole image, or with `crop_pct` its shorter
    side to `side` / `crop_pct`, and takes the square in the middle.
    """
    square = {"height": side, "width": side}
    if crop_pct is None:
        return ViTImageProcessorPil(size=square, do_normalize=False)
    size = {"shortest_edge": round(side / crop_pct)}
    return ViTImageProcessorPil(size=size, do_center_crop=True, crop_size=square, do_normalize=False)

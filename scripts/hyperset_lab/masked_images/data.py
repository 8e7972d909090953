# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The image data sets of `image_data.py` for tasks that read no labels."""

from typing import Any

from datasets import Dataset, IterableDataset

from hyperset_lab.images.data import ImageDataArguments, choose_splits, load_data
from transformers import TrainingArguments, ViTImageProcessorPil


def load_unlabelled(
    arguments: ImageDataArguments, training_arguments: TrainingArguments, hub_options: dict[str, Any]
) -> dict[str, Dataset | IterableDataset]:
    """
    The splits `train` and `eval` (whichever exist) of a data set, each with the column `image` alone. Where there is nothing to
    evaluate on, some of the training images are held out.

    Raises:
        `ValueError`: a data set that is not found, no column of images, a split without any, or flags about labels.
    """
    if arguments.mixes:
        raise ValueError("`--mixup_alpha` and `--cutmix_alpha` mix labels, which this task does not read.")
    if arguments.label_column_name != ImageDataArguments.label_column_name:
        raise ValueError(
            f"This task reads no labels: `--label_column_name` is not for it, got {arguments.label_column_name!r}."
        )
    if arguments.streaming and training_arguments.do_train and training_arguments.max_steps < 1:
        raise ValueError("`--streaming` needs `--max_steps`: the number of images is not known before they are read.")
    with training_arguments.main_process_first():  # one process downloads, the others find it done
        splits = choose_splits(load_data(arguments, hub_options), arguments.hold_out_validation)
    limits = {"train": arguments.max_train_samples, "eval": arguments.max_eval_samples}
    column, seed = arguments.image_column_name, training_arguments.seed
    for name, split in splits.items():
        first = next(iter(split), None)
        if first is None:
            raise ValueError(f"The split {name!r} of the data set is empty.")
        if column not in first:
            raise ValueError(f"`--image_column_name` must be one of {', '.join(first)}, got {column!r}.")
        split = split.select_columns([column])
        splits[name] = split if column == "image" else split.rename_column(column, "image")
    if arguments.streaming:
        if "train" in splits:
            splits["train"] = splits["train"].shuffle(seed=seed, buffer_size=arguments.shuffle_buffer_size)
        return {name: split if limits[name] is None else split.take(limits[name]) for name, split in splits.items()}
    if "eval" not in splits:
        if len(splits["train"]) < 2:
            raise ValueError("A single training image leaves none to evaluate on.")
        parts = splits["train"].train_test_split(arguments.train_val_split, seed=seed)
        splits = {"train": parts["train"], "eval": parts["test"]}
    for name, limit in limits.items():
        if name in splits and limit is not None:
            splits[name] = splits[name].shuffle(seed=seed).select(range(min(limit, len(splits[name]))))
    return splits


def square_processor(side: int, crop_pct: float | None) -> ViTImageProcessorPil:
    """
    An image processor that gives pixels in [0, 1] of `side` × `side`: of the whole image resized, or of the central square of
    the image whose shorter side is resized to `side` / `crop_pct`.
    """
    square = {"height": side, "width": side}
    if crop_pct is None:
        return ViTImageProcessorPil(size=square, do_normalize=False)
    size = {"shortest_edge": round(side / crop_pct)}
    return ViTImageProcessorPil(size=size, do_center_crop=True, crop_size=square, do_normalize=False)

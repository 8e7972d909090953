# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Image data sets for the scripts: from the Hub, from folders of images, or the digits that need no download."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    IterableDataset,
    IterableDatasetDict,
    load_dataset,
)
from datasets.exceptions import DatasetNotFoundError
from PIL import Image as PILImage

from hyperset_lab.arguments import check_least, option
from hyperset_lab.data import DataArguments, limited
from hyperset_lab.images.augmentation import AugmentationArguments
from transformers import TrainingArguments


@dataclass
class ImageDataArguments(AugmentationArguments, DataArguments):
    """Which images to train on, how they vary, and which to evaluate."""

    SOURCES: ClassVar[dict[str, str]] = {"train": "train_dir", "validation": "validation_dir"}
    OWN: ClassVar[str | None] = "digits"

    dataset_name: str | None = option(
        None,
        "A data set of the Hub, a local one, or `digits`: 1,797 handwritten digits of scikit-learn. Empty to drop "
        "that of a recipe.",
    )
    train_dir: str | None = option(None, "A folder with one folder of images per class.")
    validation_dir: str | None = option(None, "Another such folder, to evaluate on.")
    streaming: bool = option(
        False, "Whether to read the images while training, instead of downloading all first. Needs `--max_steps`."
    )
    shuffle_buffer_size: int = option(10_000, "`--streaming` draws the next image from so many.")
    image_column_name: str = option("image", "The column of the images.")
    label_column_name: str = option("label", "The column of the labels.")

    def __post_init__(self):
        super().__post_init__()
        DataArguments.__post_init__(self)
        self.check_sources("a folder of images", Path.is_dir)
        if self.streaming and (self.dataset_name == "digits" or self.hold_out_validation):
            raise ValueError(
                "`--streaming` cannot be used with `--dataset_name digits` or with `--hold_out_validation`: leave it out."
            )
        check_least(self, 1, "shuffle_buffer_size")


def digits() -> DatasetDict:
    """
    scikit-learn's 8 × 8 handwritten digits (UCI, 43 writers) as 8-bit images, a fifth of each class held out as `test`. They
    ship with scikit-learn; nothing is downloaded.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    features = Features({"image": Image(), "label": ClassLabel(names=[str(digit) for digit in range(10)])})
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    train, test = train_test_split(np.arange(len(pixels)), test_size=0.2, random_state=0, stratify=bunch.target)

    def split(indices):
        images = list(map(PILImage.fromarray, pixels[indices]))
        return Dataset.from_dict({"image": images, "label": bunch.target[indices]}, features=features)

    return DatasetDict({"train": split(train), "test": split(test)})


def check_max_steps(arguments: ImageDataArguments, training_arguments: TrainingArguments) -> None:
    """Refuse to train on a stream if nothing says for how long."""
    if arguments.streaming and training_arguments.do_train and training_arguments.max_steps < 1:
        raise ValueError("`--streaming` needs `--max_steps`: the number of images is not known before they are read.")


def load_images(
    arguments: ImageDataArguments, seed: int, hub_options: dict[str, Any]
) -> DatasetDict | IterableDatasetDict:
    """
    The data set with splits `train` and `eval` (whichever exist), each with the columns `image` and `label`. With `--streaming`
    its images are read when they are needed; those to train on come in random order.

    Raises:
        `ValueError`: no data set or column of that name, a split without images, or labels that are no classes.
    """
    splits = read_columns(arguments, hub_options, {"image_column_name": "image", "label_column_name": "label"})
    if arguments.streaming:
        check_declared_classes(splits)
        return IterableDatasetDict(streams(splits, arguments, seed))
    splits = encode_classes(splits)
    if "eval" not in splits:
        splits = hold_out_images(splits["train"], arguments.train_val_split, seed)
    return DatasetDict(limited(splits, arguments, seed))


def read_columns(arguments: ImageDataArguments, hub_options: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The splits `train` and `eval` (whichever exist) with only those columns that the flags in `names` name, renamed."""
    splits = choose_splits(load_data(arguments, hub_options), arguments.hold_out_validation)
    for name, split in splits.items():
        check_columns(name, split, arguments, tuple(names))
        columns = {getattr(arguments, flag): new for flag, new in names.items()}
        split = split.select_columns(list(columns))
        splits[name] = split.rename_columns({old: new for old, new in columns.items() if old != new})
    return splits


def streams(splits: dict[str, Any], arguments: ImageDataArguments, seed: int) -> dict[str, Any]:
    """Splits that are read while training, the one to train on in random order, each with as many samples as asked for."""
    if "train" in splits:
        shuffled = splits["train"].shuffle(seed=seed, buffer_size=arguments.shuffle_buffer_size)
        splits = splits | {"train": shuffled}
    limits = arguments.limits
    return {name: split if limits[name] is None else split.take(limits[name]) for name, split in splits.items()}


def load_data(arguments: ImageDataArguments, hub_options: dict[str, Any]) -> DatasetDict | IterableDatasetDict:
    """The data set as it is, with the splits and columns that it has."""
    if arguments.dataset_name == "digits":
        return digits()
    options = {"cache_dir": hub_options["cache_dir"], "streaming": arguments.streaming}
    if arguments.dataset_name is None:
        files = {split: f"{folder}/**" for split, folder in arguments.sources.items()}
        try:
            return load_dataset("imagefolder", data_files=files, **options)
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"`--train_dir` and `--validation_dir` must hold images: {error}") from error
    try:
        return load_dataset(
            arguments.dataset_name, arguments.dataset_config_name, token=hub_options["token"], **options
        )
    except (DatasetNotFoundError, FileNotFoundError, ConnectionError) as error:
        raise ValueError(
            f"`--dataset_name` {arguments.dataset_name!r} must be `digits`, a folder or a data set of the Hub, and it "
            f"cannot be loaded: {error}"
        ) from error


def choose_splits(data: dict, hold_out_validation: bool) -> dict:
    """
    The split `train` of a data set, and as `eval` its `validation` or else its `test`, whichever exist. To hold out images of
    `train` there must be both. Otherwise runs with other seeds would evaluate on what was held out.
    """
    splits = {"train": data["train"]} if "train" in data else {}
    for name in ("validation", "test"):
        if name in data and "eval" not in splits:
            splits["eval"] = data[name]
    if hold_out_validation:
        if len(splits) < 2:
            raise ValueError(
                "`--hold_out_validation` needs data with a split 'train' and one to evaluate on, 'validation' or 'test', "
                f"got {', '.join(data)}."
            )
        del splits["eval"]
    if not splits:
        raise ValueError(f"The data set must have a split 'train', 'validation' or 'test', got {', '.join(data)}.")
    return splits


def hold_out_images(train: Dataset, share: float, seed: int) -> dict[str, Dataset]:
    """Take a share of each class out of `train`, to evaluate on."""
    try:
        parts = train.train_test_split(share, seed=seed, stratify_by_column="label")
    except ValueError as error:
        raise ValueError(
            f"`--train_val_split` {share} of the {len(train)} training images leaves no images of every class on both "
            f"sides: {error}"
        ) from error
    return {"train": parts["train"], "eval": parts["test"]}


def check_columns(
    name: str,
    split: Dataset | IterableDataset,
    arguments: ImageDataArguments,
    flags: Sequence[str] = ("image_column_name", "label_column_name"),
) -> None:
    """Refuse a split without images, or without a column that one of the `flags` names."""
    first = next(iter(split), None)
    if first is None:
        raise ValueError(f"The split {name!r} of the data set is empty.")
    for flag in flags:
        column = getattr(arguments, flag)
        if column not in first:
            note = ""
            if arguments.dataset_name is None and flag == "label_column_name":
                note = " Images have labels where they lie in one folder for each class, at least two."
            raise ValueError(f"`--{flag}` must be one of {', '.join(first)}, got {column!r}.{note}")


def check_declared_classes(splits: dict[str, IterableDataset]) -> None:
    """Refuse a stream that does not declare its classes: they cannot be found in images that were not read yet."""
    declared: dict[str, Any] = {name: (split.features or {}).get("label") for name, split in splits.items()}
    for name, feature in declared.items():
        if not isinstance(feature, ClassLabel):
            raise ValueError(
                f"`--streaming` needs a data set that declares its classes, but split {name!r} has labels of type {feature}."
            )
    if len({tuple(feature.names) for feature in declared.values()}) > 1:
        raise ValueError(f"All splits must declare the same classes, got {declared}.")


def encode_classes(splits: dict[str, Dataset]) -> dict[str, Dataset]:
    """
    Make the labels of all splits classes 0, 1, … with the same names: those that the data set declares, or else its
    distinct labels in order.
    """
    values = {name: split.unique("label") for name, split in splits.items()}
    declared = [split.features["label"] for split in splits.values()]
    if all(isinstance(feature, ClassLabel) for feature in declared):
        names = declared[0].names
        if any(feature.names != names for feature in declared):
            raise ValueError(
                f"All splits must declare the same classes, got {[feature.names for feature in declared]}."
            )
        known: list[Any] = list(range(len(names)))
    else:
        known = sorted({value for distinct in values.values() for value in distinct if isinstance(value, int | str)})
        names = [str(value) for value in known]
    for name, distinct in values.items():
        if unknown := [value for value in distinct if value not in known]:
            raise ValueError(
                f"The split {name!r} of the data set has labels that are no classes: {unknown[:5]} (the classes are "
                f"{names[:5]}{' …' if len(names) > 5 else ''}). A split without labels cannot be used."
            )
    index = {value: position for position, value in enumerate(known)}
    return {name: encode_split(split, index, ClassLabel(names=names)) for name, split in splits.items()}


def encode_split(split: Dataset, index: dict, feature: ClassLabel) -> Dataset:
    """Replace the labels by their `index`, unless they are classes already."""
    if isinstance(split.features["label"], ClassLabel):
        return split
    labels = [index[value] for value in split["label"]]
    return split.remove_columns("label").add_column("label", labels).cast_column("label", feature)

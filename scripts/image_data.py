# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Image data sets for the scripts: from the Hub, from folders of images, or the digits that need no download."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, load_dataset
from PIL import Image as PILImage


@dataclass
class ImageDataArguments:
    """Which images to train on and to evaluate."""

    dataset_name: str | None = field(
        default=None,
        metadata={
            "help": "A data set of the Hub, a local one, or `digits`: 1,797 handwritten digits of scikit-learn."
        },
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Which configuration of that data set."})
    train_dir: str | None = field(default=None, metadata={"help": "A folder with one folder of images per class."})
    validation_dir: str | None = field(default=None, metadata={"help": "Another such folder, to evaluate on."})
    train_val_split: float = field(
        default=0.15, metadata={"help": "Share of the training images to evaluate on where there is no such split."}
    )
    hold_out_validation: bool = field(
        default=False,
        metadata={
            "help": "Evaluate on `train_val_split` of the training images, which are not trained on then, even where there is "
            "a split to evaluate on: to choose hyperparameters without a look at it."
        },
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Train on the first so many images."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Evaluate on the first so many images."})
    image_column_name: str = field(default="image", metadata={"help": "The column of the images."})
    label_column_name: str = field(default="label", metadata={"help": "The column of the labels."})

    def __post_init__(self):
        folders = {"--train_dir": self.train_dir, "--validation_dir": self.validation_dir}
        folders = {flag: folder for flag, folder in folders.items() if folder is not None}
        if (self.dataset_name is None) == (not folders):
            raise ValueError(
                "Pass either `--dataset_name`, or `--train_dir` and/or `--validation_dir`, got "
                f"{self.dataset_name!r} and {folders}."
            )
        for flag, folder in folders.items():
            if not Path(folder).is_dir():
                raise ValueError(f"`{flag}` must be a folder of images, got {folder!r}.")
        if not 0.0 < self.train_val_split < 1.0:
            raise ValueError(f"`--train_val_split` must lie in (0, 1), got {self.train_val_split}.")
        for flag in ("max_train_samples", "max_eval_samples"):
            limit = getattr(self, flag)
            if limit is not None and limit < 1:
                raise ValueError(f"`--{flag}` must be at least 1, got {limit}.")


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
        images = [PILImage.fromarray(pixels[index]) for index in indices]
        return Dataset.from_dict({"image": images, "label": bunch.target[indices]}, features=features)

    return DatasetDict({"train": split(train), "test": split(test)})


def load_images(arguments: ImageDataArguments, seed: int, hub_options: dict[str, Any]) -> DatasetDict:
    """
    The data set with splits `train` and `eval` (whichever exist), each with the columns `image` and `label`.

    Raises:
        `ValueError`: a column that does not exist, a split without images, or labels that are no classes.
    """
    if arguments.dataset_name == "digits":
        data = digits()
    elif arguments.dataset_name is not None:
        options = {"cache_dir": hub_options["cache_dir"], "token": hub_options["token"]}
        data = load_dataset(arguments.dataset_name, arguments.dataset_config_name, **options)
    else:
        folders = {"train": arguments.train_dir, "validation": arguments.validation_dir}
        files = {split: f"{folder}/**" for split, folder in folders.items() if folder is not None}
        data = load_dataset("imagefolder", data_files=files, cache_dir=hub_options["cache_dir"])

    splits = {}
    if "train" in data:
        splits["train"] = data["train"]
    for name in ("validation", "test"):
        if name in data and "eval" not in splits:
            splits["eval"] = data[name]
    if arguments.hold_out_validation and len(splits) < 2:
        raise ValueError(
            "`--hold_out_validation` is for data that have a split 'train' and one to evaluate on, 'validation' or 'test'; "
            f"got {', '.join(data)}."
        )
    if not splits:
        raise ValueError(f"The data set must have a split 'train', 'validation' or 'test', got {', '.join(data)}.")
    for name, split in splits.items():
        check_columns(name, split, arguments)
        columns = {arguments.image_column_name: "image", arguments.label_column_name: "label"}
        split = split.select_columns(list(columns))
        splits[name] = split.rename_columns({old: new for old, new in columns.items() if old != new})
    splits = encode_labels(splits)
    if "eval" not in splits or arguments.hold_out_validation:
        parts = splits["train"].train_test_split(arguments.train_val_split, seed=seed, stratify_by_column="label")
        splits = {"train": parts["train"], "eval": parts["test"]}
    for name, limit in (("train", arguments.max_train_samples), ("eval", arguments.max_eval_samples)):
        if name in splits and limit is not None:
            # Shuffled, because folders of images come class by class.
            splits[name] = splits[name].shuffle(seed=seed).select(range(min(limit, len(splits[name]))))
    return DatasetDict(splits)


def check_columns(name: str, split: Dataset, arguments: ImageDataArguments) -> None:
    """The split has images, and the two columns."""
    if len(split) == 0:
        raise ValueError(f"The split {name!r} of the data set is empty.")
    for flag in ("image_column_name", "label_column_name"):
        column = getattr(arguments, flag)
        if column not in split.column_names:
            raise ValueError(f"`--{flag}` must be one of {', '.join(split.column_names)}, got {column!r}.")


def encode_labels(splits: dict[str, Dataset]) -> dict[str, Dataset]:
    """
    Make the labels of all splits classes 0, 1, … with the same names: those that the data set declares, or its distinct
    labels in order.
    """
    values = {name: split.unique("label") for name, split in splits.items()}
    declared = [split.features["label"] for split in splits.values()]
    if all(isinstance(feature, ClassLabel) for feature in declared):
        names = declared[0].names
        if any(feature.names != names for feature in declared):
            raise ValueError(
                f"All splits must declare the same classes, got {[feature.names for feature in declared]}."
            )
        known = list(range(len(names)))
    else:
        known = sorted({value for distinct in values.values() for value in distinct if isinstance(value, int | str)})
        names = [str(value) for value in known]
    for name, distinct in values.items():
        if unknown := [value for value in distinct if value not in known]:
            raise ValueError(
                f"The split {name!r} of the data set holds labels that are no classes: {unknown[:5]} (the classes are "
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

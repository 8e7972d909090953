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
from hyperset_lab.data import DataArguments, as_path, choose_splits, limited
from hyperset_lab.images.augmentation import AugmentationArguments
from hyperset_lab.images.folders import read_folder, says_more, split_folders
from hyperset_lab.images.labels import IN_FOLDERS, encode_classes, encode_streams
from hyperset_lab.images.pixels import check_images
from transformers import PreTrainedConfig, TrainingArguments


@dataclass
class ImageDataArguments(AugmentationArguments, DataArguments):
    """Which images to train on, how they vary, and which to evaluate."""

    SOURCES: ClassVar[dict[str, str]] = {"train": "train_dir", "validation": "validation_dir"}
    FILES: ClassVar[dict[str, str]] = {"train": "train_file", "validation": "validation_file"}
    OWN: ClassVar[str | None] = "digits"

    dataset_name: str | None = option(
        None,
        "A data set of the Hub, a local one, or `digits`: 1,797 handwritten digits of scikit-learn. Empty to drop "
        "that of a recipe.",
    )
    train_dir: str | None = option(None, "A folder with one folder of images per class.")
    validation_dir: str | None = option(None, "Another such folder, to evaluate on.")
    train_file: list[str] | None = option(None, "Parquet files with a column of images.")  # noqa: RUF009
    validation_file: list[str] | None = option(None, "Other such files, to evaluate on.")  # noqa: RUF009
    streaming: bool = option(
        False, "Whether to read the images while training, instead of downloading all first. Needs `--max_steps`."
    )
    shuffle_buffer_size: int = option(10_000, "`--streaming` draws the next image from so many.")
    image_column_name: str = option("image", "The column of the images.")
    label_column_name: str = option("label", "The column of the labels.")
    check_images: bool | None = option(
        None,
        "Whether to read every image once before the training, and name those that cannot be read; yes if not given. What has "
        "passed is noted in the cache. Not with `--streaming`.",
    )
    cache_images: bool | None = option(
        None,
        "Whether to keep images in memory, resized, so that each file is read once and not in every epoch; if not given, those "
        "of a split that takes at most 512 MiB, with the others. Not with `--streaming`; training images with `--random_crop "
        "resized` are never kept.",
    )

    def __post_init__(self):
        super().__post_init__()
        DataArguments.__post_init__(self)
        for split, flag in self.FILES.items():
            files, folder = getattr(self, flag), self.SOURCES[split]
            if files and getattr(self, folder):
                raise ValueError(f"Pass either `--{flag}` or `--{folder}`, got both.")
            for path in files or ():
                if not (Path(path).is_file() and Path(path).suffix.lower() == ".parquet"):
                    raise ValueError(f"`--{flag}` must be files of .parquet, got {path!r}.")
        for split, folder in super().sources.items():
            if not Path(folder).is_dir():
                raise ValueError(f"`--{self.SOURCES[split]}` must be a folder of images, got {folder!r}.")
        if self.streaming and self.check_images:
            raise ValueError(
                "`--check_images` reads all images before the training, and `--streaming` does not: drop one."
            )
        if self.streaming and self.cache_images:
            raise ValueError(
                "`--cache_images` keeps the images of a data set in memory, and `--streaming` does not know them: drop one."
            )
        if self.streaming and (self.dataset_name == "digits" or self.hold_out_validation):
            raise ValueError(
                "`--streaming` cannot be used with `--dataset_name digits` or with `--hold_out_validation`: leave it out."
            )
        check_least(self, 1, "shuffle_buffer_size")

    @property
    def sources(self) -> dict[str, Any]:
        """For each split that is given, a folder of images or a list of Parquet files."""
        files = {split: getattr(self, flag) for split, flag in self.FILES.items()}
        return super().sources | {split: paths for split, paths in files.items() if paths}


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
    arguments: ImageDataArguments,
    seed: int,
    hub_options: dict[str, Any],
    do_train: bool = True,
    do_eval: bool = True,
    checkpoint: PreTrainedConfig | None = None,
    new_head: bool = False,
    num_workers: int = 0,
) -> DatasetDict | IterableDatasetDict:
    """
    The data set with splits `train` and `eval`, those that are asked for and exist, each with the columns `image` and `label`.
    The classes are those of the images to train on, or of the others if no model is trained, in the order of the `checkpoint`
    if it has such a head. With `--streaming` the images are read when they are needed; those to train on come in random order.

    Raises:
        `ValueError`: no data set or column of that name, a split without images, an image that cannot be read, labels that are
            no classes, or classes that the training images or the checkpoint do not have (see [`classes.align_classes`]).
    """
    splits = read_columns(arguments, hub_options, {"image_column_name": "image", "label_column_name": "label"})
    splits = used_splits(splits, arguments, do_train, do_eval)
    encode = encode_streams if arguments.streaming else encode_classes
    splits = encode(splits, checkpoint, do_train, new_head)
    if arguments.streaming:
        return IterableDatasetDict(streams(splits, arguments, seed))
    if holds_out(splits, arguments, do_eval):
        splits = hold_out_images(splits["train"], arguments.train_val_split, seed)
    splits = used_splits(splits, arguments, do_train, do_eval)
    return DatasetDict(checked(limited(splits, arguments, seed), arguments, hub_options, num_workers))


def used_splits(
    splits: dict[str, Any], arguments: ImageDataArguments, do_train: bool, do_eval: bool
) -> dict[str, Any]:
    """The splits that training and evaluation read; what images are held out of `train` is read from there."""
    if not (do_train or do_eval):
        return splits
    needed = {"train": do_train or holds_out(splits, arguments, do_eval), "eval": do_eval}
    return {name: split for name, split in splits.items() if needed[name]} or splits


def holds_out(splits: dict[str, Any], arguments: ImageDataArguments, do_eval: bool) -> bool:
    """Whether images of `train` are held out to evaluate on."""
    return "eval" not in splits and not arguments.streaming and (do_eval or arguments.hold_out_validation)


def checked(
    splits: dict[str, Dataset], arguments: ImageDataArguments, hub_options: dict[str, Any], num_workers: int
) -> dict[str, Dataset]:
    """The splits, once all of their images have been read, as `--check_images` says."""
    if arguments.check_images is not False and arguments.dataset_name != "digits":
        for name, split in splits.items():
            check_images(name, split, hub_options.get("cache_dir"), num_workers)
    return splits


def read_columns(arguments: ImageDataArguments, hub_options: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """
    The splits `train` and `eval` (whichever exist) with only those columns that the flags in `names` name, renamed. Images are
    files or bytes, which [`pixels.read_image`] reads.
    """
    data = load_data(arguments, hub_options, labelled="label_column_name" in names)
    splits = choose_splits(data, arguments.hold_out_validation)
    for name, split in splits.items():
        check_columns(name, split, arguments, tuple(names))
        columns = {getattr(arguments, flag): new for flag, new in names.items()}
        split = split.select_columns(list(columns))
        split = split.rename_columns({old: new for old, new in columns.items() if old != new})
        if (
            isinstance(split, IterableDataset) and split.features is None
        ):  # nothing to cast: files or bytes as they are
            splits[name] = split
            continue
        try:
            splits[name] = split.cast_column("image", Image(decode=False))
        except (TypeError, ValueError, NotImplementedError) as error:  # pyarrow's errors are of these kinds
            raise ValueError(
                f"`--image_column_name` {arguments.image_column_name!r} holds no images in the split {name!r}: {error}"
            ) from error
    return splits


def streams(splits: dict[str, Any], arguments: ImageDataArguments, seed: int) -> dict[str, Any]:
    """Splits that are read while training, the one to train on in random order, each with as many samples as asked for."""
    if "train" in splits:
        shuffled = splits["train"].shuffle(seed=seed, buffer_size=arguments.shuffle_buffer_size)
        splits = splits | {"train": shuffled}
    limits = arguments.limits
    return {name: split if limits[name] is None else split.take(limits[name]) for name, split in splits.items()}


def load_data(arguments: ImageDataArguments, hub_options: dict[str, Any], labelled: bool = True) -> dict[str, Any]:
    """The data set with the splits and columns that it has; images in folders with labels if these are asked for."""
    if arguments.dataset_name == "digits":
        return dict(digits())
    options = {"cache_dir": hub_options["cache_dir"], "streaming": arguments.streaming}
    if arguments.dataset_name is None:
        return {
            split: load_source(split, source, arguments, options, labelled)
            for split, source in arguments.sources.items()
        }
    folder = Path(arguments.dataset_name)
    if folder.is_dir() and (folders := split_folders(folder)):
        return {
            split: as_streams(read_folder(path, labelled, "--dataset_name"), arguments)
            for split, path in folders.items()
        }
    try:
        data = load_dataset(
            arguments.dataset_name, arguments.dataset_config_name, token=hub_options["token"], **options
        )
    except (DatasetNotFoundError, FileNotFoundError, ConnectionError) as error:
        note = ""
        if folder.is_dir() and as_path(folder) != str(folder):
            note = " `datasets` takes the brackets, stars or question marks in this path for a pattern: rename the folder."
        raise ValueError(
            f"`--dataset_name` {arguments.dataset_name!r} must be `digits`, a folder or a data set of the Hub, and it "
            f"cannot be loaded: {error}{note}"
        ) from error
    return dict(data)


def load_source(
    split: str, source: str | list[str], arguments: ImageDataArguments, options: dict[str, Any], labelled: bool
) -> Dataset | IterableDataset:
    """The images of one split in Parquet files, or in a folder, as `datasets` reads it where tables or archives are in it."""
    if isinstance(source, str):
        kind, flag, patterns = "imagefolder", f"--{arguments.SOURCES[split]}", [f"{as_path(Path(source))}/**"]
        if not says_more(Path(source)):
            return as_streams(read_folder(source, labelled, flag), arguments)
    else:
        kind, flag, patterns = "parquet", f"--{arguments.FILES[split]}", list(map(as_path, source))
    try:
        return load_dataset(kind, data_files={split: patterns}, **options)[split]
    except Exception as error:  # readers raise errors of their own libraries
        raise ValueError(
            f"`{flag}` {source!r} must hold images, but cannot be read: {error.__cause__ or error}"
        ) from error


def as_streams(data: Dataset, arguments: ImageDataArguments) -> Dataset | IterableDataset:
    """The data, or with `--streaming` a stream of them, in parts for several workers."""
    return data.to_iterable_dataset(num_shards=min(len(data), 128)) if arguments.streaming else data


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
            note = f" {IN_FOLDERS}" if arguments.dataset_name is None and flag == "label_column_name" else ""
            raise ValueError(f"`--{flag}` must be one of {', '.join(first)}, got {column!r}.{note}")

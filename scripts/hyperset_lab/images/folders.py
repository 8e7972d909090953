# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Folders of images. A path is a path, whatever characters it has; links are followed. The class of an image is the folder
directly below the given one. What is left out is said in the log.
"""

import logging
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from datasets import ClassLabel, Dataset
from PIL import Image as PILImage

from hyperset_lab.classes import listed
from hyperset_lab.data import SPLITS


logger = logging.getLogger(__name__)

# Files that say more about images than a folder does. `datasets` reads them.
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
ARCHIVES = (".zip", ".tar", ".gz", ".tgz")
TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow", ".md", ".py", ".yaml")
ONLY_NAMED = ("BUFR", "GRIB", "HDF5", "MPEG")
NO_PICTURES = "files without the name of a picture"
FIRST_WORD = re.compile(r"[-._ 0-9]")  # what ends it, as for `datasets`: of "train_images" it is "train"
SPLIT_WORDS = {word for words in SPLITS.values() for word in words}


@lru_cache
def picture_suffixes() -> set[str]:
    """The ends of names that Pillow opens, without those that it only knows by name."""
    kinds = PILImage.registered_extensions()
    return {suffix for suffix, kind in kinds.items() if kind in PILImage.OPEN and kind not in ONLY_NAMED}


def says_more(folder: Path) -> bool:
    """Whether `folder` has metadata or archives, which a reader of folders would leave out."""
    files = [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]
    return any(path.name in METADATA or path.suffix.lower() in ARCHIVES for path in files)


def split_folders(folder: Path) -> dict[str, Path] | None:
    """
    The folders of the splits of a local data set that has nothing but images: those with a split's name, or else `folder` as
    `train`. `None` if other files hold its data, or say more about it.
    """
    left_out: dict[str, list[str]] = {}
    has_images = sum(1 for _ in files_below(str(folder), left_out)) > 0
    if not has_images or any(
        Path(path).suffix.lower() in (*TABLES, *ARCHIVES) for path in left_out.get(NO_PICTURES, ())
    ):
        return None
    inside = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."}
    splits = {name: path for name, path in inside.items() if name.lower() in SPLIT_WORDS}
    if splits and (others := inside.keys() - splits.keys()):
        logger.warning("%s: these folders are no splits and left out: %s.", folder, listed(sorted(others)))
    return splits or {"train": folder}


def files_below(folder: str, left_out: dict[str, list[str]], above: tuple[str, ...] = ()) -> Iterator[str]:
    """The files of pictures in a folder and below it, in order. What is left out goes into `left_out` by the reason."""
    suffixes, above = picture_suffixes(), (*above, os.path.realpath(folder))
    with os.scandir(folder) as entries:
        inside = sorted(entries, key=lambda entry: entry.name)
    for entry in inside:
        if entry.name.startswith("."):
            left_out.setdefault("names that begin with a dot", []).append(entry.path)
        elif not entry.name.isascii() and entry.name != entry.name.encode(errors="replace").decode():
            left_out.setdefault("names that are not UTF-8", []).append(ascii(entry.path))
        elif entry.is_dir():
            if os.path.realpath(entry.path) in above:
                left_out.setdefault("links to a folder above them", []).append(entry.path)
            else:
                yield from files_below(entry.path, left_out, above)
        elif not os.path.exists(entry.path):
            left_out.setdefault("links to nothing", []).append(entry.path)
        elif os.path.splitext(entry.name)[1].lower() not in suffixes:
            left_out.setdefault(NO_PICTURES, []).append(entry.path)
        else:
            yield entry.path


def read_folder(folder: str | Path, labelled: bool, flag: str) -> Dataset:
    """
    The images in a folder and below, as a data set of their paths in the column `image`. If `labelled`, they have a column
    `label`, the folder below `folder` that they lie in, and those that lie in none are left out.

    Raises:
        `ValueError`: there are no images, or the folders that should be classes are splits. It names the `flag`.
    """
    folder, left_out = os.path.normpath(folder), dict[str, list[str]]()
    files = list(files_below(folder, left_out))
    parts = [Path(os.path.relpath(file, folder)).parts for file in files]
    if labelled and any(len(names) > 1 for names in parts):
        left_out["images that lie in no folder of a class"] = [
            file for file, names in zip(files, parts, strict=True) if len(names) == 1
        ]
        files = [file for file, names in zip(files, parts, strict=True) if len(names) > 1]
        parts = [names for names in parts if len(names) > 1]
        check_class_folders(folder, parts, left_out, flag)
    for reason, paths in left_out.items():
        if paths:
            shown = listed(os.path.relpath(path, folder) for path in paths)
            logger.warning("`%s` %r: left out are %s: %s.", flag, folder, reason, shown)
    if not files:
        raise ValueError(f"`{flag}` must hold images, but {folder!r} has none.")
    # Files that change are other data, which the fingerprint of the data set shows.
    stats = [os.stat(file) for file in files]
    columns = {"image": files, "changed": [f"{stat.st_mtime_ns} {stat.st_size}" for stat in stats]}
    data = Dataset.from_dict(columns)
    if not labelled or len(parts[0]) == 1:
        return data
    names = sorted({name for name, *_ in parts})
    index = {name: place for place, name in enumerate(names)}
    return data.add_column("label", [index[name] for name, *_ in parts], feature=ClassLabel(names=names))


def check_class_folders(folder: str, parts: list[tuple[str, ...]], left_out: dict[str, list[str]], flag: str) -> None:
    """Refuse splits in the place of classes, and say which folders are empty and which lie deeper."""
    names = {name for name, *_ in parts}
    if names and {name.lower() for name in names} <= SPLIT_WORDS:
        raise ValueError(
            f"`{flag}` must hold one folder for each class, but {folder!r} holds splits: {listed(sorted(names))}. Pass one of "
            "these folders, or all as `--dataset_name`."
        )
    if (
        names
        and all(len(below) > 2 for below in parts)
        and {FIRST_WORD.split(name.lower())[0] for name in names} <= SPLIT_WORDS
    ):
        raise ValueError(
            f"`{flag}` must hold one folder for each class, but those in {folder!r} are named like splits and hold folders of "
            f"their own: {listed(sorted(names))}. Pass them as `--train_dir` and `--validation_dir`."
        )
    inside = [entry.path for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."]
    left_out["folders of classes without images"] = sorted(
        path for path in inside if os.path.basename(path) not in names
    )
    if nested := sorted({os.path.join(*names[:-1]) for names in parts if len(names) > 2}):
        logger.warning(
            "`%s` %r: the classes are the folders directly below it, and images in deeper folders belong to these: %s.",
            flag, folder, listed(nested),
        )  # fmt: skip

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Where the data of a task come from, as its flags say, and how many of them are read."""

import glob
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from datasets import Dataset

from hyperset_lab.arguments import check_least, option


logger = logging.getLogger(__name__)
Split = TypeVar("Split")

# What data sets call their splits; `datasets` finds files by the same words.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def known_splits(data: Mapping[str, Split]) -> dict[str, Split]:
    """
    The splits of a data set by the names `train`, `validation` and `test`, whichever of the words for them it uses. A warning
    says which splits are left out.

    Raises:
        `ValueError`: two splits have the same meaning, or none has one of these.
    """
    meanings = {word: split for split, words in SPLITS.items() for word in words}
    found: dict[str, list[str]] = {}
    for name in map(str, data):
        if meaning := meanings.get(name.lower()):
            found.setdefault(meaning, []).append(name)
    for meaning, names in found.items():
        if len(names) > 1:
            raise ValueError(f"The data set has several splits for {meaning}: {', '.join(names)}. Keep one of them.")
    if not found:
        raise ValueError(
            f"The data set must have a split 'train', 'validation' (or {', '.join(map(repr, SPLITS['validation'][1:]))}) or "
            f"'test', got {', '.join(map(str, data))}."
        )
    if others := [name for name in map(str, data) if name.lower() not in meanings]:
        logger.warning("These splits of the data set are left out: %s.", ", ".join(others))
    return {meaning: data[names[0]] for meaning, names in found.items()}


def choose_splits(data: Mapping[str, Any], hold_out_validation: bool) -> dict[str, Any]:
    """
    The split `train` of a data set, and as `eval` its `validation` or else its `test`, whichever exist. To hold out a part of
    `train` there must be both. Otherwise runs with other seeds would evaluate on what was held out.
    """
    data = known_splits(data)
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
    return splits


def as_path(path: str | Path) -> str:
    """A path for `datasets`, which would take brackets and stars in it for a pattern."""
    return glob.escape(str(path))


@dataclass
class DataArguments:
    """A data set, or your own files. A subclass names the flags of its files, and its own data set if it has one."""

    SOURCES: ClassVar[dict[str, str]] = {}  # the flag that names the files of each split
    OWN: ClassVar[str | None] = None  # a `--dataset_name` that is not looked for elsewhere

    dataset_name: str | None = option(None, "A data set of the Hub, or a local one. Empty to drop that of a recipe.")
    dataset_config_name: str | None = option(None, "Which configuration of that data set.")
    train_val_split: float = option(0.15, "Share of the training data to evaluate on, if there is no split for it.")
    hold_out_validation: bool = option(
        False,
        "Evaluate on `train_val_split` of the training data and train on the rest, also if there is a split to "
        "evaluate on: so hyperparameters are chosen without that split. `--seed` draws the part.",
    )
    max_train_samples: int | None = option(None, "Train on only so many samples.")
    max_eval_samples: int | None = option(None, "Evaluate on only so many samples.")

    def __post_init__(self):
        flags = [f"`--{flag}`" for flag in self.SOURCES.values()]
        if (self.dataset_name is None) == (not self.sources):
            raise ValueError(
                f"Pass either `--dataset_name`, or one or more of {', '.join(flags)}, got {self.dataset_name!r} and "
                f"{self.sources}."
            )
        if self.dataset_config_name is not None and self.dataset_name in (None, self.OWN):
            raise ValueError(
                f"`--dataset_config_name` needs a `--dataset_name` of the Hub, got {self.dataset_config_name!r} with "
                f"{self.dataset_name!r}."
            )
        if self.hold_out_validation and self.dataset_name is None and "train" not in self.sources:
            raise ValueError(f"`--hold_out_validation` needs data to train on: pass {flags[0]}.")
        if not 0.0 < self.train_val_split < 1.0:
            raise ValueError(f"`--train_val_split` must lie in (0, 1), got {self.train_val_split}.")
        check_least(self, 1, "max_train_samples", "max_eval_samples")

    @property
    def sources(self) -> dict[str, str]:
        """The files or folders that are given, by split."""
        given = {split: getattr(self, flag) for split, flag in self.SOURCES.items()}
        return {split: path for split, path in given.items() if path}

    def check_sources(self, kind: str, is_one: Any = Path.is_file) -> None:
        """Raise a `ValueError` for a file or folder that is not of that `kind`, as `is_one(path)` says."""
        for split, path in self.sources.items():
            if not is_one(Path(path)):
                raise ValueError(f"`--{self.SOURCES[split]}` must be {kind}, got {path!r}.")

    @property
    def limits(self) -> dict[str, int | None]:
        """The most samples of each split."""
        return {"train": self.max_train_samples, "eval": self.max_eval_samples}


def limited(splits: dict[str, Dataset], arguments: DataArguments, seed: int) -> dict[str, Dataset]:
    """As many samples of each split as are asked for, in an order that `seed` draws: files often come class by class."""
    cut = dict(splits)
    for name, limit in arguments.limits.items():
        if name in cut and limit is not None:
            cut[name] = cut[name].shuffle(seed=seed).select(range(min(limit, len(cut[name]))))
    return cut

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Labels of texts: one class, several labels, or a number for each text, and how they match a checkpoint's."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from datasets import ClassLabel, Dataset, List, Value

from hyperset_lab.classes import align_classes, check_known
from hyperset_lab.metrics import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from hyperset_lab.models import label_fields, label_names
from hyperset_lab.text.data import TextDataArguments
from transformers import PreTrainedConfig


@dataclass(frozen=True)
class LabelSpace:
    """What a label is: the kind of problem as transformers names it, and the classes in the order of the logits."""

    problem_type: str
    names: tuple[str, ...]

    @property
    def config_fields(self) -> dict[str, Any]:
        """The fields of a config that it decides."""
        return {"problem_type": self.problem_type, **label_fields(self.names)}


def problem_type_of(feature: Any, arguments: TextDataArguments) -> str:
    """The kind of problem that labels of this `feature` of the data pose: lists are several labels, floats are numbers."""
    several = isinstance(feature, List) or arguments.label_delimiter is not None
    if isinstance(feature, List) and isinstance(feature.feature, Value) and feature.feature.dtype.startswith("float"):
        raise ValueError(
            f"`--label_column_name` {arguments.label_column_name!r} holds lists of {feature.feature.dtype}: a text must "
            "have one number, or a list of the names of its labels."
        )
    if several and arguments.do_regression:
        raise ValueError("`--do_regression` is for one number per text, got several labels: leave it out.")
    if several:
        return MULTI_LABEL
    floats = isinstance(feature, Value) and feature.dtype.startswith("float")
    return REGRESSION if arguments.do_regression or (arguments.do_regression is None and floats) else SINGLE_LABEL


def read_labels(split: Dataset, problem_type: str, delimiter: str | None) -> list:
    """
    The label of every text: the name of its class, the list of the names of its labels, or a number; `None` if it has none.
    """
    feature = split.features["label"]
    inner = feature.feature if isinstance(feature, List) else feature

    def name(value):
        if isinstance(inner, ClassLabel):
            return inner.names[value] if value is not None and value >= 0 else None
        return None if value is None or value == "" else str(value)

    def number(value):
        try:
            value = float(name(value) or "nan")
        except ValueError as error:
            raise ValueError(f"`--do_regression` needs labels that are numbers, got {value!r}.") from error
        return value if math.isfinite(value) else None

    def several(value):
        if delimiter is not None and not isinstance(feature, List):
            value = None if value is None else [part.strip() for part in str(value).split(delimiter) if part.strip()]
        return None if value is None else [name(part) for part in value]

    return [
        {REGRESSION: number, MULTI_LABEL: several, SINGLE_LABEL: name}[problem_type](value) for value in split["label"]
    ]


def class_names(feature: Any, labels: Iterable) -> list[str]:
    """The classes that the data declare, or else those that occur, in order; whole numbers by their value."""
    inner = feature.feature if isinstance(feature, List) else feature
    if isinstance(inner, ClassLabel):
        return list(inner.names)
    names = {name for name in classes_in(labels) if name is not None}
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


def classes_in(labels: Iterable) -> Iterator:
    """The names in labels, one or a list of them for each text."""
    for label in labels:
        yield from label if isinstance(label, list) else [label]


def has_no_labels(split: Dataset) -> bool:
    """Whether the column of labels is empty for all texts, as in the test sets of competitions."""
    feature = split.features["label"]
    nothing = (None, "", -1) if isinstance(feature, ClassLabel) else (None, "")
    return not isinstance(feature, List) and all(value in nothing for value in split.unique("label"))


def encode_labels(
    splits: dict[str, Dataset],
    arguments: TextDataArguments,
    checkpoint: PreTrainedConfig | None = None,
    do_train: bool = True,
    new_head: bool = False,
) -> tuple[dict[str, Dataset], LabelSpace]:
    """
    Make the labels of all splits what a model takes: classes 0, 1, …, rows of 0.0 and 1.0, or floats. The classes are those of
    the training texts (of the other splits where there are none), in the order of the `checkpoint` if it has the same. A split
    `predict` may lack labels.

    Raises:
        `ValueError`: labels that are missing, that the training texts do not have, or that do not match the checkpoint (unless
            the model gets a `new_head`).
    """
    if "predict" in splits and "label" in splits["predict"].features and has_no_labels(splits["predict"]):
        splits = splits | {"predict": splits["predict"].remove_columns("label")}
    labelled = {name: split for name, split in splits.items() if "label" in split.features}
    if not labelled:
        if checkpoint is None:
            raise ValueError("The texts to train on have no labels: name their column with `--label_column_name`.")
        kind = checkpoint.problem_type or (REGRESSION if checkpoint.num_labels == 1 else SINGLE_LABEL)
        return splits, LabelSpace(kind, tuple(label_names(checkpoint)))
    feature = next(iter(labelled.values())).features["label"]
    problem_type = problem_type_of(feature, arguments)
    labels = {name: read_labels(split, problem_type, arguments.label_delimiter) for name, split in labelled.items()}
    names = ["LABEL_0"] if problem_type == REGRESSION else class_names(feature, next(iter(labels.values())))
    space = match_checkpoint(LabelSpace(problem_type, tuple(names)), checkpoint, do_train, new_head)
    if do_train and problem_type == SINGLE_LABEL:  # of several labels, one that no text has is learnt too
        learnt = {*classes_in(next(iter(labels.values())))}
        for name, values in labels.items():
            check_known(name, {*classes_in(values)} - {None}, [label for label in space.names if label in learnt])
    encoded = {name: add_labels(name, splits[name], values, space) for name, values in labels.items()}
    return splits | encoded, space


def match_checkpoint(
    space: LabelSpace, checkpoint: PreTrainedConfig | None, do_train: bool, new_head: bool
) -> LabelSpace:
    """The classes in the order of the checkpoint's, or those of the data if the model is to learn them."""
    if space.problem_type == SINGLE_LABEL and len(space.names) < 2 and (checkpoint is None or do_train):
        raise ValueError(f"The labels must be of at least two classes, got {', '.join(space.names) or 'none'}.")
    if checkpoint is None:
        return space
    if not do_train and checkpoint.problem_type not in (None, space.problem_type):
        raise ValueError(
            f"The checkpoint is for {checkpoint.problem_type}, but the labels are for {space.problem_type}."
        )
    if space.problem_type == REGRESSION and checkpoint.num_labels == 1:
        return space  # a number has no name
    return LabelSpace(space.problem_type, align_classes(space.names, checkpoint, do_train, new_head))


def add_labels(name: str, split: Dataset, labels: list, space: LabelSpace) -> Dataset:
    """Replace the labels of a split by what a model takes."""
    if missing := sum(label is None or (isinstance(label, list) and None in label) for label in labels):
        raise ValueError(f"{missing} of the {len(labels)} texts of the split {name!r} have no label.")
    if space.problem_type == REGRESSION:
        feature, values = Value("float32"), labels
    else:
        index = {label: position for position, label in enumerate(space.names)}
        check_known(name, classes_in(labels), space.names)
        if space.problem_type == SINGLE_LABEL:
            feature, values = ClassLabel(names=list(space.names)), [index[label] for label in labels]
        else:
            feature = List(Value("float32"))
            values = [[float(label in row) for label in space.names] for row in labels]
    return split.remove_columns("label").add_column("label", values, feature=feature)

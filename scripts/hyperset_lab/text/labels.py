# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Labels of texts: one class, several labels, or a number for each text, and how they match a checkpoint's."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import ClassLabel, Dataset, List, Value

from hyperset_lab.classes import align_classes, check_known
from hyperset_lab.metrics import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from hyperset_lab.models import label_fields, label_names
from hyperset_lab.text.data import TextDataArguments
from hyperset_lab.text.tables import zero_or_one
from transformers import PreTrainedConfig


ZEROS_AND_ONES = re.compile(r"[01]([ ,;|/])[01](\1[01])*")


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


def count_zeros_and_ones(rows: list, source: str, several: int | None = None) -> int | None:
    """
    How many labels there are if every text has a row with a 0 or a 1 for each (`several`, where that is known), and `None` if
    the rows are lists of names. A list of names has none twice.

    Raises:
        `ValueError`: rows that are neither.
    """
    if several is None:
        twice = [(index, row) for index, row in enumerate(rows, start=1) if row and len(set(row)) < len(row)]
        if named := [(index, row) for index, row in twice if not is_hot(row)]:
            raise ValueError(f"{source}, row {named[0][0]}: a text must have each label once, got {named[0][1]}.")
        several = len(twice[0][1]) if twice else None  # no list of names has one twice
        given = {len(row) for row in rows if row is not None}
        if several is None and len(given) == 1 and max(given) > 1 and all(map(is_hot, rows)):
            return given.pop()
    if several is None:
        return None
    for index, row in enumerate(rows, start=1):
        if row is not None and not (len(row) == several and is_hot(row)):
            raise ValueError(
                f"{source}, row {index}: a text must have either the names of its labels, each once, or a 0 or a 1 for each "
                f"label ({several} of them in every row), got {row}."
            )
    return several


def is_hot(row: list | None) -> bool:
    """Whether a row has nothing but 0 and 1."""
    return row is None or None not in map(zero_or_one, row)


def name_hot(row: list | None, names: list[str]) -> list[str] | None:
    """The names of the labels that a row has a 1 for."""
    return None if row is None else [name for name, value in zip(names, row, strict=True) if zero_or_one(value)]


def check_names(labels: list, source: str) -> None:
    """Refuse what reads as one class for every combination of labels."""
    rows = [label for label in labels if label is not None]
    if rows and all(ZEROS_AND_ONES.fullmatch(label) for label in rows):
        raise ValueError(
            f"{source}: the labels are rows of 0 and 1, as {rows[0]!r}: pass `--label_delimiter {rows[0][1]!r}` for several "
            "labels per text."
        )


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
    if problem_type == SINGLE_LABEL:
        for name, values in labels.items():
            check_names(values, arguments.source(name))
    elif problem_type == MULTI_LABEL and not isinstance(getattr(feature, "feature", None), ClassLabel):
        several = None
        for name, rows in labels.items():
            several = count_zeros_and_ones(rows, arguments.source(name), several)
        if several is not None:
            names = [f"LABEL_{place}" for place in range(several)]  # as transformers calls labels without names
            if checkpoint is not None and len(label_names(checkpoint)) == several:
                names = label_names(checkpoint)
            labels = {name: [name_hot(row, names) for row in rows] for name, rows in labels.items()}
        elif isinstance(feature, List) and str(feature.feature.dtype).startswith("float"):
            raise ValueError(
                f"`--label_column_name` {arguments.label_column_name!r} holds lists of {feature.feature.dtype}: a text must "
                "have one number, or a list of the names of its labels, or a 0 or a 1 for each label."
            )
    space = match_checkpoint(LabelSpace(problem_type, tuple(names)), checkpoint, do_train, new_head)
    if do_train and problem_type == SINGLE_LABEL:  # of several labels, one that no text has is learnt too
        learnt = {*classes_in(next(iter(labels.values())))}
        known = [label for label in space.names if label in learnt]
        for name, values in labels.items():
            check_classes(name, values, known, arguments.source(name))
    encoded = {
        name: add_labels(name, splits[name], values, space, arguments.source(name)) for name, values in labels.items()
    }
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


def check_classes(name: str, labels: list, names: Sequence[str], source: str) -> None:
    """Refuse labels of a split that are not among the classes `names`, with the row of the first."""
    known = {*names, None}
    for row, label in enumerate(labels, start=1):
        if not known.issuperset(classes_in([label])):
            try:
                check_known(name, {*classes_in(labels)} - {None}, names)
            except ValueError as error:
                raise ValueError(f"{error} The first is in row {row} of {source}.") from None


def add_labels(name: str, split: Dataset, labels: list, space: LabelSpace, source: str) -> Dataset:
    """Replace the labels of a split by what a model takes."""
    without = [
        row for row, label in enumerate(labels, 1) if label is None or (isinstance(label, list) and None in label)
    ]
    if without:
        raise ValueError(
            f"{len(without)} of the {len(labels)} texts of the split {name!r} have no label, the first in row {without[0]} of "
            f"{source}: remove them, or write a label."
        )
    if space.problem_type == REGRESSION:
        feature, values = Value("float32"), labels
    else:
        index = {label: position for position, label in enumerate(space.names)}
        check_classes(name, labels, space.names, source)
        if space.problem_type == SINGLE_LABEL:
            feature, values = ClassLabel(names=list(space.names)), [index[label] for label in labels]
        else:
            feature = List(Value("float32"))
            values = [[float(label in row) for label in space.names] for row in labels]
    return split.remove_columns("label").add_column("label", values, feature=feature)

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Labels of images: classes by their names, in the order of a checkpoint that knows them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from datasets import ClassLabel, Dataset, Features, IterableDataset, Value

from hyperset_lab.classes import align_classes, check_known, listed, positions
from transformers import PreTrainedConfig


IN_FOLDERS = "Images have labels where they lie in one folder for each class, at least two."


def encode_streams(
    splits: dict[str, IterableDataset],
    checkpoint: PreTrainedConfig | None = None,
    do_train: bool = True,
    new_head: bool = False,
) -> dict[str, IterableDataset]:
    """As [`encode_classes`], by the classes that a stream declares: none can be found in images that were not read yet."""
    declared: dict[str, Any] = {name: (split.features or {}).get("label") for name, split in splits.items()}
    for name, feature in declared.items():
        if not isinstance(feature, ClassLabel):
            raise ValueError(
                f"`--streaming` needs a data set that declares its classes, but split {name!r} has labels of type {feature}."
            )
    names = align_classes(next(iter(declared.values())).names, checkpoint, do_train, new_head)
    for name, feature in declared.items():
        check_known(name, feature.names, names)
        if tuple(feature.names) != names:
            places = positions(feature.names, names)
            features = Features({**(splits[name].features or {}), "label": ClassLabel(names=list(names))})
            splits[name] = splits[name].map(partial(move_label, places), features=features)
    return splits


def move_label(places: Sequence[int], example: dict[str, Any]) -> dict[str, Any]:
    """The label of an example in another list of classes; a negative one says that there is none."""
    return {"label": places[example["label"]] if example["label"] >= 0 else example["label"]}


def encode_classes(
    splits: dict[str, Dataset],
    checkpoint: PreTrainedConfig | None = None,
    do_train: bool = True,
    new_head: bool = False,
) -> dict[str, Dataset]:
    """
    Make the labels of all splits classes 0, 1, … with the same names: those that the first split declares, or else its distinct
    labels in order; those of the `checkpoint`, if there is one.
    """
    found = {name: names_of_labels(name, split) for name, split in splits.items()}
    first = next(iter(splits))
    feature = splits[first].features["label"]
    classes = feature.names if isinstance(feature, ClassLabel) else list(found[first].values())
    if do_train and len(set(found[first].values())) < 2:
        raise ValueError(
            f"`--label_column_name`: the images to train on must be of two classes or more, got {listed(classes)}. {IN_FOLDERS}"
        )
    names = align_classes(classes, checkpoint, do_train, new_head)
    for name, labels in found.items():
        learnt = names if name == first or not do_train else [*found[first].values()]
        check_known(name, labels.values(), learnt)
    index = {name: place for place, name in enumerate(names)}
    return {
        name: encode_split(split, {value: index[label] for value, label in found[name].items()}, names)
        for name, split in splits.items()
    }


def names_of_labels(name: str, split: Dataset) -> dict[Any, str]:
    """The distinct labels of a split, in order, each with the name of its class."""
    feature = split.features["label"]
    values = split.unique("label") if isinstance(feature, ClassLabel | Value) else [feature]
    if isinstance(feature, ClassLabel):
        wrong = [value for value in values if value is None or not 0 <= value < len(feature.names)]
    else:
        wrong = [value for value in values if not isinstance(value, int | str) or value == ""]
    if wrong:
        raise ValueError(
            f"The split {name!r} of the data set has labels that are no classes: {listed(wrong)}. A split without labels "
            "cannot be used."
        )
    return {value: feature.names[value] if isinstance(feature, ClassLabel) else str(value) for value in sorted(values)}


def encode_split(split: Dataset, index: dict[Any, int], names: Sequence[str]) -> Dataset:
    """Replace the labels by their `index` among `names`, unless they are such classes already."""
    feature = split.features["label"]
    if isinstance(feature, ClassLabel) and tuple(feature.names) == tuple(names):
        return split
    labels = [index[value] for value in split["label"]]
    return split.remove_columns("label").add_column("label", labels, feature=ClassLabel(names=list(names)))

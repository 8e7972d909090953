# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Classes are names. Here the classes of a data set and those of a checkpoint are brought together, by name and for every task.

A number stands for a class only beside the list of names that it counts in. Two lists with the same names in another order
are mapped. A name that the other side does not know is refused.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from hyperset_lab.arguments import ModelArguments
from hyperset_lab.models import is_unnamed, label_names
from transformers import AutoConfig, PreTrainedConfig


logger = logging.getLogger(__name__)

SHOWN = 20  # so many names at most are listed in an error


def listed(names: Iterable[Any]) -> str:
    """Names for an error or a log, the first ones if there are many."""
    names = list(map(str, names))
    more = f" … ({len(names)} in all)" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more


def checkpoint_with_head(arguments: ModelArguments, head: str) -> PreTrainedConfig | None:
    """
    The config of the checkpoint to start from, if its class's name ends in `head` (as `"ForImageClassification"`). A body
    without such a head has no classes.
    """
    if arguments.model_name_or_path is None:
        return None
    try:
        config = AutoConfig.from_pretrained(arguments.model_name_or_path, **arguments.hub_options)
    except OSError:
        return None  # `load_config` says what is wrong with it
    if config.architectures:
        return config if any(name.endswith(head) for name in config.architectures) else None
    return None if is_unnamed(label_names(config)) else config  # it does not tell its head, but names its classes


def align_classes(
    names: Sequence[str], checkpoint: PreTrainedConfig | None, do_train: bool, new_head: bool = False
) -> tuple[str, ...]:
    """
    The classes in the order of the logits of the model to train or to evaluate.

    Args:
        names: The classes of the data.
        checkpoint: The config of the checkpoint to start from, if it has a head for this task.
        do_train: Whether the model is trained. If not, the data may lack some of the checkpoint's classes.
        new_head: Whether the model may get a new head (`--ignore_mismatched_sizes`).

    Raises:
        `ValueError`: The data have classes that the checkpoint does not know (they are listed), or a model to train knows
            classes that the data do not have.
    """
    names = tuple(map(str, names))
    if checkpoint is None:
        return names
    theirs = tuple(label_names(checkpoint))
    if names == theirs or (set(names) == set(theirs) and len(set(theirs)) == len(theirs) == len(names)):
        return theirs
    if is_unnamed(theirs) and len(names) == len(theirs):
        logger.warning(
            "The checkpoint does not name its classes: they are taken to be %s, in this order.", listed(names)
        )
        return names
    if do_train and new_head:
        return names
    twice = sorted({name for name in theirs if theirs.count(name) > 1})
    unknown = [name for name in names if name not in set(theirs)]
    missing = [name for name in theirs if name not in set(names)]
    if not (unknown or twice or do_train):
        return theirs
    problem = (
        f"The checkpoint has {len(theirs)} classes ({listed(theirs)}), the data have {len(names)} ({listed(names)}). "
    )
    if unknown:
        problem += f"The checkpoint does not know {listed(unknown)}."
    elif twice:
        problem += f"The checkpoint has several classes of the name {listed(twice)}."
    else:
        problem += f"The data do not have {listed(missing)}."
    way_out = " Pass `--ignore_mismatched_sizes` to train a new head." if do_train else ""
    raise ValueError(problem + way_out)


def check_known(split: str, found: Iterable[Any], names: Sequence[str]) -> None:
    """Refuse labels `found` in a split (of any kind that has a name as `str`) that are not among the classes `names`."""
    known = set(names)
    if unknown := sorted({str(label) for label in found} - known):
        raise ValueError(
            f"The split {split!r} has labels that are not among those to learn: {listed(unknown)}. To learn are "
            f"{listed(names)}."
        )


def positions(names: Sequence[str], order: Sequence[str]) -> list[int]:
    """Where each of the `names` stands in `order`, which has them all."""
    place = {name: index for index, name in enumerate(order)}
    return [place[name] for name in names]


class Relabelled:
    """
    Batches with `labels` that count in another list of classes: numbers of classes, negative where there is none, or, of
    several labels, a row of floats for each sample, one for each class.
    """

    def __init__(self, batches: Iterable[Mapping[str, Any]], places: Sequence[int]):
        self.batches, self.places = batches, torch.tensor(places)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.batches:
            labels, places = batch["labels"], self.places.to(batch["labels"].device)
            if labels.is_floating_point():
                moved = labels[..., places.argsort()]
            else:
                moved = torch.where(labels < 0, labels, places[labels.clamp(min=0)])
            yield {**batch, "labels": moved}

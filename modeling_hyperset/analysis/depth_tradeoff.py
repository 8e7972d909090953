# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Measure accuracy against the mean number of iterations, at fixed depths and at adaptive ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from .measuring import batches_of, check_labels, check_model, evaluating, labels_of, undefined


@dataclass
class DepthPoint:
    """
    One way to choose the depth, and its results.

    Args:
        energy_tolerance (`float`, *optional*): The tolerance of adaptive depth; `None` for a fixed depth.
        num_iterations (`int`): The fixed depth of each layer, or the most that adaptive depth takes.
        accuracy (`float`): The share of labels (other than -100) that are predicted.
        mean_iterations (`float`): The mean iterations of a sample, summed over all layers.
        num_samples (`int`): The number of samples.
        trained_iterations (`int`): Iterations of each layer in the config.
    """

    energy_tolerance: float | None
    num_iterations: int
    accuracy: float
    mean_iterations: float
    num_samples: int
    trained_iterations: int


def accuracy_at_depths(
    model: PreTrainedModel,
    batches: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    energy_tolerances: Sequence[float] = (),
    num_iterations: Sequence[int] = (),
    most_iterations: int | None = None,
) -> list[DepthPoint]:
    """
    Measure a classifier of samples or of tokens at several depths, in one pass over the data.

    Args:
        model ([`HyperSETPreTrainedModel`]): The classifier. It runs in evaluation mode, and is as before afterwards.
        batches (`Mapping`, or iterable of `Mapping` like a `DataLoader`): The model's inputs, as tensors on any device, with
            `labels`: a class for each sample, or for each token, with -100 for tokens without a label.
        energy_tolerances: Tolerances of adaptive depth.
        num_iterations: Fixed depths.
        most_iterations (`int`, *optional*): The most that adaptive depth takes. Default: the trained depth.

    Returns:
        A [`DepthPoint`] for each of `energy_tolerances`, then for each of `num_iterations`.

    Raises:
        `ValueError`: a model of another family or without classes, a batch without `labels` that are classes, no label at all,
            or a depth or tolerance that the model does not accept.
    """
    check_model(model, most_iterations)
    if "accuracy" in (reasons := undefined(model)):
        raise ValueError(f"`model` must have an accuracy: {reasons['accuracy']}.")
    most = model.config.num_iterations if most_iterations is None else most_iterations
    choices: list[dict[str, Any]] = [{"energy_tolerance": t, "num_iterations": most} for t in energy_tolerances]
    choices += [{"energy_tolerance": False, "num_iterations": depth} for depth in num_iterations]
    correct, iterations = [0] * len(choices), [0.0] * len(choices)
    num_labels = num_samples = 0
    with evaluating(model):
        for batch in batches_of(batches, model.device):
            labels = labels_of(model, batch)
            if labels is None:
                raise ValueError(f"`batches` must hold `labels` that are classes, got {', '.join(batch)}.")
            inputs = {name: value for name, value in batch.items() if name != "labels"}
            num_labels += int((labels != -100).sum())
            num_samples += len(labels)
            for index, choice in enumerate(choices):
                outputs = model(**inputs, **choice, return_dict=True)
                if index == 0:
                    check_labels(model, labels, outputs.logits)
                correct[index] += int((outputs.logits.argmax(dim=-1) == labels).sum())
                if outputs.num_iterations_used is None:
                    iterations[index] += choice["num_iterations"] * model.config.num_hidden_layers * len(labels)
                else:
                    used = outputs.num_iterations_used.double()
                    # In a causal model each token has its own, and padding none: the mean over the tokens of each sample.
                    used = used if used.ndim == 1 else used.sum(dim=1) / (used > 0).sum(dim=1).clamp(min=1)
                    iterations[index] += float(used.sum())
    if num_labels == 0:
        raise ValueError("`batches` must hold labels other than -100 to measure an accuracy, got none.")
    return [
        DepthPoint(
            energy_tolerance=None if choice["energy_tolerance"] is False else choice["energy_tolerance"],
            num_iterations=choice["num_iterations"],
            accuracy=correct[index] / num_labels,
            mean_iterations=iterations[index] / num_samples,
            num_samples=num_samples,
            trained_iterations=model.config.num_iterations,
        )
        for index, choice in enumerate(choices)
    ]

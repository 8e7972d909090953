# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What depth buys: accuracy against the mean number of iterations, at fixed depths and at adaptive ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel


@dataclass
class DepthPoint:
    """
    One way to choose the depth, and what it gives.

    Args:
        energy_tolerance (`float`, *optional*): The tolerance of adaptive depth; `None` for a fixed depth.
        num_iterations (`int`): The fixed depth of each layer, or the most that adaptive depth takes.
        accuracy (`float`): The share of labels that are predicted, of those that are not -100.
        mean_iterations (`float`): Iterations that a sample takes, of all layers together.
        num_samples (`int`): The samples that it was measured on.
    """

    energy_tolerance: float | None
    num_iterations: int
    accuracy: float
    mean_iterations: float
    num_samples: int


def accuracy_at_depths(
    model: PreTrainedModel,
    batches: Iterable[Mapping[str, torch.Tensor]],
    energy_tolerances: Sequence[float] = (),
    num_iterations: Sequence[int] = (),
    most_iterations: int | None = None,
) -> list[DepthPoint]:
    """
    Measure a classifier of samples or of tokens at several depths, in one pass over the data.

    Args:
        model ([`PreTrainedModel`]): The classifier. It is evaluated in evaluation mode and left as it was.
        batches: The model's inputs, each batch with its integer `labels`, of shape `(batch_size,)` or `(batch_size, seq_len)`;
            -100 counts for nothing. They are moved to the model's device.
        energy_tolerances: Tolerances of adaptive depth.
        num_iterations: Fixed depths.
        most_iterations (`int`, *optional*): The most that adaptive depth takes; the trained depth if not given.

    Returns:
        A [`DepthPoint`] for each of `energy_tolerances`, then for each of `num_iterations`.

    Raises:
        `ValueError`: a batch without labels, no label at all, or a depth or tolerance that the model refuses.
    """
    most = model.config.num_iterations if most_iterations is None else most_iterations
    choices: list[dict[str, Any]] = [
        {"energy_tolerance": tolerance, "num_iterations": most} for tolerance in energy_tolerances
    ]
    choices += [{"energy_tolerance": False, "num_iterations": depth} for depth in num_iterations]
    correct, iterations = [0] * len(choices), [0] * len(choices)
    num_labels = num_samples = 0
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                if "labels" not in batch:
                    raise ValueError(f"`batches` must hold `labels`, got {', '.join(batch)}.")
                batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
                labels = batch.pop("labels")
                num_labels += int((labels != -100).sum())
                num_samples += len(labels)
                for index, choice in enumerate(choices):
                    outputs = model(**batch, **choice)
                    correct[index] += int((outputs.logits.argmax(dim=-1) == labels).sum())
                    if outputs.num_iterations_used is None:
                        iterations[index] += choice["num_iterations"] * model.config.num_hidden_layers * len(labels)
                    else:
                        iterations[index] += int(outputs.num_iterations_used.sum())
    finally:
        model.train(was_training)
    if num_labels == 0:
        raise ValueError("`batches` hold no label to measure an accuracy on.")
    return [
        DepthPoint(
            energy_tolerance=None if choice["energy_tolerance"] is False else choice["energy_tolerance"],
            num_iterations=choice["num_iterations"],
            accuracy=correct[index] / num_labels,
            mean_iterations=iterations[index] / num_samples,
            num_samples=num_samples,
        )
        for index, choice in enumerate(choices)
    ]

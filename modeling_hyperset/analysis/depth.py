# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What a model answers when it runs fewer or more iterations than it was trained with."""

from collections.abc import Iterable, Mapping
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from .analysis import Analysis, analyze
from .measuring import check_model, undefined


def default_multiple(config: PreTrainedConfig) -> int:
    """How many times as deep as trained to look where nothing is said: twice, or once with depth-wise LoRA."""
    return 1 if config.lora_rank else 2


def by_depth(analysis: Analysis) -> dict[str, Any]:
    """
    Accuracy and total energy by the number of iterations, of a model with one layer: its first `n` steps are those of a model
    that runs `n` iterations, so one analysis holds them all.

    Returns:
        `dict` with `trained_iterations`, and lists with an entry for each depth: `num_iterations`, and those of `accuracy`,
        `token_accuracy`, `attention_energy`, `feedforward_energy` and `total_energy` that were measured.

    Raises:
        `ValueError`: the model has several layers; see [`analyze_depths`].
    """
    if analysis.num_layers != 1:
        raise ValueError(f"`analysis` must be of a model with one layer, got {analysis.num_layers} layers.")
    depths = range(1, analysis.num_iterations + 1)
    found = {"trained_iterations": analysis.trained_iterations, "num_iterations": list(depths)}
    for name in ("accuracy", "token_accuracy", "attention_energy", "feedforward_energy", "total_energy"):
        if name in analysis.statistics:
            found[name] = analysis.statistics[name]["mean"]
    return found


def analyze_depths(
    model: PreTrainedModel,
    batches: Iterable[Mapping[str, Any]],
    num_iterations: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """
    What [`by_depth`] gives, of any model: from one pass over `batches` with one layer, from a pass for each depth with several,
    whose first layer goes as deep as its last.

    Args:
        model ([`HyperSETPreTrainedModel`]): Any model of the family.
        batches (iterable of `Mapping`): As in [`analyze`]; several layers need one that can be iterated again.
        num_iterations (`int`, *optional*): The largest depth; twice the trained one if not given, or the trained one with
            depth-wise LoRA, which has weights for no more.
        progress (`bool`): Whether to show a progress bar.

    Raises:
        `ValueError`: as in [`analyze`], or several layers and batches that can be iterated once only.
    """
    trained = check_model(model, None)
    if num_iterations is None:
        num_iterations = trained * default_multiple(model.config)
    check_model(model, num_iterations)
    quantities = {"energies", "accuracy"} - undefined(model).keys()
    if isinstance(batches, Mapping):
        batches = [batches]
    if model.config.num_hidden_layers == 1:
        return by_depth(analyze(model, batches, num_iterations, quantities, progress=progress))
    if iter(batches) is batches:
        raise ValueError("`batches` must be a list or a data loader for a model with several layers, got an iterator.")
    found = {"trained_iterations": model.config.num_iterations, "num_iterations": list(range(1, num_iterations + 1))}
    for depth in found["num_iterations"]:
        analysis = analyze(model, batches, depth, quantities, progress=progress)
        for name, values in analysis.statistics.items():
            found.setdefault(name, []).append(values["mean"][-1])
    return found

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Accuracy and energy of a model that runs fewer or more iterations than it was trained with."""

from collections.abc import Iterable, Mapping
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from .analysis import Analysis, analyze
from .measuring import check_model, undefined


def default_multiple(config: PreTrainedConfig) -> int:
    """The default largest depth, as a multiple of the trained depth: 2, or 1 with depth-wise LoRA."""
    return 1 if config.lora_rank else 2


def by_depth(analysis: Analysis) -> dict[str, Any]:
    """
    Accuracy and energies by the number of iterations, for a model with one layer. A run with `n` iterations is the same as the
    first `n` steps of a longer one, so one analysis holds all depths.

    Returns:
        `dict` with `trained_iterations`, and lists with an entry for each depth: `num_iterations`, and those of `accuracy`,
        `token_accuracy`, `attention_energy`, `feedforward_energy` and `total_energy` that were measured.

    Raises:
        `ValueError`: the model has several layers. Use [`analyze_depths`].
    """
    if analysis.num_layers != 1:
        raise ValueError(f"`analysis` must be of one layer, got {analysis.num_layers} layers: use `analyze_depths`.")
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
    The same as [`by_depth`], for any model. A model with one layer needs one pass over `batches`. A model with several layers
    needs a pass for each depth, and all its layers run at this depth.

    Args:
        model ([`HyperSETPreTrainedModel`]): Any model of the family.
        batches (iterable of `Mapping`): As in [`analyze`]. With several layers it must allow several passes.
        num_iterations (`int`, *optional*): The largest depth. Default: twice the trained depth, or the trained depth with
            depth-wise LoRA, because it has no weights for more.
        progress (`bool`): Whether to show a progress bar.

    Raises:
        `ValueError`: as in [`analyze`], or several layers and batches that only allow one pass.
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

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The answer after t iterations: what the head makes of the tokens when iteration t is the last."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from transformers import PreTrainedModel

from .measuring import answer_of, base_of, batches_of, check_model, undefined, watching


@dataclass
class Answers:
    """
    What a model answers after 1, 2, … iterations of each layer.

    Args:
        logits (`torch.Tensor` of shape `(num_iterations, batch_size, …, num_labels)`): The answers, in float32.
        energies (`torch.Tensor` of shape `(num_iterations, batch_size, 2)`, *optional*):
            Attention and feedforward energy after the last layer; `None` where the layer is derived from no energy.
        trained_iterations (`int`): Iterations of each layer that the config says.
    """

    logits: torch.Tensor
    energies: torch.Tensor | None
    trained_iterations: int


def answers(model: PreTrainedModel, inputs: Mapping[str, Any], num_iterations: int | None = None) -> Answers:
    """
    What `model(**inputs, num_iterations=t)` answers for every t from 1 on, and its energies. With one layer, the first t steps
    of a deep pass are those of a pass of t iterations: one pass is enough. With several layers there is one for each t.

    Args:
        model ([`HyperSETPreTrainedModel`]): A classifier of samples or of tokens. It is left as it was.
        inputs (`Mapping`): A batch, as the model takes it; `labels` are ignored.
        num_iterations (`int`, *optional*): The largest t; the trained iterations if not given.

    Raises:
        `ValueError`: a model of another family or without classes, or a number that does not fit it.
    """
    num_iterations = check_model(model, num_iterations)
    reasons = undefined(model)
    if "accuracy" in reasons:
        raise ValueError(f"`model` must have an answer: {reasons['accuracy']}.")
    (batch,) = batches_of(inputs, model.device)
    batch = {name: value for name, value in batch.items() if name != "labels"}
    options = {"output_hidden_states": True, "output_energies": "energies" not in reasons, "energy_tolerance": False}
    one_pass = model.config.num_hidden_layers == 1
    states: list[torch.Tensor] = []
    energies: list[torch.Tensor] = []
    with watching(model):
        for depth in [num_iterations] if one_pass else range(1, num_iterations + 1):
            outputs = base_of(model)(**batch, num_iterations=depth, return_dict=True, **options)
            kept = slice(1, None) if one_pass else slice(-1, None)
            states += outputs.hidden_states[kept]
            energies += [] if outputs.energies is None else outputs.energies[slice(None) if one_pass else kept]
        mask = batch.get("attention_mask")
        logits = [answer_of(model, state, None if mask is None else mask.bool()).float() for state in states]
    return Answers(torch.stack(logits), torch.stack(energies) if energies else None, model.config.num_iterations)

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What a causal model does with each token of a text: its energies, and the iterations that it takes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.nn import functional as F

from transformers import PreTrainedModel

from ..checks_hyperset import check_energy_tolerance
from ..modeling_hyperset import HyperSETForCausalLM
from .measuring import base_of, batches_of, check_model, watching


@dataclass
class TextAnalysis:
    """
    Each token of one text, as nested lists for JSON.

    Args:
        tokens: The tokens, as text.
        attention_energy, feedforward_energy: After every iteration, of each token. With several layers, layer by layer.
        surprise: −log p of each token, in nats, given those before it; `None` for the first.
        iterations: With an energy tolerance: how many iterations each token took, summed over the layers. Otherwise `None`.
        energy_tolerance: That tolerance.
    """

    tokens: list[str]
    attention_energy: list[list[float]]
    feedforward_energy: list[list[float]]
    surprise: list[float | None]
    iterations: list[int] | None = None
    energy_tolerance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def analyze_text(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    tokens: list[str],
    num_iterations: int | None = None,
    energy_tolerance: float | None = None,
) -> TextAnalysis:
    """
    Run a causal model over one text.

    Args:
        model ([`HyperSETForCausalLM`]): A causal model whose layer has energies. It is left as it was.
        inputs (`Mapping`): One text as a batch: `input_ids` of shape `(1, seq_len)`, without padding.
        tokens: The `seq_len` tokens as text, for the pictures.
        num_iterations (`int`, *optional*): Iterations of each layer. Default: the trained ones.
        energy_tolerance (`float`, *optional*): Also measure how many iterations each token takes with this adaptive depth.

    Raises:
        `ValueError`: a model of another kind, several texts, or another number of `tokens`.
    """
    num_iterations = check_model(model, num_iterations)
    if not isinstance(model, HyperSETForCausalLM) or not model.config.has_energies:
        raise ValueError(f"`model` must be a HyperSETForCausalLM with energies, got a {type(model).__name__}.")
    if energy_tolerance is not None:
        check_energy_tolerance(energy_tolerance, model.config)
    (batch,) = batches_of(inputs, model.device)
    ids = batch["input_ids"]
    if ids.shape != (1, len(tokens)):
        raise ValueError(
            f"`inputs` must hold one text of {len(tokens)} tokens, got `input_ids` of {tuple(ids.shape)}."
        )
    energies: list[torch.Tensor] = []

    def see(layer, arguments, options, outputs):
        # Fixed depth and no cache: the order is that of the whole text.
        energies.append(layer.token_energies(outputs[0], options["attention_mask"], options["order"])[0].cpu())

    layers = base_of(model).layers
    with watching(model):
        handles = [layer.register_forward_hook(see, with_kwargs=True) for layer in layers]
        try:
            states = base_of(model)(ids, num_iterations=num_iterations, energy_tolerance=False)
        finally:
            for handle in handles:
                handle.remove()
        logits = model.lm_head(states.last_hidden_state)[0].float()
        surprise = F.cross_entropy(logits[:-1], ids[0, 1:], reduction="none").tolist() if len(tokens) > 1 else []
        used = None
        if energy_tolerance is not None:
            adaptive = base_of(model)(ids, num_iterations=num_iterations, energy_tolerance=energy_tolerance)
            used = adaptive.num_iterations_used[0].tolist()
    attention, feedforward = torch.stack(energies).double().unbind(dim=-1)
    return TextAnalysis(tokens, attention.tolist(), feedforward.tolist(), [None, *surprise], used, energy_tolerance)

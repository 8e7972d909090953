# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Where the light Newton step is valid: the largest eigenvalue of C/T, of every token."""

from typing import Any

import torch

from transformers import PreTrainedModel

from ..layers_hyperset import HyperSETAttention
from ..steps_hyperset import normalised
from .measuring import base_of


def largest_eigenvalues(weights: torch.Tensor, values: torch.Tensor, beta: float) -> torch.Tensor:
    """
    The largest eigenvalue of C/T, see [`LightNewton`].

    Args:
        weights (`torch.Tensor` of shape `(…, seq_len, num_keys)`): The attention weights. Rows are divided by their sums.
        values (`torch.Tensor` of shape `(…, num_keys, head_dim)`): What they weigh.
        beta (`float`): β = 1/T.

    Returns:
        `torch.Tensor` of shape `(…, seq_len)`.
    """
    weights, values = normalised(weights.double()), values.double()
    found = []
    for rows in weights.split(64, dim=-2):  # C of each token is a matrix: not those of a long text at once
        centred = values.unsqueeze(-3) - (rows @ values).unsqueeze(-2)
        covariance = (rows.unsqueeze(-1) * centred).mT @ centred
        found.append(beta * torch.linalg.eigvalsh(covariance)[..., -1])
    return torch.cat(found, dim=-1)


@torch.no_grad()
def newton_domain(model: PreTrainedModel, **inputs: Any) -> torch.Tensor:
    """
    The largest eigenvalue of C/T in every iteration. Where it is below one, the series of the inverse Hessian converges that
    [`LightNewton`] cuts. Where it is not, the step is no approximation of Newton's. The model
    may have any update rule.

    Args:
        model ([`PreTrainedModel`]): A model with Hyper-SET's layers and an attention energy that has weights.
        inputs: What the model takes, without a cache.

    Returns:
        `torch.Tensor` of shape `(iterations of all layers, batch_size, num_heads, seq_len)`, NaN at padding.

    Raises:
        `ValueError`: the layers are others, or the attention energy has no weights.

    Example:

    ```python
    >>> import torch
    >>> from modeling_hyperset import HyperSETConfig, HyperSETModel
    >>> from modeling_hyperset.analysis import newton_domain

    >>> config = HyperSETConfig(image_size=32, patch_size=8, hidden_size=64, num_attention_heads=4, update_rule="newton")
    >>> largest = newton_domain(HyperSETModel(config), pixel_values=torch.randn(2, 3, 32, 32))
    >>> largest.shape
    torch.Size([12, 2, 4, 17])
    >>> share = (largest < 1).float().mean()  # of the tokens for which the series converges
    ```
    """
    attentions = [module for module in base_of(model).modules() if isinstance(module, HyperSETAttention)]
    if not attentions or not all(attention.energy.has_weights for attention in attentions):
        raise ValueError(
            "`model` must have layer_type='hyperset' and an attention energy with weights, got "
            f"{model.config.layer_type!r} and {model.config.attention_energy!r}."
        )
    if inputs.get("past_key_values") is not None:
        raise ValueError("`past_key_values` must be None: the values of the tokens before are not known.")
    found: list[torch.Tensor] = []

    def measure(attention: Any, args: tuple, output: tuple) -> None:
        hidden_states, mask, _, delta, _, order = args
        order = None if order is None else order.alone()
        values = attention.roles(hidden_states, order, delta)[2]
        largest = largest_eigenvalues(output[1], values, attention.energy.beta)
        found.append(largest if mask is None else largest.masked_fill(~mask[:, None, :], float("nan")))

    hooks = [attention.register_forward_hook(measure) for attention in attentions]
    was_training = model.training
    try:
        model.eval()(**inputs, output_attentions=True, energy_tolerance=False)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return torch.stack(found)

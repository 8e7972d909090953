# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""How evenly tokens spread in the subspaces: effective rank (Eq. 17) and angles (Eq. 18)."""

import math

import torch
from torch.nn import functional as F

from .layers_hyperset import HyperSETLayer


def effective_rank(tokens: torch.Tensor) -> torch.Tensor:
    """
    exp(−Σ p_i ln p_i) with p_i = σ_i / Σσ, σ the singular values of the uncentred tokens (Eq. 17).

    Args:
        tokens (`torch.Tensor` of shape `(…, seq_len, head_dim)`).

    Returns:
        `torch.Tensor` of shape `(…)`, between 1 and min(seq_len, head_dim).
    """
    values = torch.linalg.svdvals(tokens)
    shares = values / values.sum(dim=-1, keepdim=True)
    return torch.exp(-torch.xlogy(shares, shares).sum(dim=-1))


def cosines(tokens: torch.Tensor) -> torch.Tensor:
    """Cosines of all pairs i < j of `tokens`, `(…, seq_len, dim)` → `(…, seq_len (seq_len − 1) / 2)`."""
    if tokens.shape[-2] < 2:
        raise ValueError(f"`tokens` must hold at least two tokens to have an angle, got {tokens.shape[-2]}.")
    directions = F.normalize(tokens, dim=-1)
    first, second = torch.triu_indices(*[tokens.shape[-2]] * 2, offset=1, device=tokens.device)
    return (directions @ directions.transpose(-1, -2))[..., first, second].clamp(-1, 1)


def angle_of_mean_cosine(tokens: torch.Tensor) -> torch.Tensor:
    """The average angle as Eq. 18 defines it: the arc cosine of the mean cosine over pairs, in degrees; `(…)`."""
    return cosines(tokens).mean(dim=-1).arccos() * (180 / math.pi)


def mean_angle(tokens: torch.Tensor) -> torch.Tensor:
    """The average angle as the authors plot it: the mean over pairs of the arc cosine, in degrees; `(…)`."""
    return cosines(tokens).arccos().mean(dim=-1) * (180 / math.pi)


def subspace_tokens(layer: HyperSETLayer, hidden_states: torch.Tensor) -> torch.Tensor:
    """
    Tokens in the subspaces, on their spheres: W_h x after RMSNorm without gain, with the base weights.

    Args:
        layer ([`HyperSETLayer`]): The layer whose W projects.
        hidden_states (`torch.Tensor` of shape `(batch_size, seq_len, hidden_size)`).

    Returns:
        `torch.Tensor` of shape `(batch_size, num_heads, seq_len, head_dim)`.

    Raises:
        `ValueError`: the layer is a baseline's, which has no such subspaces.
    """
    if not isinstance(layer, HyperSETLayer):
        raise ValueError(f"`layer` must be a HyperSETLayer, got {type(layer).__name__}.")
    attention = layer.attention
    return F.rms_norm(attention.subspaces(hidden_states), (attention.head_dim,), eps=attention.eps)

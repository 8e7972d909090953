# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Measure how evenly tokens spread in the subspaces: effective rank (Eq. 17) and angles (Eq. 18)."""

from concurrent.futures import ThreadPoolExecutor
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from ..baselines_hyperset import SoftmaxAttention
from ..layers_hyperset import HyperSETLayer


# If an eigenvalue is below this share of the largest, all are computed again in float64. In float32 the error of a Gram matrix
# is about 1e-7 of its largest eigenvalue, and Eq. 17 takes the root.
SMALLEST_SHARE = 1e-5
# The most cosines to hold at once.
PAIRS = 2**22


def has_subspaces(layer: nn.Module) -> bool:
    """Whether the layer has one matrix that projects tokens on the subspaces. [`subspace_tokens`] need it."""
    if isinstance(layer, HyperSETLayer):
        return True
    attention = getattr(layer, "attention", None)
    return isinstance(attention, SoftmaxAttention) and len(attention.qkv_projs) == 1


def subspace_tokens(layer: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """
    Tokens in the subspaces, on their spheres: W_h x after RMSNorm without gain (Eq. 4), with the base weights, in float32 at
    least. For the shared-QKV Transformer, CRATE and CRATE-T, as in Figure 13, W is their one projection. It is applied to the
    normalised tokens in the model's dtype. With Hyper-SET's `pre_norm` they are W_h norm(x) after RMSNorm.

    Args:
        layer: The layer that has W.
        hidden_states (`torch.Tensor` of shape `(batch_size, seq_len, hidden_size)`): Tokens before or after an iteration.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_heads, seq_len, head_dim)`, every token of length √head_dim.

    Raises:
        `ValueError`: the layer has different matrices for queries and keys, so it has no such subspaces.
    """
    if not has_subspaces(layer):
        raise ValueError(f"`layer` must project queries and keys with one matrix, but {type(layer).__name__} has two.")
    dtype = torch.promote_types(hidden_states.dtype, torch.float32)
    with torch.autocast(hidden_states.device.type, enabled=False):
        if isinstance(layer, HyperSETLayer):
            head_dim, eps = layer.attention.head_dim, layer.attention.eps
            tokens = layer.attention.subspaces(hidden_states.to(dtype))
        else:
            attention = cast(SoftmaxAttention, layer.attention)
            head_dim, eps = attention.config.head_dim, attention.config.rms_norm_eps
            tokens = attention.qkv_projs[0](cast(nn.Module, layer.attention_norm)(hidden_states))
            tokens = tokens.to(dtype).unflatten(-1, (-1, head_dim)).transpose(1, 2)
        return F.rms_norm(tokens, (head_dim,), eps=eps)


def ranks(tokens: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The effective rank exp(−Σ p_i ln p_i) with p_i = σ_i / Σσ, where σ are the singular values of the uncentred tokens (Eq. 17).
    Then the full rank: the number of σ above the rounding of float32, max(seq_len, head_dim) · 2⁻²³ times the largest.

    Args:
        tokens (`torch.Tensor` of shape `(…, seq_len, head_dim)`).
        mask (`torch.BoolTensor` that broadcasts to `(…, seq_len)`, *optional*): `True` for tokens, `False` for padding.

    Returns:
        Two `torch.Tensor` of shape `(…)`, between 1 and min(seq_len, head_dim). NaN if all tokens are zero or one is not
        finite.
    """
    if mask is not None:
        tokens = tokens * mask.unsqueeze(-1)
    values = singular_values(tokens)
    shares = values / values.sum(dim=-1, keepdim=True)
    effective = torch.exp(-torch.xlogy(shares, shares).sum(dim=-1)).to(tokens.dtype)
    least = max(tokens.shape[-2:]) * torch.finfo(torch.float32).eps * values[..., -1:]
    full = (values > least).sum(dim=-1).to(tokens.dtype)
    return effective, full.where(effective.isfinite(), torch.nan)


def effective_rank(tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """The first of [`ranks`]: Eq. 17."""
    return ranks(tokens, mask)[0]


def singular_values(tokens: torch.Tensor) -> torch.Tensor:
    """
    σ of `(…, seq_len, head_dim)`, in ascending order, of shape `(…, min(seq_len, head_dim))`. They are the roots of the
    eigenvalues of the smaller Gram matrix, in half the time of an SVD.
    """
    rows = tokens.transpose(-1, -2) if tokens.shape[-2] > tokens.shape[-1] else tokens
    gram = rows @ rows.transpose(-1, -2)
    finite = torch.isfinite(gram).all(dim=-1, keepdim=True).all(dim=-2, keepdim=True)
    squares = eigenvalues(gram.where(finite, 0.0))  # LAPACK stops at NaN
    if tokens.dtype != torch.float64:
        again = squares[..., 0] < SMALLEST_SHARE * squares[..., -1]
        if again.any():
            exact = rows[again].double()
            squares = squares.double().masked_scatter(again.unsqueeze(-1), torch.linalg.eigvalsh(exact @ exact.mT))
    return squares.clamp(min=0).sqrt()


def eigenvalues(matrices: torch.Tensor) -> torch.Tensor:
    """`torch.linalg.eigvalsh` on all threads of torch. (On a CPU torch itself takes one matrix after the other.)"""
    threads = torch.get_num_threads()
    flat = matrices.flatten(0, -3) if matrices.ndim > 2 else matrices[None]
    if matrices.device.type != "cpu" or threads == 1 or len(flat) < 8 * threads:
        return torch.linalg.eigvalsh(matrices)
    with ThreadPoolExecutor(threads) as pool:
        values = torch.cat(list(pool.map(torch.linalg.eigvalsh, flat.chunk(threads))))
    return values.unflatten(0, matrices.shape[:-2])


def average_angles(tokens: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The two averages of the angles between tokens, in degrees. They differ, because the arc cosine is not linear.

    Args:
        tokens (`torch.Tensor` of shape `(…, seq_len, dim)`).
        mask (`torch.BoolTensor` that broadcasts to `(…, seq_len)`, *optional*): `True` for tokens, `False` for padding.

    Returns:
        Two `torch.Tensor` of shape `(…)`, NaN for less than two tokens. First the average of Eq. 18: the arc cosine of the mean
        cosine over all pairs. Then the average in the authors' plots: the mean of the arc cosine over all pairs.

    Raises:
        `ValueError`: `seq_len` is less than two.
    """
    if tokens.shape[-2] < 2:
        raise ValueError(f"`tokens` must hold at least two tokens to have an angle, got {tokens.shape[-2]}.")
    directions = F.normalize(tokens, dim=-1)
    shape, (seq_len, dim) = tokens.shape[:-2], tokens.shape[-2:]
    if mask is None:
        weights, count = directions.new_ones(1, seq_len), directions.new_tensor(seq_len)
    else:
        directions = directions * mask.unsqueeze(-1)
        weights = mask.expand(*shape, seq_len).reshape(-1, seq_len).to(directions.dtype)
        count = mask.sum(dim=-1).to(directions.dtype).expand(shape)
    pairs = count * (count - 1)

    # Σ_ij cos = ‖Σ_i u_i‖². Its part Σ_i ‖u_i‖² is not from pairs.
    length = directions.sum(dim=-2).square().sum(dim=-1)
    mean_cosine = (length - directions.square().sum(dim=(-1, -2))) / pairs

    flat = directions.reshape(-1, seq_len, dim)
    total = flat.new_zeros(len(flat))
    block = max(1, PAIRS // max(1, len(flat) * seq_len))
    for start in range(0, seq_len, block):
        rows = slice(start, start + block)
        angles = torch.matmul(flat[:, rows], flat.transpose(-1, -2)).clamp_(-1, 1).acos_()
        angles.diagonal(offset=start, dim1=-2, dim2=-1).zero_()  # of a token with itself
        total += ((angles @ weights.unsqueeze(-1)).squeeze(-1) * weights[:, rows]).sum(dim=-1)
    return torch.rad2deg(mean_cosine.clamp(-1, 1).arccos()), torch.rad2deg(total.reshape(shape) / pairs)


def angle_of_mean_cosine(tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """The first of [`average_angles`]: Eq. 18."""
    return average_angles(tokens, mask)[0]


def mean_angle(tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """The second of [`average_angles`]: the average in the authors' plots."""
    return average_angles(tokens, mask)[1]

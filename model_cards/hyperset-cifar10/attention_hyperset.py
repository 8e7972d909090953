# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Bi-softmax attention (Eq. 7): a plain reference, and implementations that must give the same result.

All take `query`, `key` and `value` of shape (batch_size, num_heads, seq_len, head_dim), a `scaling`, and a boolean `mask` of
shape (batch_size, seq_len) that is `True` for tokens. With S = scaling · query keyᵀ they compute

    y_i = Σ_j (softmax_j(S_ij) + softmax_i(S_ij)) value_j

Both softmaxes leave padding out, and y is zero at padding.
"""

import contextlib
from collections.abc import Callable

import torch
from torch.nn import functional as F

from .attention_op_hyperset import bi_softmax, normaliser, query_of, runs_on
from .configuration_hyperset import HyperSETConfig
from .modes_hyperset import as_autocast, takes_own_operators


# Selects the rows to compute: (…, seq_len, width) → (…, num_rows, width).
RowSelection = Callable[[torch.Tensor], torch.Tensor]


def bi_softmax_eager(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The reference. It forms the scores, and returns the output and the sum of both softmaxes."""
    scores = scaling * (query @ key.transpose(-1, -2))
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is None:
        weights = scores.softmax(dim=-1) + scores.softmax(dim=-2)
    else:
        # The fill is finite, so a sample of only padding stays finite. Its weights become zero below.
        lowest = torch.finfo(scores.dtype).min
        over_keys = scores.masked_fill(~mask[:, None, None, :], lowest).softmax(dim=-1)
        over_queries = scores.masked_fill(~mask[:, None, :, None], lowest).softmax(dim=-2)
        both = mask[:, None, :, None] & mask[:, None, None, :]
        weights = (over_keys + over_queries).masked_fill(~both, 0.0)
    weights = weights.to(value.dtype)
    return weights @ value, weights


@torch.no_grad()
def column_maxima(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, block: int = 512) -> torch.Tensor:
    """max_i query_i·key_j over the queries that are not masked, of shape `(…, seq_len, 1)`. Computed in blocks of keys."""
    maxima = []
    for keys in key.split(block, dim=-2):
        scores = keys @ query.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min)
        maxima.append(scores.amax(dim=-1, keepdim=True))
    return torch.cat(maxima, dim=-2)


def bi_softmax_sdpa(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, None]:
    """
    Three calls of `scaled_dot_product_attention`. They do not form the N × N scores if its kernel does not.

    The first call is the softmax over keys. The softmax over queries is exp(S_ij − c_j), with the column normalisers
    c_j = log Σ_i exp(S_ij). SDPA only returns normalised sums. So each of the two other calls has an extra key, the slot. Its
    score is known, and its share of the softmax gives the normaliser:

    - Call 2 uses keys as queries, and the slot scores b_j = max_i S_ij. Its share s is e^b / (e^b + e^c), so
      c = b + log((1 − s) / s). Because b ≤ c ≤ b + log N, both s and 1 − s are precise in every dtype.
    - Call 3 uses scores S_ij − c_j. The slot scores 0 and has a zero value, so the output is y / (1 + Z) and the slot's share
      is 1 / (1 + Z).
    """
    head_dim = query.shape[-1]
    visible = key_mask = slot_mask = None
    if mask is not None:
        # SDPA gives NaN if every key is masked. So in a sample of only padding no key is masked.
        visible = mask | ~mask.any(dim=-1, keepdim=True)
        key_mask = visible[:, None, None, :]
        slot_mask = F.pad(visible, (0, 1), value=True)[:, None, None, :]

    over_keys = F.scaled_dot_product_attention(query, key, value, attn_mask=key_mask, scale=scaling)

    # Two more channels hold a known score. The others make the width a multiple of eight, as the kernels need.
    width = -(-(head_dim + 2) // 8) * 8

    def widen(tensor, *channels):
        """Append `channels` and zero channels up to `width`."""
        tensor = torch.cat((tensor, *channels), dim=-1)
        return F.pad(tensor, (0, width - tensor.shape[-1]))

    def with_slot(tensor, channel):
        """Append the slot's row: 1 at `channel`, else 0."""
        slot = (torch.arange(width, device=tensor.device) == channel).to(tensor.dtype)
        return torch.cat((tensor, slot.expand(*tensor.shape[:-2], 1, width)), dim=-2)

    # All scores are kept divided by `scaling`. The slot's score is rounded once, so that SDPA sees the same score that is added
    # back later. c does not depend on it.
    slot_score = column_maxima(query, key, visible)
    share = F.scaled_dot_product_attention(
        widen(key, slot_score),
        with_slot(widen(query), head_dim),
        with_slot(widen(torch.zeros_like(value)), 0),
        attn_mask=slot_mask,
        scale=scaling,
    )[..., :1]
    wide = torch.promote_types(share.dtype, torch.float32)
    share = share.to(wide)
    column_normaliser = slot_score.to(wide) + (torch.log1p(-share) - torch.log(share)) / scaling

    # In half precision two channels hold the normaliser: its rounded value, and the rounding error.
    high = column_normaliser.to(key.dtype)
    low = (column_normaliser - high.to(wide)).to(key.dtype)
    ones = torch.ones_like(high)
    over_queries = F.scaled_dot_product_attention(
        widen(query, ones, ones),
        F.pad(widen(key, -high, -low), (0, 0, 0, 1)),
        with_slot(widen(value), head_dim),
        attn_mask=slot_mask,
        scale=scaling,
    )
    output = over_keys + over_queries[..., :head_dim] / over_queries[..., head_dim : head_dim + 1]
    if mask is not None:
        output = output.masked_fill(~mask[:, None, :, None], 0.0)
    return output, None


def bi_softmax_fused(
    tokens: torch.Tensor, gain: torch.Tensor, mask: torch.Tensor | None = None, rows: RowSelection | None = None
) -> torch.Tensor:
    """
    y (or only some `rows` of it) by our own kernels. The queries are `gain` ⊙ tokens; keys and values are the tokens. The
    kernels never hold the scores of all pairs.

    Args:
        tokens (`torch.Tensor` of shape `(batch_size, num_heads, seq_len, head_dim)`): The normalised tokens.
        gain (`torch.Tensor` of shape `(head_dim,)`): The gain of queries times the gain of keys times the scaling.
    """
    device = tokens.device.type
    castable = device != "meta" and tokens.dtype != torch.float64
    tokens = as_autocast(tokens)  # autocast also casts the operands of a matrix product
    if rows is None:
        return bi_softmax(tokens, gain, mask)[0]
    with torch.autocast(device, enabled=False) if castable else contextlib.nullcontext():
        return bi_softmax_rows(rows, tokens, gain, mask, normaliser(tokens, gain, mask))


def bi_softmax_rows(
    rows: RowSelection, tokens: torch.Tensor, gain: torch.Tensor, mask: torch.Tensor | None, normaliser: torch.Tensor
) -> torch.Tensor:
    """
    y of `rows`, a few of the tokens. It only needs the normalisers r_i = log Σ_j exp(S_ij) of all scores. They also normalise
    the softmax over queries, because S is symmetric. On a GPU scores are rounded as in the kernels, so that exp(S − r) is at
    most 1. On a CPU, kernels that multiply bfloat16 round further: the row differs from that of all by that rounding.
    """
    query = query_of(rows(tokens), gain, tokens.device.type)
    dtype, tokens = tokens.dtype, tokens.to(normaliser.dtype)
    scores = query @ tokens.transpose(-1, -2)
    over_queries = (scores - normaliser[..., None, :]).exp()
    if mask is None:
        weights = scores.softmax(dim=-1) + over_queries
    else:
        padding = ~mask[:, None, None, :]
        over_keys = scores.masked_fill(padding, torch.finfo(scores.dtype).min).softmax(dim=-1)
        weights = (over_keys + over_queries).masked_fill(padding | ~rows(mask[:, None, :, None]), 0.0)
    return (weights @ tokens).to(dtype)


def can_fuse(tokens: torch.Tensor) -> bool:
    """Whether our kernels can run here. They do not support every device, and asking one may start a kernel on it."""
    return takes_own_operators() and runs_on(tokens)


# The values of `attn_implementation`, except `fused`: it takes other arguments.
BI_SOFTMAX: dict[str, Callable] = {"eager": bi_softmax_eager, "sdpa": bi_softmax_sdpa}


def implementation_of(config: HyperSETConfig, tokens: torch.Tensor, output_weights: bool) -> str:
    """
    The attention implementation of one call: the config's, or `eager` if weights are asked for (only `eager` returns them) or
    our kernels cannot run.
    """
    name = config._attn_implementation or "eager"
    return "eager" if output_weights or (name == "fused" and not can_fuse(tokens)) else name

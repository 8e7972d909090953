# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Bi-softmax attention (Eq. 7): the plain reference and, beside it, the implementations that must equal it.

All take `query`, `key` and `value` of shape (batch_size, num_heads, seq_len, head_dim), a `scaling` and a boolean `mask`
of shape (batch_size, seq_len) that is `True` for tokens, and compute, with S = scaling · query keyᵀ,

    y_i = Σ_j (softmax_j(S_ij) + softmax_i(S_ij)) value_j

where both softmaxes run over tokens alone and y is zero at padding.
"""

import contextlib
from collections.abc import Callable

import torch
from torch.autograd import forward_ad
from torch.nn import functional as F

from .attention_op_hyperset import bi_softmax, normaliser, runs_on
from .configuration_hyperset import HyperSETConfig


# Takes (…, seq_len, width) to the rows that are wanted.
RowSelection = Callable[[torch.Tensor], torch.Tensor]


def bi_softmax_eager(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The reference: forms the scores, and returns the sum of both softmaxes beside the output."""
    scores = scaling * (query @ key.transpose(-1, -2))
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is None:
        weights = scores.softmax(dim=-1) + scores.softmax(dim=-2)
    else:
        # A finite fill: a sample that is all padding stays finite, and its weights become zero below.
        lowest = torch.finfo(scores.dtype).min
        over_keys = scores.masked_fill(~mask[:, None, None, :], lowest).softmax(dim=-1)
        over_queries = scores.masked_fill(~mask[:, None, :, None], lowest).softmax(dim=-2)
        both = mask[:, None, :, None] & mask[:, None, None, :]
        weights = (over_keys + over_queries).masked_fill(~both, 0.0)
    weights = weights.to(value.dtype)
    return weights @ value, weights


@torch.no_grad()
def column_maxima(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, block: int = 512) -> torch.Tensor:
    """max_i query_i·key_j over the queries that are not masked, `(…, seq_len, 1)`, in blocks of keys."""
    maxima = []
    for keys in key.split(block, dim=-2):
        scores = keys @ query.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min)
        maxima.append(scores.amax(dim=-1, keepdim=True))
    return torch.cat(maxima, dim=-2)


def bi_softmax_sdpa(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, None]:
    """
    Three calls of `scaled_dot_product_attention`, none of which forms the N × N scores when its kernel does not.

    The softmax over keys is the call itself. The softmax over queries is exp(S_ij − c_j) with the column normalisers
    c_j = log Σ_i exp(S_ij). SDPA returns normalised sums only, so each of two calls carries one more key, the slot, whose
    score is known and whose share of the softmax tells the normaliser:

    - keys in the role of queries, the slot scoring b_j = max_i S_ij: its share s is e^b / (e^b + e^c), so that
      c = b + log((1 − s) / s). With b ≤ c ≤ b + log N, neither s nor 1 − s loses anything in any dtype.
    - scores S_ij − c_j, the slot scoring 0 with a zero value: the output is y / (1 + Z) and its share is 1 / (1 + Z).
    """
    head_dim = query.shape[-1]
    visible = key_mask = slot_mask = None
    if mask is not None:
        # SDPA gives NaN where every key is masked: in a sample that is all padding, let every key through.
        visible = mask | ~mask.any(dim=-1, keepdim=True)
        key_mask = visible[:, None, None, :]
        slot_mask = F.pad(visible, (0, 1), value=True)[:, None, None, :]

    over_keys = F.scaled_dot_product_attention(query, key, value, attn_mask=key_mask, scale=scaling)

    # Two more channels hold a known score; the rest keeps the width a multiple of eight, as the kernels want it.
    width = -(-(head_dim + 2) // 8) * 8

    def widen(tensor, *channels):
        """Append `channels` and zero channels up to `width`."""
        tensor = torch.cat((tensor, *channels), dim=-1)
        return F.pad(tensor, (0, width - tensor.shape[-1]))

    def with_slot(tensor, channel):
        """Append the slot's row: 1 at `channel`, else 0."""
        slot = (torch.arange(width, device=tensor.device) == channel).to(tensor.dtype)
        return torch.cat((tensor, slot.expand(*tensor.shape[:-2], 1, width)), dim=-2)

    # Everything about scores is kept divided by `scaling`. The slot's score is rounded once, so that the one SDPA sees is the
    # one that is added back; c does not depend on it.
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

    # Half precision holds the normaliser to within two channels: what it rounds to, and what rounding left.
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
    y of queries `gain` ⊙ tokens with keys and values that are the tokens themselves, or some `rows` of it alone, by our own
    kernels, which never hold the scores of all pairs.

    Args:
        tokens (`torch.Tensor` of shape `(batch_size, num_heads, seq_len, head_dim)`): The normalised tokens.
        gain (`torch.Tensor` of shape `(head_dim,)`): The product of the gains of queries and keys and of the scaling.
    """
    device = tokens.device.type
    castable = device != "meta" and tokens.dtype != torch.float64
    if castable and torch.is_autocast_enabled(device):  # as it casts the operands of a product of matrices
        tokens = tokens.to(torch.get_autocast_dtype(device))
    if rows is None:
        return bi_softmax(tokens, gain, mask)[0]
    with torch.autocast(device, enabled=False) if castable else contextlib.nullcontext():
        return bi_softmax_rows(rows, tokens, gain, mask, normaliser(tokens, gain, mask))


def bi_softmax_rows(
    rows: RowSelection, tokens: torch.Tensor, gain: torch.Tensor, mask: torch.Tensor | None, normaliser: torch.Tensor
) -> torch.Tensor:
    """
    y of `rows`, a few of the tokens. Of the scores of all pairs it needs the normalisers r_i = log Σ_j exp(S_ij) alone, which
    serve the softmax over queries because S is symmetric. Scores are computed as the kernels do, or exp(S − r) might exceed 1.
    """
    dtype, tokens = tokens.dtype, tokens.to(normaliser.dtype)
    query = rows(tokens) * gain
    if tokens.device.type == "cuda":
        query = query.to(dtype).to(tokens.dtype)
    scores = query @ tokens.transpose(-1, -2)
    over_queries = (scores - normaliser[..., None, :]).exp()
    if mask is None:
        weights = scores.softmax(dim=-1) + over_queries
    else:
        padding = ~mask[:, None, None, :]
        over_keys = scores.masked_fill(padding, torch.finfo(scores.dtype).min).softmax(dim=-1)
        weights = (over_keys + over_queries).masked_fill(padding | ~rows(mask[:, None, :, None]), 0.0)
    return (weights @ tokens).to(dtype)


def in_transform() -> bool:
    """Whether a transform of `torch.func` (`grad`, `jvp`, `vmap`, …) is at work, in whose tensors there are others."""
    # torch.compile follows the transforms itself, and takes what is asked here for true always.
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def can_fuse(tokens: torch.Tensor) -> bool:
    """
    Whether our kernels run here: not on every device; an export wants operators that others know; and of derivatives they have
    those of the backward pass alone, where torch would leave out those of the forward mode without a word.
    """
    # The flag itself: before torch 2.12 `is_exporting()` is true in `torch.compile` as well, and 2.6 has none.
    is_exporting = getattr(torch.compiler, "_is_exporting_flag", False)
    is_differentiated_otherwise = in_transform() or forward_ad._current_level >= 0
    return runs_on(tokens) and not (torch.jit.is_tracing() or is_exporting or is_differentiated_otherwise)


# What `attn_implementation` may name beside `fused`, which takes other arguments.
BI_SOFTMAX: dict[str, Callable] = {"eager": bi_softmax_eager, "sdpa": bi_softmax_sdpa}


def implementation_of(config: HyperSETConfig, tokens: torch.Tensor, output_weights: bool) -> str:
    """
    The attention implementation of one call: what the config names, or `eager` where weights are wanted, which no other forms,
    and where our kernels do not run.
    """
    name = config._attn_implementation or "eager"
    return "eager" if output_weights or (name == "fused" and not can_fuse(tokens)) else name

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Causal attention: a token sees itself and what came before, in this call or in the cache.

All functions take `query` of shape (batch_size, num_heads, seq_len, head_dim), and `key` and `value` of shape (batch_size,
num_heads, num_keys, head_dim). An [`Order`] says which keys a token sees.
"""

import torch
from torch.nn import functional as F

from .attention_hyperset import RowSelection
from .order_hyperset import Order


LARGEST_CHANNEL = 6e4  # float16 ends at 65,504
CHUNK = 128


def visible_pairs(order: Order, query: torch.Tensor, key: torch.Tensor, reads_last: bool) -> torch.Tensor | None:
    """Which keys each token sees, of a shape that expands to `(batch_size, 1, seq_len, num_keys)`. `None`: all keys."""
    key_mask = None if order.key_mask is None else order.key_mask[:, None, None, :]
    if reads_last:  # the last token of each sample sees all tokens
        return key_mask
    if not order.is_prefill:
        return order.visible
    pairs = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    # Padding sees all before it. So its softmax is finite, and the caller drops the result.
    return pairs if key_mask is None else pairs & (key_mask | ~key_mask.mT)


def without_padding(tensor: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """`(batch_size, num_heads, seq_len, …)` with zeros at padding. Rows that are not all of the sequence are tokens."""
    if mask is None or tensor.shape[2] != mask.shape[1]:
        return tensor
    return tensor.masked_fill(~mask.view(mask.shape[0], 1, -1, *[1] * (tensor.ndim - 3)), 0.0)


def causal_scores(
    query: torch.Tensor, key: torch.Tensor, scaling: float, order: Order, reads_last: bool = False
) -> torch.Tensor:
    """scaling · query_i·key_j in float32 at least. Keys that a token does not see have the lowest number."""
    scores = scaling * (query @ key.mT)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    pairs = visible_pairs(order, query, key, reads_last)
    return scores if pairs is None else scores.masked_fill(~pairs, torch.finfo(scores.dtype).min)


def causal_softmax(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    order: Order,
    implementation: str,
    reads_last: bool = False,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    y_i = Σ_{j≤i} softmax_j(scaling · query_i·key_j) value_j, and the weights if the implementation is `"eager"`. `"sdpa"` never
    holds the scores of all pairs in a call without a past. With `reads_last`, `query` holds only the last token of each sample.
    `mask`, of shape (batch_size, seq_len), is `False` for padding: `"eager"` weights of its rows are zero.
    """
    if implementation == "eager":
        scores = causal_scores(query, key, scaling, order, reads_last)
        # Padding goes before the product: the weights that a caller records are those that the gradient flows through.
        weights = without_padding(scores.softmax(dim=-1).to(value.dtype), mask)
        return weights @ value, weights
    if order.is_prefill and not reads_last:
        if order.key_mask is not None:
            return masked_sdpa(query, key, value, scaling, order.key_mask), None
        return F.scaled_dot_product_attention(query, key, value, is_causal=query.shape[-2] > 1, scale=scaling), None
    pairs = visible_pairs(order, query, key, reads_last)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=pairs, scale=scaling), None


def masked_sdpa(query, key, value, scaling: float, key_mask: torch.Tensor) -> torch.Tensor:
    """
    Causal SDPA that leaves padding out without a mask of all pairs: one more channel adds −30,000 to the scores of padding,
    whose weights are then exactly zero. (Scores of tokens lie far above that.)
    """
    head_dim = query.shape[-1]
    width = -(-(head_dim + 1) // 8) * 8  # a multiple of eight, as the kernels need
    channel = min((30_000 / scaling) ** 0.5, LARGEST_CHANNEL)

    def widen(tensor, column):
        return F.pad(torch.cat((tensor, column), dim=-1), (0, width - head_dim - 1))

    hidden = torch.where(key_mask, 0.0, -channel).to(key.dtype)[:, None, :, None].expand(*key.shape[:-1], 1)
    wide_query = widen(query, query.new_full((*query.shape[:-1], 1), channel))
    wide_value = F.pad(value, (0, width - head_dim))
    output = F.scaled_dot_product_attention(wide_query, widen(key, hidden), wide_value, is_causal=True, scale=scaling)
    return output[..., :head_dim]


def causal_linear(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    past: torch.Tensor | None,
    rows: RowSelection | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    y_i = (S + Σ_{j≤i} value_j key_jᵀ) query_i, where S is the state of the past, and the state after the last token. Time and
    memory are linear in the sequence: within chunks of tokens the pairs are formed, between chunks only the states. It computes
    in float32 at least, because a state is a sum over all tokens. With `rows`, which are the last token of each sample, only y
    of them.

    Args:
        past (`torch.Tensor` of shape `(batch_size, num_heads, head_dim, head_dim)`, *optional*): S.
    """
    dtype, wide = query.dtype, torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        query, key, value = (tensor.to(wide) for tensor in (query, key, value))
        past = query.new_zeros(*query.shape[:2], query.shape[-1], query.shape[-1]) if past is None else past.to(wide)
        if rows is not None or query.shape[-2] == 1:  # only the last token
            state = past + key.mT @ value
            return ((query if rows is None else rows(query)) @ state).to(dtype), state
        length, chunk = query.shape[-2], min(query.shape[-2], CHUNK)
        padding = -length % chunk
        chunks = (F.pad(tensor, (0, 0, 0, padding)).unflatten(-2, (-1, chunk)) for tensor in (query, key, value))
        query, key, value = chunks
        within = (query @ key.mT).tril() @ value
        states = past[:, :, None] + torch.cumsum(key.mT @ value, dim=2)
        before = torch.cat((past[:, :, None], states[:, :, :-1]), dim=2)
        output = (within + query @ before).flatten(2, 3)[:, :, :length]
        return output.to(dtype), states[:, :, -1]

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
What the siblings that are derived from conditional energies share. Each token descends an energy of its own, while what it sees
(its context, the token's own copy included) is held fixed:

    E(y_i | h) = −β⁻¹ Σ_k log Σ_j exp(β q_k(y_i)·k_k(h_j))

for heads k. In a causal model j ≤ i, otherwise j is any token. Keys are values too, because q_k is linear in y:

    −∂E/∂y_i = Σ_k (∂q_k/∂y)ᵀ Σ_j softmax_j(β q_k(y_i)·k_k(h_j)) k_k(h_j)
"""

import torch
from torch.nn import functional as F

from .attention_hyperset import implementation_of
from .baselines_hyperset import BaselineLayer, keys_to_see, masked_scores
from .causal_attention_hyperset import causal_scores, causal_softmax
from .configuration_hyperset import HyperSETConfig
from .energies_hyperset import sum_over_tokens
from .layers_hyperset import IteratedAttention
from .order_hyperset import Order


class ConditionalAttention(IteratedAttention):
    """
    The attention energy of a conditional layer. A subclass says what queries and keys are. `tokens` and `context` are
    normalised and of shape `(batch_size, seq_len, hidden_size)`. `keys` are what a slot of the cache holds: one tensor of shape
    `(batch_size, any number of heads, num_keys, width)`.
    """

    def __init__(self, config: HyperSETConfig, width: int):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.beta = width**-0.5 if config.attention_beta is None else config.attention_beta

    def queries(self, tokens: torch.Tensor, order: Order | None) -> torch.Tensor:
        """q_k(y_i), of shape `(batch_size, num_heads, seq_len, key_width)`."""
        raise NotImplementedError

    def keys(self, context: torch.Tensor, order: Order | None) -> torch.Tensor:
        """What the cache holds of the context."""
        raise NotImplementedError

    def keys_of_heads(self, keys: torch.Tensor) -> torch.Tensor:
        """k_k(h_j), of shape `(batch_size, num_heads, num_keys, key_width)`, from what the cache holds."""
        raise NotImplementedError

    def back(self, pulled: torch.Tensor, order: Order | None) -> torch.Tensor:
        """The transpose of [`queries`]: `(batch_size, num_heads, seq_len, key_width)` → shaped like the tokens."""
        raise NotImplementedError

    def remember(self, context: torch.Tensor, order: Order | None) -> torch.Tensor:
        """The keys of all tokens so far. Those of `context` go into the cache."""
        keys = self.keys(context, order)
        return order.remember(keys)[0] if order is not None and order.is_causal else keys

    def direction(
        self,
        tokens: torch.Tensor,
        keys: torch.Tensor,
        mask: torch.Tensor | None = None,
        order: Order | None = None,
        output_weights: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        −∂E/∂y with the keys held fixed, shaped like the tokens, and the weights if asked for, of shape `(batch_size, num_heads,
        seq_len, num_keys)`. `keys` come from [`remember`].
        """
        query, key = self.queries(tokens, order), self.keys_of_heads(keys)
        name = implementation_of(self.config, query, output_weights)
        if order is not None and order.is_causal:
            pulled, weights = causal_softmax(query, key, key, self.beta, order, name)
        elif name == "eager":
            weights = masked_scores(query, key, keys_to_see(mask), self.beta).softmax(dim=-1).to(key.dtype)
            pulled = weights @ key
        else:
            pulled = F.scaled_dot_product_attention(query, key, key, attn_mask=keys_to_see(mask), scale=self.beta)
            weights = None
        return self.back(pulled, order), weights if output_weights else None

    def token_values(
        self,
        tokens: torch.Tensor,
        context: torch.Tensor,
        mask: torch.Tensor | None = None,
        order: Order | None = None,
    ) -> torch.Tensor:
        """E(y_i | h) of each token, padding too, of shape `(batch_size, seq_len)`. Nothing goes into the cache."""
        keys = self.keys(context, order)
        query = self.queries(tokens, order)
        if order is not None and order.is_causal:
            past = order.past()
            keys = keys if past is None else torch.cat((past.to(keys.dtype), keys), dim=-2)
            scores = causal_scores(query, self.keys_of_heads(keys), self.beta, order)
        else:
            scores = masked_scores(query, self.keys_of_heads(keys), keys_to_see(mask), self.beta)
        return -scores.logsumexp(dim=-1).sum(dim=1) / self.beta


class ConditionalLayer(BaselineLayer):
    """A layer with a conditional attention energy and an energy of each token alone."""

    keeps = "tokens"
    attention: ConditionalAttention

    def context(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """What other tokens see of `hidden_states`: they are normalised."""
        raise NotImplementedError

    def feedforward_values(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The feedforward energy of each token, of shape `(batch_size, seq_len)`."""
        raise NotImplementedError

    def token_values(self, hidden_states, attention_mask, order):
        tokens = self.context(hidden_states)
        attention = self.attention.token_values(tokens, tokens, attention_mask, order)
        return attention, self.feedforward_values(hidden_states)

    def values(self, hidden_states, attention_mask, order=None):
        attention, feedforward = self.token_values(hidden_states, attention_mask, order)
        return sum_over_tokens(attention, attention_mask), sum_over_tokens(feedforward, attention_mask)

    def remember(self, hidden_states, attention_mask, order):
        self.attention.remember(self.context(hidden_states), order)

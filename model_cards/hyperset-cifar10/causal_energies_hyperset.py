# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Causal attention energies, for models that write text. Each token descends an energy of its own, E_i(z_i | z_1, …, z_i), while
the tokens that it sees are held fixed, its own copy among them. So no token depends on a later one.
"""

import torch

from .attention_hyperset import implementation_of
from .causal_attention_hyperset import causal_linear, causal_scores, causal_softmax, without_padding
from .energies_hyperset import ATTENTION_ENERGIES, PHI, AttentionEnergy
from .order_hyperset import Order


class CausalAttentionEnergy(AttentionEnergy):
    """An attention energy that is a sum of conditional energies, one of each token: E = Σ_h Σ_i E_i(z_i | z_1, …, z_i)."""

    is_causal = True
    keeps: str  # what a slot of the cache holds: "tokens" or a "state"

    def token_values(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor | None = None,
        context: torch.Tensor | None = None,
        order: Order | None = None,
    ) -> torch.Tensor:
        """
        The energy of each token.

        Args:
            tokens (`torch.Tensor` of shape `(batch_size, num_heads, seq_len, head_dim)`): The tokens that move.
            mask (`torch.BoolTensor` of shape `(batch_size, seq_len)`, *optional*): `False` for padding, whose energy is zero.
            context (`torch.Tensor` shaped like `tokens`, *optional*): The tokens that are held fixed. Default: `tokens`.
            order ([`Order`], *optional*): What the tokens see, and the slot of the cache with those before.

        Returns:
            `torch.Tensor` of shape `(batch_size, seq_len)`: the sum over heads.
        """
        raise NotImplementedError

    def value(self, tokens, mask=None, context=None):
        return self.token_values(tokens, mask, context).sum(dim=-1)

    def remember(self, tokens: torch.Tensor, mask: torch.Tensor | None, order: Order) -> None:
        """Put tokens into the slot of the cache as [`direction_with_gains`] does, without computing a direction."""
        raise NotImplementedError


def order_of(mask: torch.Tensor | None, order: Order | None) -> Order:
    """The order of a call without a cache, where none is given."""
    return Order(is_causal=True, key_mask=mask) if order is None else order


@ATTENTION_ENERGIES.register("causal_softmax")
class CausalSoftmaxAttentionEnergy(CausalAttentionEnergy):
    """
    The repulsive energy of Eq. 3 for one token at a time:

        E_i = β⁻¹ Σ_h log Σ_{j≤i} exp(β z_i·z_j),    −∂E_i/∂z_i = −Σ_{j≤i} softmax_j(β z_i·z_j) z_j

    Keys and values are the tokens themselves, up to gains that scale the queries and the result. So the cache keeps one tensor.
    """

    attn_implementations = ("sdpa", "eager")
    keeps = "tokens"

    def token_values(self, tokens, mask=None, context=None, order=None):
        order = order_of(mask, order)
        keys, past = tokens if context is None else context, order.past()
        if past is not None:
            keys = torch.cat((past.to(keys.dtype), keys), dim=-2)
        scores = causal_scores(tokens, keys, self.beta, order)
        return without_padding(scores.logsumexp(dim=-1), mask).sum(dim=1) / self.beta

    def direction(self, query, key, value, mask=None, output_weights=False, order=None):
        order = order_of(mask, order)
        output, weights = causal_softmax(query, key, value, self.beta, order, "eager", mask=mask)
        return -output, weights if output_weights else None

    def direction_with_gains(self, tokens, gains, mask=None, output_weights=False, rows=None, order=None):
        order = order_of(mask, order)
        query_gain, key_gain, value_gain = gains
        keys, _ = order.remember(tokens)
        query = tokens * (query_gain * key_gain)
        query = query if rows is None else rows(query)
        name = implementation_of(self.config, tokens, output_weights)
        output, weights = causal_softmax(query, keys, keys, self.beta, order, name, rows is not None, mask)
        # Weights times the scaled tokens are minus the direction, as in every energy.
        return without_padding(output * -value_gain, mask), weights if output_weights else None

    def remember(self, tokens, mask, order):
        order.remember(tokens)


@ATTENTION_ENERGIES.register("causal_linear")
class CausalLinearAttentionEnergy(CausalAttentionEnergy):
    """
    The linear energy of Table 19 for one token at a time, with the elementwise Φ from `attention_phi`:

        E_i = β/2 Σ_h Σ_{j≤i} (Φ(z_i)·Φ(z_j))²,    −∂E_i/∂z_i = −β Φ′(z_i) ⊙ (Σ_{j≤i} Φ(z_j) Φ(z_j)ᵀ) Φ(z_i)

    Of the past it only needs the head_dim × head_dim matrix S = Σ Φ(z_j) Φ(z_j)ᵀ of each head: the cache does not grow. The
    gains scale Φ(z) (not z, as in `"linear"`), so that S does not depend on them.
    """

    keeps = "state"
    has_weights = False

    def __init__(self, config, beta=None):
        super().__init__(config, beta)
        self.phi = PHI[config.attention_phi]

    def features(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Φ of the tokens, zero at padding."""
        return without_padding(self.phi.function(tokens), mask)

    def token_values(self, tokens, mask=None, context=None, order=None):
        features = self.features(tokens, mask)
        fixed = features if context is None else self.features(context, mask)
        # (Φ(z_i)·Φ(z_j))² summed over j is Φ(z_i)ᵀ S_i Φ(z_i).
        pulled, _ = causal_linear(features, fixed, fixed, None if order is None else order.past())
        return self.beta / 2 * (features * pulled).sum(dim=(1, 3))

    def direction(self, query, key, value, mask=None, output_weights=False, order=None):
        query_part, key_part, value_part = (self.features(tokens, mask) for tokens in (query, key, value))
        output, _ = causal_linear(query_part, key_part, value_part, None if order is None else order.past())
        return -self.beta * self.phi.derivative(query) * output, None

    def direction_with_gains(self, tokens, gains, mask=None, output_weights=False, rows=None, order=None):
        order = order_of(mask, order)
        query_gain, key_gain, value_gain = gains
        features, slope = self.features(tokens, mask), self.phi.derivative(tokens)
        slope = slope if rows is None else rows(slope)
        output, state = causal_linear(features * (query_gain * key_gain), features, features, order.past(), rows)
        order.keep_state(state, tokens.shape[2])
        return -self.beta * value_gain * slope * output, None

    def remember(self, tokens, mask, order):
        features = self.features(tokens, mask)
        _, state = causal_linear(features, features, features, order.past())
        order.keep_state(state, tokens.shape[2])

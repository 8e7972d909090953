# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The energies of Hyper-SET: each computes its value and, in closed form, its direction of descent.

To add an energy, write a subclass of [`AttentionEnergy`] or [`FeedforwardEnergy`] with two methods, and register it under a
name. `HyperSETConfig.attention_energy` or `.feedforward_energy` then accepts that name.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

from .attention_hyperset import BI_SOFTMAX, RowSelection, bi_softmax_eager, bi_softmax_fused, implementation_of
from .configuration_hyperset import HyperSETConfig
from .registry_hyperset import Registry


# Elementwise functions Φ of the linear attention and gated feedforward energies (Tables 19 and 20).

Elementwise = Callable[[torch.Tensor], torch.Tensor]


class Phi(NamedTuple):
    """Φ and Φ′. Each takes a tensor and returns one of the same shape."""

    function: Elementwise
    derivative: Elementwise


def sigmoid_derivative(x: torch.Tensor) -> torch.Tensor:
    sigmoid = x.sigmoid()
    return sigmoid * (1 - sigmoid)


def silu_derivative(x: torch.Tensor) -> torch.Tensor:
    sigmoid = x.sigmoid()
    return sigmoid * (1 + x * (1 - sigmoid))


def gelu_derivative(x: torch.Tensor) -> torch.Tensor:
    density = torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)
    return 0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * density


def elu_derivative(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(max=0).exp()


PHI: dict[str, Phi] = {
    "sigmoid": Phi(torch.sigmoid, sigmoid_derivative),
    "relu": Phi(F.relu, lambda x: (x > 0).to(x.dtype)),
    "tanh": Phi(torch.tanh, lambda x: 1 - x.tanh().square()),
    "softplus": Phi(F.softplus, torch.sigmoid),
    "silu": Phi(F.silu, silu_derivative),
    "gelu": Phi(F.gelu, gelu_derivative),
    "elu": Phi(F.elu, elu_derivative),
    "elu_plus_one": Phi(lambda x: F.elu(x) + 1, elu_derivative),
}


class AttentionEnergy:
    """
    An energy of how tokens spread over H subspaces, E_ATTN = Σ_h E_ATTN^h (Eq. 4).

    Args:
        config ([`HyperSETConfig`]): The model's configuration.
        beta (`float`, *optional*): Inverse temperature β; the config's, or 1/√p, if not given (Eq. 7).
    """

    attn_implementations: tuple[str, ...] = ("eager",)  # values of `attn_implementation`, the default first
    has_weights = True  # whether the direction comes from attention weights, which it can return
    is_causal = False  # whether a token only sees those before it, see `causal_energies_hyperset.py`

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "direction" in vars(cls):  # the fast implementations of a parent compute the parent's direction
            for name in ("attn_implementations", "direction_with_gains"):
                if name not in vars(cls):
                    setattr(cls, name, vars(AttentionEnergy)[name])

    def __init__(self, config: HyperSETConfig, beta: float | None = None):
        self.config = config
        beta = config.attention_beta if beta is None else beta
        self.beta = config.head_dim**-0.5 if beta is None else beta

    def value(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """
        The energy of each sample.

        Args:
            tokens (`torch.Tensor` of shape `(batch_size, num_heads, seq_len, head_dim)`):
                Tokens projected on each subspace and put on its sphere: RMSNorm(W_h x) without gain (Eqs. 2 and 4).
            mask (`torch.BoolTensor` of shape `(batch_size, seq_len)`, *optional*):
                `True` for tokens, `False` for padding. Padding is left out.

        Returns:
            `torch.Tensor` of shape `(batch_size,)`.
        """
        raise NotImplementedError

    def direction(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None = None,
        output_weights: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        The direction of descent. If `query`, `key` and `value` all equal the tokens of [`value`], it is −∇ of that value with
        respect to the tokens that move. In the paper's energies all tokens move. In a causal energy the tokens that a token
        sees are held fixed. The layer may scale the three by learned gains.

        Args:
            query, key, value (`torch.Tensor` of shape `(batch_size, num_heads, seq_len, head_dim)`):
                The normalised tokens in their three roles.
            mask (`torch.BoolTensor` of shape `(batch_size, seq_len)`, *optional*):
                `True` for tokens, `False` for padding. The direction of padding is zero.
            output_weights (`bool`): Whether to return the attention weights as well.

        Returns:
            The direction, shaped like `value`, and the non-negative weights of shape `(batch_size, num_heads, seq_len,
            seq_len)`. Weights times `value` is minus the direction. They are `None` if not asked for, or if the energy has
            none.
        """
        raise NotImplementedError

    def direction_with_gains(
        self,
        tokens: torch.Tensor,
        gains: Sequence[torch.Tensor],
        mask: torch.Tensor | None = None,
        output_weights: bool = False,
        rows: RowSelection | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        The direction for the layer: [`direction`] of the tokens scaled by the gains. Energies can override it, to avoid three
        scaled copies of the tokens, or to compute some rows faster than all.

        Args:
            tokens (`torch.Tensor` of shape `(batch_size, num_heads, seq_len, head_dim)`): The normalised tokens of [`value`].
            gains (three `torch.Tensor` of shape `(head_dim,)`): For queries, keys and values.
            mask, output_weights: As in [`direction`].
            rows (callable, *optional*):
                `(…, seq_len, width)` → `(…, num_rows, width)`: selects the rows of the direction to compute.
        """
        query, key, value = [tokens * gain for gain in gains]
        direction, weights = self.direction(query, key, value, mask, output_weights)
        return direction if rows is None else rows(direction), weights


ATTENTION_ENERGIES: Registry[AttentionEnergy] = Registry("attention_energy", AttentionEnergy)
register_attention_energy = ATTENTION_ENERGIES.register


@ATTENTION_ENERGIES.register("bi_softmax")
class BiSoftmaxAttentionEnergy(AttentionEnergy):
    """
    The paper's repulsive energy (Eq. 3) and its doubly symmetric attention (Eq. 7):

        E = β⁻¹ Σ_h Σ_i log Σ_j exp(β z_i·z_j),    −∇E = −(softmax over keys + softmax over queries)(β Z Zᵀ) Z
    """

    attn_implementations = ("fused", *BI_SOFTMAX)

    def value(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        scores = self.beta * (tokens @ tokens.transpose(-1, -2))
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min)
        per_token = torch.logsumexp(scores, dim=-1)
        if mask is not None:
            per_token = per_token.masked_fill(~mask[:, None, :], 0.0)
        return per_token.sum(dim=(1, 2)) / self.beta

    def direction(self, query, key, value, mask=None, output_weights=False):
        output, weights = bi_softmax_eager(query, key, value, scaling=self.beta, mask=mask)
        return -output, weights if output_weights else None

    def direction_with_gains(self, tokens, gains, mask=None, output_weights=False, rows=None):
        name = implementation_of(self.config, tokens, output_weights)
        if name == "eager":
            return super().direction_with_gains(tokens, gains, mask, output_weights, rows)
        # S only depends on the product of the first two gains, and y is linear in the third. So only the queries are scaled.
        # Keys and values are the tokens themselves.
        query_gain, key_gain, value_gain = gains
        if name == "fused":
            return bi_softmax_fused(tokens, self.beta * query_gain * key_gain, mask, rows) * -value_gain, None
        output, _ = BI_SOFTMAX[name](tokens * (query_gain * key_gain), tokens, tokens, self.beta, mask)
        return (output if rows is None else rows(output)) * -value_gain, None


@ATTENTION_ENERGIES.register("sigmoid")
class SigmoidAttentionEnergy(AttentionEnergy):
    """
    Sigmoid attention (Table 19):

        E = 1/(2β) Σ_h Σ_ij σ(β z_i·z_j),    −∇E = −σ(1 − σ)(β Z Zᵀ) Z
    """

    def value(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        pairs = torch.sigmoid(self.beta * (tokens @ tokens.transpose(-1, -2)))
        if mask is not None:
            pairs = pairs.masked_fill(~pairs_of(mask), 0.0)
        return pairs.sum(dim=(1, 2, 3)) / (2 * self.beta)

    def direction(self, query, key, value, mask=None, output_weights=False):
        scores = self.beta * (query @ key.transpose(-1, -2))
        weights = PHI["sigmoid"].derivative(scores)
        if mask is not None:
            weights = weights.masked_fill(~pairs_of(mask), 0.0)
        return -(weights @ value), weights if output_weights else None


@ATTENTION_ENERGIES.register("linear")
class LinearAttentionEnergy(AttentionEnergy):
    """
    Linear attention (Table 19), with the elementwise Φ from `attention_phi`:

        E = β/4 Σ_h Σ_ij (Φ(z_i)·Φ(z_j))² = β/4 Σ_h ‖Φ(Z)ᵀ Φ(Z)‖²,    −∇E = −β Φ(Z) Φ(Z)ᵀ Φ(Z) ⊙ Φ′(Z)

    Both are computed with the head_dim × head_dim matrix Φ(Z)ᵀ Φ(Z). So time and memory are linear in the sequence, and no
    attention weights exist. The sums grow with the sequence: if Φ is not bounded, float16 overflows at thousands of tokens.
    """

    has_weights = False

    def __init__(self, config: HyperSETConfig, beta: float | None = None):
        super().__init__(config, beta)
        self.phi = PHI[config.attention_phi]

    def features(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Φ of the tokens, zero at padding."""
        features = self.phi.function(tokens)
        return features if mask is None else features.masked_fill(~mask[:, None, :, None], 0.0)

    def value(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        features = self.features(tokens, mask)
        return self.beta / 4 * (features.transpose(-1, -2) @ features).square().sum(dim=(1, 2, 3))

    def direction(self, query, key, value, mask=None, output_weights=False):
        moments = self.beta * (self.features(query, mask).transpose(-1, -2) @ self.features(key, mask))
        return -(self.features(value, mask) @ moments) * self.phi.derivative(query), None


def pairs_of(mask: torch.Tensor) -> torch.Tensor:
    """`(batch_size, seq_len)` → `(batch_size, 1, seq_len, seq_len)`: the pairs without padding."""
    return mask[:, None, :, None] & mask[:, None, None, :]


class FeedforwardEnergy:
    """
    An energy of how tokens align with M directions, E_FF (Eq. 5).

    Args:
        config ([`HyperSETConfig`]): The model's configuration.
    """

    def __init__(self, config: HyperSETConfig):
        self.config = config

    def value(self, projections: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """
        The energy of each sample: the sum of [`token_values`] without padding.

        Args:
            projections (`torch.Tensor` of shape `(batch_size, seq_len, M)`):
                Tokens projected on the directions and put on the sphere: RMSNorm(D x) without gain (Eq. 5).
            mask (`torch.BoolTensor` of shape `(batch_size, seq_len)`, *optional*):
                `True` for tokens, `False` for padding. Padding is left out.

        Returns:
            `torch.Tensor` of shape `(batch_size,)`.
        """
        return sum_over_tokens(self.token_values(projections), mask)

    def token_values(self, projections: torch.Tensor) -> torch.Tensor:
        """The energy of each token, padding too: `(batch_size, seq_len, M)` → `(batch_size, seq_len)`."""
        raise NotImplementedError

    def direction(self, projections: torch.Tensor) -> torch.Tensor:
        """
        The direction of descent: −∇ of [`value`] with respect to `projections` (for tokens that are not padding).

        Args:
            projections (`torch.Tensor` of shape `(batch_size, seq_len, M)`):
                The normalised projections, scaled by the layer's learned gain.

        Returns:
            `torch.Tensor` of the same shape.
        """
        raise NotImplementedError


FEEDFORWARD_ENERGIES: Registry[FeedforwardEnergy] = Registry("feedforward_energy", FeedforwardEnergy)
register_feedforward_energy = FEEDFORWARD_ENERGIES.register


@FEEDFORWARD_ENERGIES.register("relu")
class ReLUFeedforwardEnergy(FeedforwardEnergy):
    """
    The paper's attractive energy (Eq. 5) and its feedforward (Eq. 10):

        E = −½ Σ_i Σ_m ReLU(h_im)²,    −∇E = ReLU(h)

    With `hidden_act="gelu"`, as in the authors' image models, the direction is GELU(h), but the value is still that of ReLU.
    So the direction is only close to the gradient of the reported energy. `"gelu"` is the config's default.
    """

    def __init__(self, config: HyperSETConfig):
        super().__init__(config)
        activations: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"relu": F.relu, "gelu": F.gelu}
        self.activation = activations[config.hidden_act]

    def token_values(self, projections: torch.Tensor) -> torch.Tensor:
        return -0.5 * F.relu(projections).square().sum(dim=-1)

    def direction(self, projections: torch.Tensor) -> torch.Tensor:
        return self.activation(projections)


@FEEDFORWARD_ENERGIES.register("softmax")
class SoftmaxFeedforwardEnergy(FeedforwardEnergy):
    """
    Softmax feedforward (Table 20):

        E = −Σ_i log Σ_m exp(h_im),    −∇E = softmax(h)
    """

    def token_values(self, projections: torch.Tensor) -> torch.Tensor:
        return -projections.logsumexp(dim=-1)

    def direction(self, projections: torch.Tensor) -> torch.Tensor:
        return projections.softmax(dim=-1)


@FEEDFORWARD_ENERGIES.register("gated")
class GatedFeedforwardEnergy(FeedforwardEnergy):
    """
    Gated feedforward (Table 20), with the elementwise Φ from `feedforward_phi`:

        E = −½ Σ_i (Σ_m Φ(h_im))²,    −∇E = (Σ_m Φ(h_im)) Φ′(h)
    """

    def __init__(self, config: HyperSETConfig):
        super().__init__(config)
        self.phi = PHI[config.feedforward_phi]

    def token_values(self, projections: torch.Tensor) -> torch.Tensor:
        return -0.5 * self.phi.function(projections).sum(dim=-1).square()

    def direction(self, projections: torch.Tensor) -> torch.Tensor:
        return self.phi.function(projections).sum(dim=-1, keepdim=True) * self.phi.derivative(projections)


def sum_over_tokens(per_token: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """`(batch_size, seq_len)` → `(batch_size,)`, without padding."""
    return (per_token if mask is None else per_token.masked_fill(~mask, 0.0)).sum(dim=-1)

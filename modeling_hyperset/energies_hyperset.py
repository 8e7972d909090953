# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The energies of Hyper-SET: each knows its value and, in closed form, its direction of descent.

A new energy is one subclass of [`AttentionEnergy`] or [`FeedforwardEnergy`] with two methods, registered under the name
that `HyperSETConfig.attention_energy` or `.feedforward_energy` then accepts.
"""

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from .attention_hyperset import BI_SOFTMAX_FUNCTIONS, bi_softmax_eager


if TYPE_CHECKING:
    from .configuration_hyperset import HyperSETConfig


class AttentionEnergy:
    """
    An energy of how tokens spread over H subspaces, E_ATTN = Σ_h E_ATTN^h (Eq. 4).

    Args:
        config ([`HyperSETConfig`]): The model's configuration.
        beta (`float`, *optional*): Inverse temperature β; 1/√p if not given (Eq. 7).
    """

    def __init__(self, config: "HyperSETConfig", beta: float | None = None):
        self.config = config
        self.beta = config.head_dim**-0.5 if beta is None else beta

    def value(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """
        The energy of each sample.

        Args:
            tokens (`torch.Tensor` of shape `(batch_size, num_heads, seq_len, head_dim)`):
                Tokens projected on each subspace and put on its sphere: RMSNorm(W_h x) without gain (Eqs. 2 and 4).
            mask (`torch.BoolTensor` of shape `(batch_size, seq_len)`, *optional*):
                `True` for tokens, `False` for padding, which takes no part.

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
        The direction of descent. With `query`, `key` and `value` all equal to the tokens of [`value`] it is −∇ of that
        value with respect to the tokens; the layer may scale the three by learned gains.

        Args:
            query, key, value (`torch.Tensor` of shape `(batch_size, num_heads, seq_len, head_dim)`):
                The normalised tokens in their three roles.
            mask (`torch.BoolTensor` of shape `(batch_size, seq_len)`, *optional*):
                `True` for tokens, `False` for padding, whose direction is zero.
            output_weights (`bool`): Whether to return the attention weights as well.

        Returns:
            The direction, shaped like `value`, and the non-negative weights of shape `(batch_size, num_heads, seq_len,
            seq_len)` whose product with `value` is minus the direction, or `None` if they were not asked for or do not
            exist.
        """
        raise NotImplementedError


class BiSoftmaxAttentionEnergy(AttentionEnergy):
    """
    The paper's repulsive energy (Eq. 3) and its doubly symmetric attention (Eq. 7):

        E = β⁻¹ Σ_h Σ_i log Σ_j exp(β z_i·z_j),    −∇E = −(softmax over keys + softmax over queries)(β Z Zᵀ) Z
    """

    def value(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        scores = self.beta * (tokens @ tokens.transpose(-1, -2))
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min)
        per_token = torch.logsumexp(scores, dim=-1)
        if mask is not None:
            per_token = per_token.masked_fill(~mask[:, None, :], 0.0)
        return per_token.sum(dim=(1, 2)) / self.beta

    def direction(self, query, key, value, mask=None, output_weights=False):
        # Only the plain reference forms the weights.
        name = "eager" if output_weights else self.config._attn_implementation or "eager"
        attention = BI_SOFTMAX_FUNCTIONS.get(name, bi_softmax_eager)
        output, weights = attention(query, key, value, scaling=self.beta, mask=mask)
        return -output, weights if output_weights else None


class FeedforwardEnergy:
    """
    An energy of how tokens align with M directions, E_FF (Eq. 5).

    Args:
        config ([`HyperSETConfig`]): The model's configuration.
    """

    def __init__(self, config: "HyperSETConfig"):
        self.config = config

    def value(self, projections: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """
        The energy of each sample.

        Args:
            projections (`torch.Tensor` of shape `(batch_size, seq_len, M)`):
                Tokens projected on the directions and put on the sphere: RMSNorm(D x) without gain (Eq. 5).
            mask (`torch.BoolTensor` of shape `(batch_size, seq_len)`, *optional*):
                `True` for tokens, `False` for padding, which takes no part.

        Returns:
            `torch.Tensor` of shape `(batch_size,)`.
        """
        raise NotImplementedError

    def direction(self, projections: torch.Tensor) -> torch.Tensor:
        """
        The direction of descent, −∇ of [`value`] with respect to `projections` (for tokens that are not padding).

        Args:
            projections (`torch.Tensor` of shape `(batch_size, seq_len, M)`):
                The normalised projections, scaled by the layer's learned gain.

        Returns:
            `torch.Tensor` of the same shape.
        """
        raise NotImplementedError


class ReLUFeedforwardEnergy(FeedforwardEnergy):
    """
    The paper's attractive energy (Eq. 5) and its feedforward (Eq. 10):

        E = −½ Σ_i Σ_m ReLU(h_im)²,    −∇E = ReLU(h)

    With `hidden_act="gelu"`, as in the authors' image models, the layer applies GELU(h) as its direction while the value
    stays the ReLU one: the direction is then close to, but not, the gradient of the reported energy.
    """

    def __init__(self, config: "HyperSETConfig"):
        super().__init__(config)
        self.activation = {"relu": F.relu, "gelu": F.gelu}[config.hidden_act]

    def value(self, projections: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        per_token = -0.5 * F.relu(projections).square().sum(dim=-1)
        if mask is not None:
            per_token = per_token.masked_fill(~mask, 0.0)
        return per_token.sum(dim=-1)

    def direction(self, projections: torch.Tensor) -> torch.Tensor:
        return self.activation(projections)


ATTENTION_ENERGIES: dict[str, type[AttentionEnergy]] = {"bi_softmax": BiSoftmaxAttentionEnergy}
FEEDFORWARD_ENERGIES: dict[str, type[FeedforwardEnergy]] = {"relu": ReLUFeedforwardEnergy}

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""NRGPT (arXiv 2512.16762): one block iterated, energies with a full matrix per head, and a free projection of the gradient."""

from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from .conditional_hyperset import ConditionalAttention, ConditionalLayer
from .configuration_hyperset import HyperSETConfig
from .energies_hyperset import PHI
from .layers_hyperset import LAYERS
from .order_hyperset import Order
from .projection_hyperset import HyperSETProjection, symmetric


class NRGPTAttention(ConditionalAttention):
    """
    E(y_i | h) = −β⁻¹ Σ_k log Σ_{j≤i} exp(β y_iᵀ H_k h_j), with a full matrix H_k, d × d, for each head:

        −∂E/∂y_i = Σ_k H_k Σ_{j≤i} softmax_j(β y_iᵀ H_k h_j) h_j

    The paper has β = 1. Here it is 1/√d unless `attention_beta` is set, so that scores of a new wide model stay small. All
    heads share their keys, the normalised tokens themselves. So a slot of the cache holds one tensor of width d.

    `interactions.weight` is [H_1, …, H_K]ᵀ, of shape `(num_heads · hidden_size, hidden_size)`.
    """

    def __init__(self, config: HyperSETConfig):
        super().__init__(config, config.hidden_size)
        self.interactions = HyperSETProjection(config.hidden_size, self.num_heads * config.hidden_size)

    def in_blocks(self, order: Order) -> Order:
        """The order for tokens in blocks of `head_dim` channels, `(batch_size, heads, seq_len, blocks, head_dim)`."""
        assert order.rotary is not None
        cosines, sines = order.rotary
        return replace(order, rotary=(cosines.unsqueeze(-2), sines.unsqueeze(-2)))

    def turn(self, tokens: torch.Tensor, order: Order | None, back: bool = False) -> torch.Tensor:
        """Tokens of width d, `(batch_size, heads, seq_len, hidden_size)`, of which rotary positions turn each block."""
        if order is None or order.rotary is None:
            return tokens
        blocks, order = tokens.unflatten(-1, (-1, self.config.head_dim)), self.in_blocks(order)
        return (order.turn_back(blocks) if back else order.rotate(blocks)).flatten(-2)

    def queries(self, tokens: torch.Tensor, order: Order | None) -> torch.Tensor:
        query = symmetric(self.interactions)(tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        return self.turn(query, order)

    def keys(self, context: torch.Tensor, order: Order | None) -> torch.Tensor:
        return self.turn(context.unsqueeze(1), order)

    def keys_of_heads(self, keys: torch.Tensor) -> torch.Tensor:
        return keys.expand(-1, self.num_heads, -1, -1)

    def back(self, pulled: torch.Tensor, order: Order | None) -> torch.Tensor:
        pulled = self.turn(pulled, order, back=True)
        return symmetric(self.interactions).back(pulled.transpose(1, 2).flatten(2))

    def forward(self, tokens, attention_mask=None, output_attentions=False, order=None):
        """The direction at normalised `tokens`, which are their own context, and the weights if asked for."""
        return self.direction(tokens, self.remember(tokens, order), attention_mask, order, output_attentions)


class NRGPTFeedforward(nn.Module):
    """E(y) = −‖σ(W y)‖² with σ from `hidden_act`; −∂E/∂y = 2 Wᵀ(σ(W y) ⊙ σ′(W y))."""

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.memories = HyperSETProjection(config.hidden_size, config.intermediate_size)  # type: ignore[arg-type]
        self.phi = PHI[config.hidden_act]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The direction, shaped like `tokens`."""
        memories = symmetric(self.memories)
        hidden = memories(tokens)
        return memories.back(2 * self.phi.function(hidden) * self.phi.derivative(hidden))

    def token_values(self, tokens: torch.Tensor) -> torch.Tensor:
        """The energy of each token, of shape `(batch_size, seq_len)`."""
        return -self.phi.function(symmetric(self.memories)(tokens)).square().sum(dim=-1)


class Scale(nn.Module):
    """A learned factor that starts at one."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.weight * tensor


@LAYERS.register("nrgpt")
class NRGPTLayer(ConditionalLayer):
    """
    x ← x − P (∂E_ATTN/∂y + s ∂E_FF/∂y), y = LayerNorm(x) without gain and bias. Both energies act in parallel, with a learned
    factor s. P is any d × d matrix, so a step need not go down. `energies` are E_ATTN and s E_FF.
    """

    @classmethod
    def attn_implementations(cls, config):
        return ("sdpa", "eager")

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.eps = config.layer_norm_eps
        self.attention = NRGPTAttention(config)
        self.feedforward = NRGPTFeedforward(config)
        self.feedforward_scale = Scale()
        self.projection = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def context(self, hidden_states):
        return F.layer_norm(hidden_states, hidden_states.shape[-1:], eps=self.eps)

    def direction(self, tokens, attention_mask=None, output_attentions=False, order=None) -> torch.Tensor:
        """Minus the gradient of both energies with respect to normalised tokens, before P."""
        attended, _ = self.attention(tokens, attention_mask, output_attentions, order)
        return attended + self.feedforward_scale(self.feedforward(tokens))

    def move(self, hidden_states, attention_mask, output_attentions, order):
        direction = self.direction(self.context(hidden_states), attention_mask, output_attentions, order)
        return hidden_states + self.projection(direction)

    def feedforward_values(self, hidden_states):
        return self.feedforward_scale(self.feedforward.token_values(self.context(hidden_states)))

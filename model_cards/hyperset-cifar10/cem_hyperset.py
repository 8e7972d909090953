# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Causal Energy Minimization, CEM (arXiv 2605.07588): a layer descends two conditional energies. This is a reconstruction from the
paper's abstract and from what readers tell of it, not from its program. What is ours is marked.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .conditional_hyperset import ConditionalAttention, ConditionalLayer
from .configuration_hyperset import HyperSETConfig
from .energies_hyperset import PHI, Elementwise
from .layers_hyperset import LAYERS, make_norm
from .order_hyperset import Order
from .projection_hyperset import HyperSETProjection, symmetric


def gelu_antiderivative(z: torch.Tensor) -> torch.Tensor:
    """Φ with Φ′ = GELU: ((z² − 1) P(z) + z p(z)) / 2, where P and p are the normal distribution and its density."""
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return 0.5 * ((z.square() - 1) * torch.special.ndtr(z) + z * density)


def relu_antiderivative(z: torch.Tensor) -> torch.Tensor:
    """Φ with Φ′ = ReLU."""
    return 0.5 * F.relu(z).square()


# Of the activations that `hidden_act` names.
ANTIDERIVATIVES: dict[str, Elementwise] = {"gelu": gelu_antiderivative, "relu": relu_antiderivative}


class Preconditioner(nn.Module):
    """
    P = diag(softplus(p)) + U Uᵀ, positive definite, of rank r (`preconditioner_rank`) beside the diagonal.

    It starts as the identity. U = 0 would get no gradient, so U starts with √½ at r channels, one in each column, and there the
    diagonal starts at ½. (Ours, as its width and start are not known.)
    """

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        d, rank = config.hidden_size, config.preconditioner_rank or 0
        self.diagonal = nn.Parameter(torch.zeros(d))
        self.factor = nn.Parameter(torch.zeros(d, rank)) if rank else None

    def start(self) -> dict[str, torch.Tensor]:
        """The values of the parameters in a new model, by name."""
        factor = torch.zeros(len(self.diagonal), 0 if self.factor is None else self.factor.shape[1])
        if self.factor is not None:
            factor.fill_diagonal_(0.5**0.5)
        diagonal = 1 - factor.square().sum(dim=-1)
        raw = diagonal.expm1().log()  # the inverse of softplus
        return {"diagonal": raw} if self.factor is None else {"diagonal": raw, "factor": factor}

    def forward(self, direction: torch.Tensor) -> torch.Tensor:
        """P times each token, of shape `(batch_size, seq_len, hidden_size)`."""
        moved = F.softplus(self.diagonal) * direction
        return moved if self.factor is None else moved + (direction @ self.factor) @ self.factor.mT


def make_preconditioner(config: HyperSETConfig) -> nn.Module:
    return nn.Identity() if config.preconditioner_rank is None else Preconditioner(config)


class CEMInteraction(ConditionalAttention):
    """
    The conditional interaction energy, with A_k the interaction of head k:

        E(y_i | h) = −β⁻¹ Σ_k log Σ_{j≤i} exp(β y_iᵀ A_k h_j)

    Without a diagonal A_k = W_Qkᵀ W_Kk, and −∂E/∂y is multi-head attention with W_V = W_K and W_O = W_Qᵀ. The diagonals are
    (`interaction_diagonal`):

    - `"full"`: A_k = diag(d_k) + W_Qkᵀ W_Kk with d_k of width d. That is a head of width p + d, with the query
      [W_Qk y; d_k ⊙ y] and the key [W_Kk h; h]. Rotary positions turn the first part alone. A slot of the cache is 2 d wide.
    - `"head"`: A_k = W_Qkᵀ diag(1 + d_k) W_Kk with d_k of width p, a cheap alternative of ours.

    The d_k start at zero. β is 1/√p or `attention_beta`.
    """

    def __init__(self, config: HyperSETConfig):
        super().__init__(config, config.head_dim)
        d, self.head_dim = config.hidden_size, config.head_dim
        self.norm = make_norm(config, config.sublayer_norm_type)
        self.q_proj = HyperSETProjection(d, d)
        self.k_proj = HyperSETProjection(d, d)
        self.kind = config.interaction_diagonal
        width = {"none": None, "head": self.head_dim, "full": d}[self.kind]
        self.diagonals = None if width is None else Diagonals(self.num_heads, width)
        self.preconditioner = make_preconditioner(config)
        self.inner_steps = config.inner_steps

    def heads(self, tensor: torch.Tensor) -> torch.Tensor:
        """`(batch_size, seq_len, hidden_size)` → `(batch_size, num_heads, seq_len, head_dim)`."""
        return tensor.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def queries(self, tokens: torch.Tensor, order: Order | None) -> torch.Tensor:
        query = self.heads(symmetric(self.q_proj)(tokens))
        if self.kind == "head":
            query = query + self.diagonals(query)  # type: ignore[misc]
        query = query if order is None else order.rotate(query)
        if self.kind == "full":
            query = torch.cat((query, self.diagonals(tokens.unsqueeze(1))), dim=-1)  # type: ignore[misc]
        return query

    def keys(self, context: torch.Tensor, order: Order | None) -> torch.Tensor:
        keys = self.heads(self.k_proj(context))
        keys = keys if order is None else order.rotate(keys)
        if self.kind == "full":  # what the heads share is kept once
            keys = torch.cat((keys.transpose(1, 2).flatten(2), context), dim=-1).unsqueeze(1)
        return keys

    def keys_of_heads(self, keys: torch.Tensor) -> torch.Tensor:
        if self.kind != "full":
            return keys
        projected, context = keys.split(self.config.hidden_size, dim=-1)
        return torch.cat((self.heads(projected[:, 0]), context.expand(-1, self.num_heads, -1, -1)), dim=-1)

    def back(self, pulled: torch.Tensor, order: Order | None) -> torch.Tensor:
        beside = None
        if self.kind == "full":
            pulled, beside = pulled.split((self.head_dim, self.config.hidden_size), dim=-1)
        pulled = pulled if order is None else order.turn_back(pulled)
        if self.kind == "head":
            pulled = pulled + self.diagonals(pulled)  # type: ignore[misc]
        direction = symmetric(self.q_proj).back(pulled.transpose(1, 2).flatten(2))
        return direction if beside is None else direction + self.diagonals(beside).sum(dim=1)  # type: ignore[misc]

    def forward(self, hidden_states, attention_mask=None, output_attentions=False, order=None):
        """The tokens after T steps on the energy, all with the keys of the first, and the last step's weights if asked for."""
        keys, weights = self.remember(self.norm(hidden_states), order), None
        for _ in range(self.inner_steps):
            tokens = self.norm(hidden_states)
            direction, weights = self.direction(tokens, keys, attention_mask, order, output_attentions)
            hidden_states = hidden_states + self.preconditioner(direction)
        return hidden_states, weights


class Diagonals(nn.Module):
    """A diagonal matrix of each head, zero at the start."""

    def __init__(self, num_heads: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_heads, 1, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """`(batch_size, num_heads or 1, seq_len, width)` → `(batch_size, num_heads, seq_len, width)`."""
        return self.weight * tokens


class CEMFeedforward(nn.Module):
    """
    The element-wise energy, whose gate V h is held fixed, with Φ′ = σ (`hidden_act`):

        E(y | h) = −Σ_m (V h)_m Φ(w_m·y),    −∂E/∂y = Wᵀ((V h) ⊙ σ(W y))

    This is a gated MLP whose down projection is the transpose of its up projection.
    """

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.norm = make_norm(config, config.sublayer_norm_type)
        self.up_proj = HyperSETProjection(config.hidden_size, config.intermediate_size)  # type: ignore[arg-type]
        self.gate_proj = HyperSETProjection(config.hidden_size, config.intermediate_size)  # type: ignore[arg-type]
        self.activation, self.antiderivative = PHI[config.hidden_act].function, ANTIDERIVATIVES[config.hidden_act]
        self.preconditioner = make_preconditioner(config)
        self.inner_steps = config.inner_steps

    def direction(self, tokens: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """−∂E/∂y, shaped like the normalised `tokens`. The gate V h is of shape `(batch_size, seq_len, intermediate_size)`."""
        up_proj = symmetric(self.up_proj)
        return up_proj.back(gate * self.activation(up_proj(tokens)))

    def token_values(self, tokens: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """The energy of each token, of shape `(batch_size, seq_len)`."""
        return -(gate * self.antiderivative(symmetric(self.up_proj)(tokens))).sum(dim=-1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The tokens after T steps on the energy, whose gate is that of the first."""
        gate = self.gate_proj(self.norm(hidden_states))
        for _ in range(self.inner_steps):
            hidden_states = hidden_states + self.preconditioner(self.direction(self.norm(hidden_states), gate))
        return hidden_states


@LAYERS.register("cem")
class CEMLayer(ConditionalLayer):
    """
    T steps x ← x + P (−∂E/∂y), y = norm(x), on the interaction energy, then T on the element-wise energy. Keys and gate are
    computed once and held fixed, so the cache has one entry for each iteration, whatever T is. (That the steps of one energy
    come before those of the other, and that the gate is held as the keys are, is ours.)

    `energies` are those of tokens that are their own context.
    """

    attention: CEMInteraction

    @classmethod
    def attn_implementations(cls, config):
        return ("sdpa", "eager")

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.attention = CEMInteraction(config)
        self.feedforward = CEMFeedforward(config)

    def context(self, hidden_states):
        return self.attention.norm(hidden_states)

    def move(self, hidden_states, attention_mask, output_attentions, order):
        hidden_states, _ = self.attention(hidden_states, attention_mask, output_attentions, order)
        return self.feedforward(hidden_states)

    def feedforward_values(self, hidden_states):
        tokens = self.feedforward.norm(hidden_states)
        return self.feedforward.token_values(tokens, self.feedforward.gate_proj(tokens))

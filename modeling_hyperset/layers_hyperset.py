# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The Hyper-SET layer: one alternating step of descent on the attention and the feedforward energy."""

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_hyperset import BI_SOFTMAX_FUNCTIONS, RowSelection
from .energies_hyperset import ATTENTION_ENERGIES, FEEDFORWARD_ENERGIES
from .update_rules_hyperset import UPDATE_RULES


if TYPE_CHECKING:
    from .configuration_hyperset import HyperSETConfig


class HyperSETProjection(nn.Linear):
    """One weight, used in both directions: x ↦ x Wᵀ, and back y ↦ y W."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features, bias=False)

    def effective_weight(self, tensor: torch.Tensor, delta: torch.Tensor | None) -> torch.Tensor:
        """The weight of both directions, W + ΔW, in the dtype of `tensor`."""
        weight = self.weight if delta is None else self.weight + delta
        return weight.to(tensor.dtype)

    def forward(self, tensor: torch.Tensor, delta: torch.Tensor | None = None) -> torch.Tensor:
        """`(…, in_features)` → `(…, out_features)`."""
        return F.linear(tensor, self.effective_weight(tensor, delta))

    def back(self, tensor: torch.Tensor, delta: torch.Tensor | None = None) -> torch.Tensor:
        """`(…, out_features)` → `(…, in_features)`."""
        return tensor @ self.effective_weight(tensor, delta)


def symmetric(projection: nn.Module) -> HyperSETProjection:
    """`projection`, unless something stands in its place that would change one of its directions alone."""
    if not isinstance(projection, HyperSETProjection):
        raise TypeError(
            f"A Hyper-SET projection uses one weight in both directions and cannot be replaced by {type(projection)}, which "
            "would change one of them alone."
        )
    return projection


class IteratedAttention(nn.Module):
    """The attention of a layer: whatever it computes, it returns beside its attention weights, or beside `None`."""


class IteratedLayer(GradientCheckpointingLayer):
    """
    A layer that is applied again and again: X_{t−1} → X_t. It returns the tokens, their energies (or `None`), and the tensors
    that its update rule carries to the next iteration, for one move and then for the other.
    """

    has_energies = True  # whether it is derived from an energy, which `output_energies` returns
    has_step_sizes = True  # whether it takes step sizes, and with them an update rule and depth-wise LoRA
    default_expansion = 1  # `intermediate_size` over `hidden_size` where the config does not say
    attn_implementations = ("fused", *BI_SOFTMAX_FUNCTIONS)  # what `attn_implementation` may name, the default first
    takes_rows = False  # whether it can compute some of the tokens alone

    def energies(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """
        Attention and feedforward energy of each sample, of shape `(batch_size, 2)`, of the shared weights (without depth-wise
        LoRA, so that all iterations are measured by one energy) and in float32 at least: they are sums over tokens of hundreds
        of thousands, in which half precision would lose a step of descent.

        Raises:
            `ValueError`: the layer is a baseline that is not derived from an energy.
        """
        hidden_states = hidden_states.to(torch.promote_types(hidden_states.dtype, torch.float32))
        with torch.autocast(hidden_states.device.type, enabled=False):
            return torch.stack(self.energy_values(hidden_states, attention_mask), dim=-1)

    def energy_values(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None) -> list[torch.Tensor]:
        """The two energies, of shape `(batch_size,)` each."""
        raise ValueError(f"`output_energies`: {type(self).__name__} is not derived from an energy.")


class HyperSETAttention(IteratedAttention):
    """
    The attention side of the layer: W, the norms, and the direction of descent of the attention energy (Eq. 9).

    `bases.weight` is Wᵀ = [W_1, …, W_H]ᵀ, of shape `(num_heads · head_dim, hidden_size)`.
    """

    def __init__(self, config: "HyperSETConfig"):
        super().__init__()
        self.num_heads, self.head_dim, self.eps = config.num_attention_heads, config.head_dim, config.rms_norm_eps
        self.bases = HyperSETProjection(config.hidden_size, self.num_heads * self.head_dim)
        # The gains of queries, keys and values, or the one that serves all three.
        num_norms = 1 if config.shared_qkv_norm else 3
        self.qkv_norms = nn.ModuleList(nn.RMSNorm(self.head_dim, eps=self.eps) for _ in range(num_norms))
        self.energy = ATTENTION_ENERGIES[config.attention_energy](config)

    def subspaces(self, hidden_states: torch.Tensor, delta: torch.Tensor | None = None) -> torch.Tensor:
        """z = W_h x (Eq. 2): `(batch_size, seq_len, hidden_size)` → `(batch_size, num_heads, seq_len, head_dim)`."""
        tokens = symmetric(self.bases)(hidden_states, delta)
        return tokens.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_attentions: bool = False,
        delta: torch.Tensor | None = None,
        rows: RowSelection | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        The direction, shaped like `hidden_states`, or its `rows` alone; and the attention weights if asked for. W is changed by
        `delta`.
        """
        tokens = self.subspaces(hidden_states, delta)
        tokens = F.rms_norm(tokens, (self.head_dim,), eps=self.eps)
        gains = [norm.weight.to(tokens.dtype) for norm in self.qkv_norms]
        gains = gains if len(gains) == 3 else gains * 3
        direction, weights = self.energy.layer_direction(tokens, gains, attention_mask, output_attentions, rows)
        return self.bases.back(direction.transpose(1, 2).flatten(2), delta), weights

    def energy_value(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """E_ATTN of each sample, of shape `(batch_size,)`; the tokens are put on the spheres of Eq. 4 first."""
        tokens = F.rms_norm(self.subspaces(hidden_states), (self.head_dim,), eps=self.eps)
        return self.energy.value(tokens, attention_mask)


class HyperSETFeedforward(nn.Module):
    """
    The feedforward side of the layer: D, the norm, and the direction of descent of the feedforward energy (Eq. 11).

    `directions.weight` is Dᵀ = [d_1, …, d_M]ᵀ, of shape `(intermediate_size, hidden_size)`.
    """

    def __init__(self, config: "HyperSETConfig"):
        super().__init__()
        self.eps = config.rms_norm_eps
        self.directions = HyperSETProjection(config.hidden_size, config.intermediate_size)
        self.norm = nn.RMSNorm(config.intermediate_size, eps=self.eps)
        self.energy = FEEDFORWARD_ENERGIES[config.feedforward_energy](config)

    def forward(self, hidden_states: torch.Tensor, delta: torch.Tensor | None = None) -> torch.Tensor:
        """The direction, shaped like `hidden_states`; D is changed by `delta`."""
        projections = self.norm(symmetric(self.directions)(hidden_states, delta))
        return self.directions.back(self.energy.direction(projections), delta)

    def energy_value(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """E_FF of each sample, of shape `(batch_size,)`; the tokens are put on the sphere of Eq. 5 first."""
        projections = symmetric(self.directions)(hidden_states)
        return self.energy.value(F.rms_norm(projections, projections.shape[-1:], eps=self.eps), attention_mask)


def moved(hidden_states: torch.Tensor, step_size: torch.Tensor | float, move: torch.Tensor) -> torch.Tensor:
    """X + step size ⊙ move, in one pass."""
    if isinstance(step_size, torch.Tensor):
        return torch.addcmul(hidden_states, step_size, move)
    return torch.add(hidden_states, move, alpha=step_size)


class HyperSETLayer(IteratedLayer):
    """One alternating step on E = E_ATTN + E_FF (Eq. 6): attention (Eq. 9), then feedforward (Eq. 11)."""

    takes_rows = True

    def __init__(self, config: "HyperSETConfig"):
        super().__init__()
        self.attention = HyperSETAttention(config)
        self.feedforward = HyperSETFeedforward(config)
        self.update_rule = UPDATE_RULES[config.update_rule]()

    def forward(
        self,
        hidden_states: torch.Tensor,
        initial_states: torch.Tensor,
        time_embedding: torch.Tensor | None,
        *state: torch.Tensor,
        step_size: nn.Module,
        iteration: int,
        lora: nn.Module | None = None,
        attention_mask: torch.Tensor | None = None,
        output_attentions: bool = False,
        output_energies: bool = False,
        rows: RowSelection | None = None,
    ) -> tuple[torch.Tensor | None, ...]:
        """
        X_{t−1} → X_t, both of shape `(batch_size, seq_len, hidden_size)`; the energies of X_t, of shape `(batch_size, 2)`,
        if asked for; and what the update rule carries to iteration t + 1. `attention_mask` is boolean. With `rows`, those of
        X_t alone.
        """
        take = rows or (lambda tokens: tokens)
        # Flat, because a reentrant checkpoint follows gradients through tensors alone, not through tuples of them.
        half = len(state) // 2
        attention_state, feedforward_state = (
            [take(part) for part in state[:half]],
            [take(part) for part in state[half:]],
        )
        alpha, gamma = step_size(time_embedding, take(hidden_states), take(initial_states))
        bases_delta, directions_delta = (None, None) if lora is None else lora(iteration)
        direction, _ = self.attention(hidden_states, attention_mask, output_attentions, bases_delta, rows)
        move, attention_state = self.update_rule.move(direction, attention_state, iteration)
        hidden_states = moved(take(hidden_states), alpha, move)
        direction = self.feedforward(hidden_states, directions_delta)
        move, feedforward_state = self.update_rule.move(direction, feedforward_state, iteration)
        hidden_states = moved(hidden_states, gamma, move)
        energies = self.energies(hidden_states, attention_mask) if output_energies else None
        return hidden_states, energies, *attention_state, *feedforward_state

    def energy_values(self, hidden_states, attention_mask):
        return [side.energy_value(hidden_states, attention_mask) for side in (self.attention, self.feedforward)]

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The iterated layers: their interface, and Hyper-SET's layer, which takes a step of descent on each of its two energies."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_hyperset import RowSelection
from .causal_energies_hyperset import CausalAttentionEnergy
from .configuration_hyperset import HyperSETConfig
from .energies_hyperset import ATTENTION_ENERGIES, FEEDFORWARD_ENERGIES
from .norms_hyperset import HyperSETLayerNorm, HyperSETRMSNorm, rms_norm
from .order_hyperset import Order
from .projection_hyperset import BothDirections, HyperSETProjection, symmetric
from .registry_hyperset import Registry
from .steps_hyperset import UPDATE_RULES, UpdateState, magnifies_rounding


def as_keyword(order: Order | None) -> dict[str, Order]:
    """`order` as a keyword, where there is one. (A layer or energy of a user may not know it.)"""
    return {} if order is None else {"order": order}


def make_norm(config: HyperSETConfig, norm_type: str | None = None, width: int | None = None) -> nn.Module:
    """The norm that `norm_type` names, or else the config's, over `width` channels, or else the width of the tokens."""
    width = config.hidden_size if width is None else width
    if (norm_type or config.norm_type) == "layernorm":
        return HyperSETLayerNorm(width, eps=config.layer_norm_eps)
    return HyperSETRMSNorm(width, config.rms_norm_eps, magnifies_rounding(config))


# The norms of Hyper-SET's two sublayers (Table 17). Theirs are RMSNorms on the projections: the spheres of Eqs. 4 and 5. With
# `sublayer_norm_type="layernorm"` they are LayerNorms, and with `pre_norm` they act on the tokens before the projection.


def token_norm(config: HyperSETConfig) -> nn.Module:
    """The norm of the tokens before a projection, with `pre_norm`."""
    return make_norm(config, config.sublayer_norm_type or "rmsnorm") if config.pre_norm else nn.Identity()


def projection_norm(config: HyperSETConfig, width: int) -> nn.Module:
    """The norm of projections of `width` channels, without `pre_norm`."""
    return nn.Identity() if config.pre_norm else make_norm(config, config.sublayer_norm_type or "rmsnorm", width)


def on_spheres(config: HyperSETConfig, projections: torch.Tensor) -> torch.Tensor:
    """The projections (…, width) after their norm, without its gain and bias. With `pre_norm` they have no norm."""
    if config.pre_norm:
        return projections
    if config.sublayer_norm_type == "layernorm":
        return F.layer_norm(projections, projections.shape[-1:], eps=config.layer_norm_eps)
    return rms_norm(projections, eps=config.rms_norm_eps, is_plain=magnifies_rounding(config))


def shifts_projections(config: HyperSETConfig) -> bool:
    """Whether LayerNorms act on the projections. Their biases make queries, keys and values differ by more than gains."""
    return config.sublayer_norm_type == "layernorm" and not config.pre_norm


def rms_on_projections(config: HyperSETConfig) -> bool:
    """Whether RMSNorms act on the projections: the paper's spheres."""
    return config.sublayer_norm_type != "layernorm" and not config.pre_norm


class HyperSETRMSNormGain(nn.RMSNorm):
    """
    The gain of a norm that the caller applies. It calls the module, for the same reason as [`HyperSETProjection.back`].

    With `is_rotary` the two channels of a turned pair share one gain. The caller applies it after the turn. So it must commute
    with the turn: otherwise scores would depend on more than relative positions.
    """

    def __init__(self, head_dim: int, eps: float | None, is_rotary: bool):
        super().__init__(head_dim // 2 if is_rotary else head_dim, eps=eps)
        self.is_rotary = is_rotary

    def forward(self, dtype: torch.dtype) -> torch.Tensor:  # type: ignore[override]
        """The gain, of shape `(head_dim,)`, in `dtype`."""
        weight = self.weight.to(dtype)
        return torch.cat((weight, weight)) if self.is_rotary else weight


def gain(norm: nn.Module, dtype: torch.dtype) -> torch.Tensor:
    """
    The gain of an RMSNorm, of shape `(head_dim,)`, in `dtype`. The caller applies it.

    Raises:
        `TypeError`: another module has replaced the norm, and its effect would be lost.
    """
    if not isinstance(norm, HyperSETRMSNormGain) and not isinstance(
        getattr(norm, "original_module", None), HyperSETRMSNormGain
    ):
        raise TypeError(f"Each of `qkv_norms` must be a HyperSETRMSNormGain, got {type(norm)}: do not replace it.")
    return norm(dtype)


class IteratedAttention(nn.Module):
    """The attention of a layer. It returns its result, and its attention weights or `None`."""


class IteratedLayer(GradientCheckpointingLayer):
    """
    A layer that is applied again and again: X_{t−1} → X_t. It returns the tokens, their energies (or `None`), and the state of
    its update rule for the next iteration: first the tensors for the attention move, then those for the feedforward move.
    """

    takes_rows = False  # whether it can compute only some of the tokens
    carries_state = False  # whether the state of its last iteration goes on to the next layer
    keeps = "pairs"  # what a slot of the cache holds, see [`prepare_cache`]

    @classmethod
    def attn_implementations(cls, config: HyperSETConfig) -> tuple[str, ...]:
        """The possible values of `attn_implementation`, the default first."""
        raise NotImplementedError

    def energies(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, order: Order | None = None
    ) -> torch.Tensor:
        """
        Attention and feedforward energy of each sample, of shape `(batch_size, 2)`. They use the weights without depth-wise
        LoRA, so that all iterations have the same energy. They are computed in float32 at least: the sums over tokens reach
        hundreds of thousands, and half precision cannot show the change of one step.

        Raises:
            `ValueError`: the layer is a baseline without an energy.
        """
        if order is not None and order.is_causal:
            return self.token_energies(hidden_states, attention_mask, order).sum(dim=1)
        hidden_states = hidden_states.to(torch.promote_types(hidden_states.dtype, torch.float32))
        with torch.autocast(hidden_states.device.type, enabled=False):
            return torch.stack(self.values(hidden_states, attention_mask, **as_keyword(order)), dim=-1)

    def values(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, order: Order | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The values of the two energies, each of shape `(batch_size,)`."""
        raise ValueError(f"`output_energies` must be False: {type(self).__name__} is not derived from an energy.")

    def token_energies(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, order: Order
    ) -> torch.Tensor:
        """[`energies`] of each token of a causal layer, of shape `(batch_size, seq_len, 2)`. Those of padding are zero."""
        hidden_states = hidden_states.to(torch.promote_types(hidden_states.dtype, torch.float32))
        with torch.autocast(hidden_states.device.type, enabled=False):
            energies = torch.stack(self.token_values(hidden_states, attention_mask, order), dim=-1)
        return energies if attention_mask is None else energies.masked_fill(~attention_mask.unsqueeze(-1), 0.0)

    def token_values(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, order: Order
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The values of the two energies of each token, each of shape `(batch_size, seq_len)`."""
        raise ValueError(f"`output_energies` must be False: {type(self).__name__} is not derived from an energy.")

    def remember(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, order: Order) -> None:
        """Put into the slot of the cache what an iteration from `hidden_states` would, without the iteration."""
        raise NotImplementedError


LAYERS: Registry[IteratedLayer] = Registry("layer_type", IteratedLayer)


class HyperSETAttention(IteratedAttention):
    """
    The attention side of the layer: W, the norms, and the direction of descent of the attention energy (Eq. 9).

    `bases.weight` is Wᵀ = [W_1, …, W_H]ᵀ, of shape `(num_heads · head_dim, hidden_size)`.
    """

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.config = config
        self.num_heads, self.head_dim, self.eps = config.num_attention_heads, config.head_dim, config.rms_norm_eps
        self.token_norm = token_norm(config)
        self.bases = HyperSETProjection(config.hidden_size, self.num_heads * self.head_dim)
        # The norms of queries, keys and values, or one that they share. RMSNorms hold their gains alone.
        num_norms = 0 if config.pre_norm else 1 if config.shared_qkv_norm else 3
        is_rotary = config.position_embedding_type == "rotary"
        self.qkv_norms = nn.ModuleList(
            projection_norm(config, self.head_dim)
            if shifts_projections(config)
            else HyperSETRMSNormGain(self.head_dim, self.eps, is_rotary)
            for _ in range(num_norms)
        )
        self.energy: Any = ATTENTION_ENERGIES[config.attention_energy](config)
        self.update_rule = UPDATE_RULES[config.update_rule]()
        if self.update_rule.reads_weights and not self.energy.has_weights:
            raise ValueError(
                f"`update_rule` {config.update_rule!r} needs an attention energy with weights, and "
                f"attention_energy={config.attention_energy!r} has none: choose another of the two."
            )
        if self.energy.is_causal and shifts_projections(config):
            raise ValueError(
                "`sublayer_norm_type` must not be 'layernorm' without `pre_norm` for a causal attention_energy: a slot keeps "
                "one tensor, and the biases of the LayerNorms make keys and values differ."
            )

    def subspaces(
        self, hidden_states: torch.Tensor, delta: torch.Tensor | None = None, bases: BothDirections | None = None
    ) -> torch.Tensor:
        """
        z = W_h x (Eq. 2): `(batch_size, seq_len, hidden_size)` → `(batch_size, num_heads, seq_len, head_dim)`. With `pre_norm`
        it is W_h norm(x).
        """
        bases = symmetric(self.bases) if bases is None else bases
        tokens = bases(self.token_norm(hidden_states), delta)
        return tokens.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def on_spheres(
        self, hidden_states: torch.Tensor, order: Order | None, delta=None, bases: BothDirections | None = None
    ) -> torch.Tensor:
        """
        RMSNorm(W_h x) (Eq. 4), turned by rotary positions. R_i is orthogonal, so an energy of R_i z_i has the direction
        R_iᵀ (direction at R_i z_i): the energies need to know nothing of positions.
        """
        tokens = on_spheres(self.config, self.subspaces(hidden_states, delta, bases))
        return tokens if order is None else order.rotate(tokens)

    def gains(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """The gains of queries, keys and values, each of shape `(head_dim,)`."""
        gains = [gain(norm, tokens.dtype) for norm in self.qkv_norms] or [tokens.new_ones(self.head_dim)]
        return gains if len(gains) == 3 else gains * 3

    def roles(
        self, hidden_states: torch.Tensor, order: Order | None, delta=None, bases: BothDirections | None = None
    ) -> list[torch.Tensor]:
        """
        Queries, keys and values, `(batch_size, num_heads, seq_len, head_dim)` each. In a causal model those of this call go
        into the cache, and keys and values are of all tokens so far.
        """
        if shifts_projections(self.config):
            tokens = self.subspaces(hidden_states, delta, bases)
            roles = [norm(tokens) if order is None else order.rotate(norm(tokens)) for norm in self.qkv_norms]
            return roles if len(roles) == 3 else roles * 3
        tokens = self.on_spheres(hidden_states, order, delta, bases)
        seen = order.remember(tokens)[0] if self.energy.is_causal and order is not None else tokens
        query_gain, key_gain, value_gain = self.gains(tokens)
        return [tokens * query_gain, seen * key_gain, seen * value_gain]

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_attentions: bool = False,
        delta: torch.Tensor | None = None,
        rows: RowSelection | None = None,
        order: Order | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        The direction, shaped like `hidden_states`, or only its `rows`. Then the attention weights, if asked for. `delta` is
        added to W.
        """
        bases = symmetric(self.bases)
        known = as_keyword(order if self.energy.is_causal else None)
        if shifts_projections(self.config) or self.update_rule.reads_weights:
            roles = self.roles(hidden_states, order, delta, bases)
            reads_weights = self.update_rule.reads_weights
            direction, weights = self.energy.direction(
                *roles, attention_mask, output_attentions or reads_weights, **known
            )
            if reads_weights:
                direction = self.update_rule.precondition(direction, weights, roles[2], self.energy.beta)
            direction = direction if rows is None else rows(direction)
        else:
            tokens = self.on_spheres(hidden_states, order, delta, bases)
            gains = self.gains(tokens)
            direction, weights = self.energy.direction_with_gains(
                tokens, gains, attention_mask, output_attentions, rows, **known
            )
        weights = weights if output_attentions else None
        if order is not None:
            direction = order.turn_back(direction, rows)
        return bases.back(direction.transpose(1, 2).flatten(2), delta), weights

    def value(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, order: Order | None = None
    ) -> torch.Tensor:
        """
        E_ATTN of each sample, of shape `(batch_size,)`. The tokens are first put on the spheres of Eq. 4. With `pre_norm` they
        are not: the energy is that of W_h norm(x), and the direction is its negative gradient with respect to norm(x).
        """
        return self.energy.value(self.on_spheres(hidden_states, order), attention_mask)


class HyperSETFeedforward(nn.Module):
    """
    The feedforward side of the layer: D, the norm, and the direction of descent of the feedforward energy (Eq. 11).

    `directions.weight` is Dᵀ = [d_1, …, d_M]ᵀ, of shape `(intermediate_size, hidden_size)`.
    """

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.config = config
        self.token_norm = token_norm(config)
        self.directions = HyperSETProjection(config.hidden_size, config.intermediate_size)  # type: ignore[arg-type]
        self.norm = projection_norm(config, config.intermediate_size)  # type: ignore[arg-type]
        self.energy = FEEDFORWARD_ENERGIES[config.feedforward_energy](config)

    def forward(self, hidden_states: torch.Tensor, delta: torch.Tensor | None = None) -> torch.Tensor:
        """The direction, shaped like `hidden_states`. `delta` is added to D."""
        directions = symmetric(self.directions)
        projections = self.norm(directions(self.token_norm(hidden_states), delta))
        return directions.back(self.energy.direction(projections), delta)

    def on_sphere(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """RMSNorm(D x) (Eq. 5)."""
        return on_spheres(self.config, symmetric(self.directions)(self.token_norm(hidden_states)))

    def value(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """E_FF of each sample, of shape `(batch_size,)`. The tokens are first put on the sphere of Eq. 5, if there is one."""
        return self.energy.value(self.on_sphere(hidden_states), attention_mask)


def moved(hidden_states: torch.Tensor, step_size: torch.Tensor | float, move: torch.Tensor) -> torch.Tensor:
    """X + step size ⊙ move."""
    if not isinstance(step_size, torch.Tensor):
        return torch.add(hidden_states, move, alpha=step_size)
    if step_size.dtype == move.dtype != hidden_states.dtype:
        # Under autocast X is wider. In one pass, `addcmul` would widen both factors, and keep them so for the backward pass.
        return hidden_states + step_size * move
    return torch.addcmul(hidden_states, step_size, move)


@LAYERS.register("hyperset")
class HyperSETLayer(IteratedLayer):
    """One alternating step on E = E_ATTN + E_FF (Eq. 6): attention (Eq. 9), then feedforward (Eq. 11)."""

    takes_rows = True

    @classmethod
    def attn_implementations(cls, config):
        if shifts_projections(config):
            return ("eager",)  # the others only know gains
        if UPDATE_RULES[config.update_rule].reads_weights:
            return ("eager",)  # the others have no weights
        names = ATTENTION_ENERGIES[config.attention_energy].attn_implementations
        if magnifies_rounding(config):
            names = ("eager", *(name for name in names if name != "eager"))
        return names

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.attention = HyperSETAttention(config)
        self.feedforward = HyperSETFeedforward(config)
        self.update_rule = UPDATE_RULES[config.update_rule]()
        if isinstance(self.attention.energy, CausalAttentionEnergy):
            self.keeps = self.attention.energy.keeps

    def forward(
        self,
        hidden_states: torch.Tensor,
        initial_states: torch.Tensor,
        time_embedding: torch.Tensor | None,
        *state: torch.Tensor,
        step_size: Callable,
        iteration: int,
        lora: Callable | None = None,
        attention_mask: torch.Tensor | None = None,
        output_attentions: bool = False,
        output_energies: bool = False,
        rows: RowSelection | None = None,
        order: Order | None = None,
    ) -> tuple[torch.Tensor | None, ...]:
        """
        X_{t−1} → X_t, both of shape `(batch_size, seq_len, hidden_size)`. Also returns the energies of X_t, of shape
        `(batch_size, 2)`, if asked for, and the state of the update rule for iteration t + 1. `attention_mask` is boolean. With
        `rows` it only computes these rows of X_t. `order` tells of rotary positions, causality and the cache.
        """
        take = rows or (lambda tokens: tokens)
        # The state is flat: a reentrant checkpoint follows gradients through tensors, but not through tuples of them.
        half = len(state) // 2
        attention_state: UpdateState = [take(part) for part in state[:half]]
        feedforward_state: UpdateState = [take(part) for part in state[half:]]
        alpha, gamma = step_size(time_embedding, take(hidden_states), take(initial_states))
        bases_delta, directions_delta = (None, None) if lora is None else lora(iteration)
        direction, _ = self.attention(hidden_states, attention_mask, output_attentions, bases_delta, rows, order)
        move, attention_state = self.update_rule.move(direction, attention_state, iteration)
        hidden_states = moved(take(hidden_states), alpha, move)
        direction = self.feedforward(hidden_states, directions_delta)
        move, feedforward_state = self.update_rule.move(direction, feedforward_state, iteration)
        hidden_states = moved(hidden_states, gamma, move)
        energies = None
        if output_energies:
            energies = self.energies(hidden_states, attention_mask, None if order is None else order.alone())
        return hidden_states, energies, *attention_state, *feedforward_state

    def values(self, hidden_states, attention_mask, order=None):
        attention = self.attention.value(hidden_states, attention_mask, order)
        return attention, self.feedforward.value(hidden_states, attention_mask)

    def token_values(self, hidden_states, attention_mask, order):
        tokens = self.attention.on_spheres(hidden_states, order)
        attention = self.attention.energy.token_values(tokens, attention_mask, order=order)
        return attention, self.feedforward.energy.token_values(self.feedforward.on_sphere(hidden_states))

    def remember(self, hidden_states, attention_mask, order):
        tokens = self.attention.on_spheres(hidden_states, order)
        self.attention.energy.remember(tokens, attention_mask, order)

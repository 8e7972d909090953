# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""YuriiFormer (arXiv 2601.23236): Transformers as accelerated descent. A velocity runs beside the tokens through all layers."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from .baselines_hyperset import TransformerLayer
from .configuration_hyperset import HyperSETConfig
from .energies_hyperset import PHI
from .layers_hyperset import LAYERS, make_norm


class VelocityStep(nn.Module):
    """
    One step of a method with velocity V, along a direction that a sublayer computes:

        X_in = X + μ V,    V ← LN(β V + γ direction(X_in)),    X ← X + V

    μ and β are sigmoids and γ is the softplus of learned numbers that start at zero: μ = β = 0.5 and γ = 0.693. `"nesterov"`
    looks ahead by μ, `"polyak"` has no μ. Without `velocity_norm` there is no LN.
    """

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        looks_ahead = config.velocity_method == "nesterov"
        self.look_ahead = nn.Parameter(torch.zeros(1)) if looks_ahead else None
        self.decay = nn.Parameter(torch.zeros(1))
        self.step_size = nn.Parameter(torch.zeros(1))
        self.norm = make_norm(config, config.sublayer_norm_type) if config.velocity_norm else nn.Identity()

    def forward(
        self,
        tokens: torch.Tensor,
        velocity: torch.Tensor,
        direction: Callable[[torch.Tensor], torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """X and V after the step, both of shape `(batch_size, seq_len, hidden_size)`, as before it."""
        start = tokens if self.look_ahead is None else tokens + self.look_ahead.sigmoid() * velocity
        velocity = self.norm(self.decay.sigmoid() * velocity + F.softplus(self.step_size) * direction(start))
        return tokens + velocity, velocity


class DescentStep(nn.Module):
    """X ← X + direction(X): a step without velocity."""

    def forward(self, tokens, velocity, direction):
        return tokens + direction(tokens), velocity


@LAYERS.register("yuriiformer")
class YuriiFormerLayer(TransformerLayer):
    """
    The pre-norm Transformer's two sublayers as directions: of an interaction energy (attention) and of a potential of each
    token (the MLP). `"lie_trotter"` takes a [`VelocityStep`] along one, then one along the other. `"euler"` takes one along
    their sum (ours, as is the reading of `"polyak"`). The velocity goes on from iteration to iteration and from layer to layer.
    It belongs to the depth and not to the text, so the cache is a Transformer's.

    The norms are those that the config names, with biases if they are LayerNorms. (The paper's have none.)
    """

    carries_state = True

    def __init__(self, config: HyperSETConfig):
        super().__init__(config)
        self.activation = PHI[config.hidden_act].function
        self.steps = nn.ModuleList(
            DescentStep() if config.velocity_method == "gradient_descent" else VelocityStep(config)
            for _ in range(2 if config.velocity_splitting == "lie_trotter" else 1)
        )

    def forward(
        self,
        hidden_states,
        initial_states=None,
        time_embedding=None,
        *state,
        attention_mask=None,
        output_attentions=False,
        output_energies=False,
        order=None,
        **also_unused,
    ):
        """X and the state (V) → X, no energies, V. Without a state V starts at zero."""
        if output_energies:
            self.energies(hidden_states)  # there are none, and this says so

        def attend(tokens):
            return self.attention(self.attention_norm(tokens), attention_mask, output_attentions, order)[0]

        def think(tokens):
            return self.down_proj(self.activation(self.up_proj(self.mlp_norm(tokens))))

        directions = (attend, think) if len(self.steps) == 2 else (lambda tokens: attend(tokens) + think(tokens),)
        velocity = state[0] if state else torch.zeros_like(hidden_states)
        for step, direction in zip(self.steps, directions, strict=True):
            hidden_states, velocity = step(hidden_states, velocity, direction)
        return hidden_states, None, velocity

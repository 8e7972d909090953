# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Steps: an update rule turns a direction of descent into a move, and the step sizes α_t and γ_t scale it. Step sizes are learned
from the iteration and the tokens (Eq. 12, Appendix D.1), or fixed.

To add a rule, write a subclass of [`UpdateRule`] and register it with [`register_update_rule`] under a name.
`HyperSETConfig.update_rule` then accepts that name.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import nn

from .configuration_hyperset import HyperSETConfig
from .modes_hyperset import as_autocast
from .norms_hyperset import HyperSETRMSNorm
from .registry_hyperset import Registry


# What a rule passes from one iteration to the next: tensors shaped like the tokens, or nothing.
UpdateState = Sequence[torch.Tensor]


class UpdateRule:
    """A rule. The object stores nothing: each call takes the state and returns the new one."""

    divides_by_root = False  # whether a direction near zero, and its rounding, may become a move of any size
    reads_weights = False  # whether [`precondition`] changes the direction of attention by its weights

    def move(self, direction: torch.Tensor, state: UpdateState, iteration: int) -> tuple[torch.Tensor, UpdateState]:
        """
        Args:
            direction (`torch.Tensor` of shape `(batch_size, seq_len, hidden_size)`): The direction of descent.
            state (`tuple` of `torch.Tensor`): The state from the last call, or `()` in the first iteration of a layer.
            iteration (`int`): t, counted from 1 in each layer.

        Returns:
            The move, shaped like `direction`, and the state for the next iteration.
        """
        raise NotImplementedError

    def precondition(
        self, direction: torch.Tensor, weights: torch.Tensor, values: torch.Tensor, beta: float
    ) -> torch.Tensor:
        """
        The direction of each head before it leaves its subspace, of a rule that `reads_weights`.

        Args:
            direction (`torch.Tensor` of shape `(batch_size, num_heads, seq_len, head_dim)`): The direction g_i of each token.
            weights (`torch.Tensor` of shape `(batch_size, num_heads, seq_len, num_keys)`): The attention weights.
            values (`torch.Tensor` of shape `(batch_size, num_heads, num_keys, head_dim)`): What they weigh.
            beta (`float`): The inverse temperature β = 1/T.
        """
        raise NotImplementedError


UPDATE_RULES: Registry[UpdateRule] = Registry("update_rule", UpdateRule)
register_update_rule = UPDATE_RULES.register


@UPDATE_RULES.register("gradient_descent")
class GradientDescent(UpdateRule):
    """The move is the direction (Eqs. 9 and 11)."""

    def move(self, direction, state, iteration):
        return direction, state


class StatefulRule(UpdateRule):
    """A rule with a state. It computes in float32 at least, because half precision cannot hold squares of directions."""

    def move(self, direction, state, iteration):
        move, state = self.step(direction.to(torch.promote_types(direction.dtype, torch.float32)), state, iteration)
        return move.to(direction.dtype), state

    def step(self, direction: torch.Tensor, state: UpdateState, iteration: int) -> tuple[torch.Tensor, UpdateState]:
        """Like [`move`], in float32 at least."""
        raise NotImplementedError


@UPDATE_RULES.register("momentum")
class Momentum(StatefulRule):
    """b ← 0.9 b + g; the move is b."""

    def step(self, direction, state, iteration):
        velocity = decayed(state, 0, 0.9) + direction
        return velocity, (velocity,)


@UPDATE_RULES.register("nesterov")
class Nesterov(StatefulRule):
    """b ← 0.9 b + g; the move is g + 0.9 b (Nesterov's momentum in the form that deep learning uses)."""

    def step(self, direction, state, iteration):
        velocity = decayed(state, 0, 0.9) + direction
        return direction + 0.9 * velocity, (velocity,)


@UPDATE_RULES.register("newton")
class LightNewton(UpdateRule):
    """
    The light Newton step of the Intrinsic Optimizers (arXiv 2511.00907) for attention: (I + C/T) g. C is the covariance of the
    values u_j of a head under the attention weights p_j of a token, and T = 1/β:

        C = Σ_j p_j (u_j − μ)(u_j − μ)ᵀ,    μ = Σ_j p_j u_j,    (I + C/T) g = g + β (Σ_j p_j u_j (u_j·g) − μ (μ·g))

    The Hessian of F(z) = −T log Σ_j exp(−‖z − u_j‖²/2T) is I − C/T. Its inverse is the series I + C/T + (C/T)² + …, which is
    cut after the first term. The series converges only while the largest eigenvalue of C/T is below one:
    [`newton_domain`] of `modeling_hyperset.analysis` measures it. Hyper-SET's own energy has the other sign. There the factor
    changes the length of a step that still goes down, because I + C/T is positive definite. (The formula is worked out from the
    paper's idea, not copied from its program.)

    Weights of a row are divided by their sum, if it is not one. It needs attention energies that have weights, computed by
    `"eager"`. The feedforward move is the direction.
    """

    reads_weights = True

    def move(self, direction, state, iteration):
        return direction, state

    def precondition(self, direction, weights, values, beta):
        wide = torch.promote_types(direction.dtype, torch.float32)
        direction_wide, weights, values = direction.to(wide), normalised(weights.to(wide)), values.to(wide)
        with torch.autocast(direction.device.type, enabled=False):  # a small difference of large numbers
            mean = weights @ values
            along = direction_wide @ values.mT  # u_j·g_i
            pulled = (weights * along) @ values - mean * (mean * direction_wide).sum(dim=-1, keepdim=True)
        return (direction_wide + beta * pulled).to(direction.dtype)


def normalised(weights: torch.Tensor) -> torch.Tensor:
    """Weights (…, num_keys) whose rows sum to one. Rows of zeros, as at padding, stay zero."""
    total = weights.sum(dim=-1, keepdim=True)
    return weights / torch.where(total > 0, total, 1.0)


@UPDATE_RULES.register("rmsprop")
class RMSProp(StatefulRule):
    """v ← 0.8 v + 0.2 g²; the move is g / (√v + 1e-6)."""

    divides_by_root = True

    def step(self, direction, state, iteration):
        second = decayed(state, 0, 0.8) + 0.2 * direction.square()
        return over_root(direction, second), (second,)


@UPDATE_RULES.register("rmsprop_momentum")
class RMSPropMomentum(RMSProp):
    """v as in RMSProp; b ← 0.9 b + g / (√v + 1e-6); the move is b."""

    def step(self, direction, state, iteration):
        quotient, (second,) = super().step(direction, state, iteration)
        velocity = decayed(state, 1, 0.9) + quotient
        return velocity, (second, velocity)


@UPDATE_RULES.register("adam")
class Adam(StatefulRule):
    """Adam with β = (0.9, 0.96), a bias correction by the iteration, and 1e-6 added to the root."""

    divides_by_root = True

    def step(self, direction, state, iteration):
        first = decayed(state, 0, 0.9) + 0.1 * direction
        second = decayed(state, 1, 0.96) + 0.04 * direction.square()
        first_unbiased, second_unbiased = first / (1 - 0.9**iteration), second / (1 - 0.96**iteration)
        return over_root(first_unbiased, second_unbiased), (first, second)


def decayed(state: UpdateState, index: int, decay: float) -> torch.Tensor | float:
    """`decay` times one tensor of the state, or zero in the first iteration."""
    return decay * state[index] if state else 0.0


def over_root(direction: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    """
    `direction` / (√`square` + 1e-6). Where both are exactly zero, as at padding, the gradient is set to zero: the root's would
    be infinite, and the quotient's, 10⁶, too large for float16.
    """
    positive = square > 0
    root = torch.where(positive, square, 1.0).sqrt()
    return torch.where(positive, direction / (root + 1e-6), 0.0)


def magnifies_rounding(config: HyperSETConfig) -> bool:
    """Whether the update rule turns the rounding of a direction near zero into a move: the plainest arithmetic is best."""
    return UPDATE_RULES[config.update_rule].divides_by_root


def time_codes(num_iterations: int, width: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """
    Sinusoidal codes of t = 1, …, `num_iterations`: [sin(t f), cos(t f)] with f_i = exp(−ln(10000) i / (width/2 − 1)).

    Returns:
        `torch.Tensor` of shape `(num_iterations, width)`.
    """
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=device) * (-math.log(10000.0) / (half - 1)))
    angles = torch.arange(1, num_iterations + 1, device=device)[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), dim=-1).to(dtype)


class ZeroLinear(nn.Linear):
    """A Linear whose weight and bias start at zero."""


class HyperSETTimeEmbedding(nn.Module):
    """e_t of Appendix D.1: the output of the network `step_size_time_network` for the code of t."""

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.width = config.step_size_time_dim
        d, eps = config.hidden_size, config.rms_norm_eps
        norm = partial(HyperSETRMSNorm, d, eps, magnifies_rounding(config))
        linear = ZeroLinear if config.step_size_time_init == "zeros" else nn.Linear
        if config.step_size_time_network == "normed_mlp":
            self.network = nn.Sequential(
                linear(self.width, d),
                norm(),
                nn.GELU(),
                norm(),
                linear(d, d),
                norm(),
            )
        elif config.step_size_time_network == "mlp":
            self.network = nn.Sequential(linear(self.width, d), nn.GELU(), linear(d, d))
        else:
            self.network = nn.Sequential()

    def forward(self, num_iterations: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """e_t of t = 1, …, `num_iterations`, of shape `(num_iterations, hidden_size)`."""
        return self.network(time_codes(num_iterations, self.width, device, dtype))


# The most values of step sizes to compute at once.
AHEAD = 2**22


def given_step_sizes(_, hidden_states: torch.Tensor, step_sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Replaces a step size when α and γ were computed [`ahead`](HyperSETLearnedStepSize.ahead)."""
    alpha, gamma = step_sizes.chunk(2, dim=-1)
    return alpha, gamma


class HyperSETLearnedStepSize(nn.Module):
    """[α_t, γ_t] = Linear(GELU(e_t + x)) (Eq. 12), with RMSNorms on x and on the sum if the config asks for them."""

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        d = config.hidden_size
        norm = partial(HyperSETRMSNorm, d, config.rms_norm_eps, magnifies_rounding(config))
        self.condition = config.step_size_condition
        self.token_norm = norm() if config.step_size_token_norm else nn.Identity()
        self.sum_norm = norm() if config.step_size_sum_norm else nn.Identity()
        self.activation = nn.GELU()
        # α = γ = 0: the untrained model is the identity on its tokens.
        self.projection = ZeroLinear(d, 2 * d)

    def forward(
        self, time_embedding: torch.Tensor, hidden_states: torch.Tensor, initial_states: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            time_embedding (`torch.Tensor` of shape `(hidden_size,)`): e_t.
            hidden_states (`torch.Tensor` of shape `(batch_size, seq_len, hidden_size)`): X_t.
            initial_states (`torch.Tensor` of shape `(batch_size, seq_len, hidden_size)`): X_0.

        Returns:
            α_t and γ_t, each of shape `(batch_size, seq_len, hidden_size)`.
        """
        tokens = hidden_states if self.condition == "current" else initial_states
        alpha, gamma = self.project(time_embedding, tokens).chunk(2, dim=-1)
        return alpha, gamma

    def project(self, time_embedding: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """`(…, hidden_size)` and `(batch_size, seq_len, hidden_size)` → `(…, batch_size, seq_len, 2 · hidden_size)`."""
        # Under autocast, in its dtype from the start: the Linear would cast to it, after passes over twice the memory.
        time_embedding, tokens = as_autocast(time_embedding), as_autocast(tokens)
        embedding = self.sum_norm(time_embedding[..., None, None, :] + self.token_norm(tokens))
        return self.projection(self.activation(embedding))

    def ahead(self, time_embeddings: torch.Tensor, initial_states: torch.Tensor) -> Iterator[torch.Tensor]:
        """
        [α_t, γ_t] of each iteration in turn, if they only depend on X_0. Those of several iterations are computed together, to
        keep a GPU busy with a short batch, but only as many as `AHEAD` allows, to save memory with a long one.
        """
        together = 1
        if not torch.compiler.is_compiling():  # torch.compile may not know the size
            together = max(1, AHEAD // max(1, initial_states.numel()))
        for embeddings in time_embeddings.split(together):
            yield from self.project(embeddings, initial_states)


class HyperSETFixedStepSize(nn.Module):
    """The same α and γ for every token, channel and iteration."""

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.step_sizes = (config.step_size_attention, config.step_size_feedforward)

    def forward(self, time_embedding: None, hidden_states: torch.Tensor, initial_states: torch.Tensor):
        """α and γ as numbers."""
        return self.step_sizes


STEP_SIZES: dict[str, type[nn.Module]] = {"learned": HyperSETLearnedStepSize, "fixed": HyperSETFixedStepSize}

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Update rules: how a direction of descent becomes a move, before the step size scales it.

A new rule is one subclass of [`UpdateRule`], registered with [`register_update_rule`] under the name that
`HyperSETConfig.update_rule` then accepts.
"""

from collections.abc import Sequence

import torch

from .registry_hyperset import registrar


# What a rule carries from one iteration to the next: tensors shaped like the tokens, or nothing.
UpdateState = Sequence[torch.Tensor]


class UpdateRule:
    """A rule without memory of its own: what it must remember goes in and out of each call."""

    divides_by_root = False  # whether a direction near zero, and its rounding, may become a move of any size

    def move(self, direction: torch.Tensor, state: UpdateState, iteration: int) -> tuple[torch.Tensor, UpdateState]:
        """
        Args:
            direction (`torch.Tensor` of shape `(batch_size, seq_len, hidden_size)`): The direction of descent.
            state (`tuple` of `torch.Tensor`): What the last call returned; `()` in the first iteration of a layer.
            iteration (`int`): t, counted from 1 in each layer.

        Returns:
            The move, shaped like `direction`, and the state for the next iteration.
        """
        raise NotImplementedError


class GradientDescent(UpdateRule):
    """The move is the direction (Eqs. 9 and 11)."""

    def move(self, direction, state, iteration):
        return direction, state


class StatefulRule(UpdateRule):
    """A rule that remembers, in float32 at least: squares of directions leave the range of half precision."""

    def move(self, direction, state, iteration):
        move, state = self.step(direction.to(torch.promote_types(direction.dtype, torch.float32)), state, iteration)
        return move.to(direction.dtype), state

    def step(self, direction: torch.Tensor, state: UpdateState, iteration: int) -> tuple[torch.Tensor, UpdateState]:
        """As [`move`], in float32 at least."""
        raise NotImplementedError


class Momentum(StatefulRule):
    """b ← 0.9 b + g; the move is b."""

    def step(self, direction, state, iteration):
        velocity = decayed(state, 0, 0.9) + direction
        return velocity, (velocity,)


class Nesterov(StatefulRule):
    """b ← 0.9 b + g; the move is g + 0.9 b (Nesterov's momentum in the form that deep learning uses)."""

    def step(self, direction, state, iteration):
        velocity = decayed(state, 0, 0.9) + direction
        return direction + 0.9 * velocity, (velocity,)


class RMSProp(StatefulRule):
    """v ← 0.8 v + 0.2 g²; the move is g / (√v + 1e-6)."""

    divides_by_root = True

    def step(self, direction, state, iteration):
        second = decayed(state, 0, 0.8) + 0.2 * direction.square()
        return over_root(direction, second), (second,)


class RMSPropMomentum(StatefulRule):
    """v as in RMSProp; b ← 0.9 b + g / (√v + 1e-6); the move is b."""

    divides_by_root = True

    def step(self, direction, state, iteration):
        second = decayed(state, 0, 0.8) + 0.2 * direction.square()
        velocity = decayed(state, 1, 0.9) + over_root(direction, second)
        return velocity, (second, velocity)


class Adam(StatefulRule):
    """Adam with β = (0.9, 0.96), bias-corrected by the iteration, and 1e-6 beside the root."""

    divides_by_root = True

    def step(self, direction, state, iteration):
        first = decayed(state, 0, 0.9) + 0.1 * direction
        second = decayed(state, 1, 0.96) + 0.04 * direction.square()
        first_unbiased, second_unbiased = first / (1 - 0.9**iteration), second / (1 - 0.96**iteration)
        return over_root(first_unbiased, second_unbiased), (first, second)


def decayed(state: UpdateState, index: int, decay: float) -> torch.Tensor | float:
    """`decay` times one tensor of the state; zero in the first iteration."""
    return decay * state[index] if state else 0.0


def over_root(direction: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    """
    `direction` / (√`square` + 1e-6), with gradient zero where both are exactly zero, as they are at padding: there that of the
    root is infinite, and that of the quotient, 10⁶, beyond float16.
    """
    positive = square > 0
    root = torch.where(positive, square, 1.0).sqrt()
    return torch.where(positive, direction / (root + 1e-6), 0.0)


UPDATE_RULES: dict[str, type[UpdateRule]] = {
    "gradient_descent": GradientDescent,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": RMSProp,
    "rmsprop_momentum": RMSPropMomentum,
    "adam": Adam,
}


def register_update_rule(name: str):
    """Decorator: make `update_rule=name` stand for an [`UpdateRule`] of yours.

    Raises:
        `ValueError`: the name is taken by another class, or the class is no `UpdateRule`.
    """
    return registrar(UPDATE_RULES, UpdateRule, name)

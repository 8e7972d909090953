# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Update rules: how a direction of descent becomes a move, before the step size scales it.

A new rule is one subclass of [`UpdateRule`], registered under the name that `HyperSETConfig.update_rule` then accepts.
"""

import torch


# What a rule carries from one iteration to the next: tensors shaped like the tokens, or nothing.
UpdateState = tuple[torch.Tensor, ...]


class UpdateRule:
    """A rule without memory of its own: what it must remember goes in and out of each call."""

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


UPDATE_RULES: dict[str, type[UpdateRule]] = {"gradient_descent": GradientDescent}

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
The one loop over layers and depth: a fixed number of iterations, or as many as each sample needs.

Adaptive depth: a sample stops when its energy stops falling. X_t are the tokens of one sample after iteration t of a layer.
E_ATTN and E_FF are their energies, as `output_energies` returns them: without padding, and with the layer's own W and D,
without depth-wise LoRA. Iteration t ≥ 2 is the sample's last if

    E(X_{t−1}) − E(X_t) ≤ tolerance · (|E_ATTN(X_{t−1})| + |E_FF(X_{t−1})|),    E = E_ATTN + E_FF,

or if t = `num_iterations`. The fall is compared with the sizes of both energies, not with their sum: one energy is positive and
the other negative, so the sum may be near zero. With a tolerance of 0 a sample goes on as long as its energy falls at all. The
layer returns the X_t of that last iteration, as with `num_iterations=t`. The first energy is that of X_1, so every sample takes
at least two iterations, unless `num_iterations` is 1. This starts again in each layer.

In a causal model each token stops by an energy of its own. The others see its last state from then on, also in the slots of the
cache for later iterations. So text that is written token by token has the same states as in one call.

The number of iterations depends on values. So `torch.compile` does not compile the iterations (with `fullgraph=True` it fails),
and an export raises an error. With FSDP do not use adaptive depth: the processes gather the weights of a layer together, and
would wait for each other forever.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from .attention_hyperset import RowSelection
from .layers_hyperset import IteratedLayer, as_keyword
from .order_hyperset import Order
from .steps_hyperset import given_step_sizes


def is_falling(before: torch.Tensor, after: torch.Tensor, tolerance: float) -> torch.Tensor:
    """
    Args:
        before, after (`torch.Tensor` of shape `(…, 2)`): Attention and feedforward energy of X_{t−1} and of X_t.

    Returns:
        `torch.BoolTensor` of shape `(…)`: whether the total energy has fallen by more than the tolerance.
    """
    return (before - after).sum(dim=-1) > tolerance * before.abs().sum(dim=-1)


class AdaptiveDepth:
    """The samples that still iterate in a layer, and the tokens of the stopped ones."""

    def __init__(self, tolerance: float, batch_size: int, device: torch.device):
        self.tolerance = tolerance
        self.samples = torch.arange(batch_size, device=device)  # those that still iterate
        self.before: torch.Tensor | None = None  # their energies, one iteration ago
        self.stopped: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def going(
        self,
        layer: IteratedLayer,
        hidden_states: torch.Tensor,
        mask: torch.Tensor | None,
        iteration: int,
        is_last: bool,
        select: Callable[[torch.Tensor | None], RowSelection] | None,
        order: Order | None = None,
    ) -> torch.Tensor | None:
        """
        Which samples go on after an iteration, as booleans, or `None` where all do. The others stop. Their tokens are kept, or
        some of them, which `select` chooses by a mask. After the last iteration all stop, and their tokens are chosen already.
        """
        if is_last:
            going = torch.zeros_like(self.samples, dtype=torch.bool)
        else:
            before = self.before
            with torch.no_grad():
                self.before = layer.energies(hidden_states, mask, **as_keyword(order))
            if before is None:
                return None
            going = is_falling(before, self.before, self.tolerance)
            if going.all():
                return None
            self.before = self.before[going]
        samples, tokens = self.samples[~going], hidden_states[~going]
        if select is not None and not is_last:
            tokens = select(None if mask is None else mask[~going])(tokens)
        self.stopped.append((samples, tokens, torch.full_like(samples, iteration)))
        self.samples = self.samples[going]
        return going

    def results(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens of all samples in their original order, and how many iterations each took."""
        samples, tokens, iterations = (torch.cat(parts) for parts in zip(*self.stopped, strict=True))
        order = samples.argsort()
        return tokens[order], iterations[order]


class TokenDepth:
    """The tokens of a causal model that still iterate in a layer. Stopped ones keep their state."""

    def __init__(self, tolerance: float, hidden_states: torch.Tensor, mask: torch.Tensor | None):
        self.tolerance, self.mask = tolerance, mask
        shape, device = hidden_states.shape[:2], hidden_states.device
        self.going = torch.ones(shape, dtype=torch.bool, device=device) if mask is None else mask.clone()
        self.iterations = torch.zeros(shape, dtype=torch.long, device=device)  # those that each token took
        self.before: torch.Tensor | None = None

    def keep(self, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """The tokens after an iteration: stopped ones stay as they were before it."""
        self.iterations += self.going
        return torch.where(self.going.unsqueeze(-1), after, before)

    @torch.no_grad()
    def stop(self, layer: IteratedLayer, hidden_states: torch.Tensor, order: Order) -> bool:
        """
        Stop the tokens whose energy no longer falls, and say whether all have stopped. `order` is at the slot of the next
        iteration, which has the tokens before this call as they are after this one.
        """
        after = layer.token_energies(hidden_states, self.mask, order)
        if self.before is not None:
            self.going &= is_falling(self.before, after, self.tolerance)
        self.before = after
        return not self.going.any()


def as_function(module: nn.Module | None) -> Callable | None:
    """Wrap a module that is an argument of another one. Otherwise accelerate would move it to the device of that one."""
    return None if module is None else partial(module)


def steps_ahead(
    layer: IteratedLayer, step_size: Any, time_embeddings: Sequence, initial_states: torch.Tensor
) -> Iterator[torch.Tensor] | None:
    """The step sizes of all iterations, if they only depend on X_0. Not for a checkpointed layer: it would keep them all."""
    if getattr(step_size, "condition", None) != "initial" or (layer.training and layer.gradient_checkpointing):
        return None
    return step_size.ahead(time_embeddings, initial_states)


def iterate(
    layers: Sequence[IteratedLayer],
    step_sizes: Sequence[nn.Module | None],
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None,
    time_embeddings: Sequence,
    energy_tolerance: float | None = None,
    rows_of: Callable[[torch.Tensor | None], RowSelection] | None = None,
    lora: nn.Module | None = None,
    order: Order | None = None,
    initial_state: Sequence[torch.Tensor] = (),
    **outputs: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    All iterations of all layers. With adaptive depth an iteration only computes the samples whose energy still falls.

    Args:
        layers, step_sizes: The distinct layers, and the step size (or `None`) of each.
        hidden_states (`torch.Tensor` of shape `(batch_size, seq_len, hidden_size)`): X_0.
        attention_mask (`torch.BoolTensor` of shape `(batch_size, seq_len)`, *optional*): `True` for tokens.
        time_embeddings: e_t (or `None`) of every iteration of a layer.
        energy_tolerance (`float`, *optional*): Adaptive depth. The length of `time_embeddings` is then the most iterations.
        rows_of: Takes a mask, and selects the tokens to return. The very last iteration only computes these.
        lora: The depth-wise adapters.
        order: Rotary positions, causality and the cache, where there are any.
        initial_state: The state before the first iteration of the first layer, of layers that carry one through all layers.
        outputs: Keywords for every call of a layer: the other outputs to return.

    Returns:
        The tokens, and with an `energy_tolerance` the number of iterations of each sample, of shape `(batch_size,)`, or in a
        causal model of each token, of shape `(batch_size, seq_len)`.
    """
    initial_states, num_iterations, used = hidden_states, len(time_embeddings), None
    state: list[torch.Tensor] = [*initial_state]
    for index, (layer, step_size) in enumerate(zip(layers, step_sizes, strict=True)):
        select = rows_of if layer is layers[-1] else None
        start, mask, place = initial_states, attention_mask, order
        if not layer.carries_state:
            state = []
        depth: AdaptiveDepth | TokenDepth | None = None
        ahead = None
        if energy_tolerance is None:
            ahead = steps_ahead(layer, step_size, time_embeddings, start)
        elif order is not None and order.is_causal:
            depth = TokenDepth(energy_tolerance, start, mask)
        else:
            depth = AdaptiveDepth(energy_tolerance, len(start), start.device)
        for iteration in range(1, num_iterations + 1):
            is_last = iteration == num_iterations
            before = hidden_states
            place = None if place is None else place.at(index * num_iterations + iteration - 1)
            hidden_states, _, *state = layer(
                hidden_states,
                start if ahead is None else next(ahead),
                time_embeddings[iteration - 1],
                *state,
                step_size=as_function(step_size) if ahead is None else given_step_sizes,
                iteration=iteration,
                lora=as_function(lora),
                attention_mask=mask,
                rows=select(mask) if is_last and select is not None else None,
                **as_keyword(place),
                **outputs,
            )
            if depth is None:
                continue
            if isinstance(depth, TokenDepth):
                assert place is not None
                hidden_states = depth.keep(before, hidden_states)
                later = [place.at(place.slot + step) for step in range(1, num_iterations - iteration + 1)]
                if later and depth.stop(layer, hidden_states, later[0]):
                    for skipped in later:
                        layer.remember(hidden_states, mask, skipped)
                    break
                continue
            going = depth.going(layer, hidden_states, mask, iteration, is_last, select, place)
            if going is None:
                continue
            hidden_states, start, *state = (part[going] for part in (hidden_states, start, *state))
            mask = None if mask is None else mask[going]
            place = None if place is None else place.of(going)
            if not len(depth.samples):
                break
        if depth is not None:
            if isinstance(depth, AdaptiveDepth):
                hidden_states, iterations = depth.results()
            else:
                iterations = depth.iterations
            used = iterations if used is None else used + iterations
    return hidden_states, used

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Adaptive depth: a sample's iteration stops when its energy has stopped falling.

With X_t the tokens of one sample after iteration t of a layer, and E_ATTN and E_FF the energies that `output_energies` returns
for them (padding takes no part; W and D are the layer's own, without depth-wise LoRA), iteration t ≥ 2 is the sample's last if

    E(X_{t−1}) − E(X_t) ≤ tolerance · (|E_ATTN(X_{t−1})| + |E_FF(X_{t−1})|),    E = E_ATTN + E_FF,

or if t = `num_iterations`. The fall is held against the sizes of both energies rather than against their sum, which may be near
zero, because one is positive and the other negative. A tolerance of 0 goes on as long as the energy falls at all. The layer
returns the X_t of that last iteration, as it does with `num_iterations=t`. The first energy there is to compare with is that of
X_1: every sample takes two iterations at least, unless `num_iterations` is 1. Each layer starts anew.

How many iterations a sample takes depends on values. `torch.compile` leaves the iterations as they are, or fails with
`fullgraph=True`, and an export is refused. With FSDP the processes gather a layer's weights together and would wait for each
other for ever: there, use `num_iterations`.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

from .attention_hyperset import RowSelection
from .layers_hyperset import IteratedLayer


def check_energy_tolerance(tolerance: Any, layer_class: type[IteratedLayer]) -> None:
    """
    Raises:
        `ValueError`: the tolerance is no finite number of at least 0, or the layer has no energy.
    """
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float):
        raise ValueError(f"`energy_tolerance` must be a number or None, got {tolerance!r}.")
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"`energy_tolerance` must be a finite number of at least 0, got {tolerance}.")
    if not layer_class.has_energies:
        raise ValueError(
            f"`energy_tolerance` must be None for {layer_class.__name__}, which is not derived from an energy, got {tolerance}."
        )


def check_can_stop(hidden_states: torch.Tensor, **asked_for: bool) -> None:
    """
    Raises:
        `ValueError`: one of the outputs `asked_for` holds every sample after every iteration, where some of them have stopped;
            or the iterations are traced, where the energies have no values to decide by.
    """
    if names := [name for name, wanted in asked_for.items() if wanted]:
        raise ValueError(
            f"`energy_tolerance` does not go with {' and '.join(f'`{name}`' for name in names)}: samples stop at different "
            "iterations. Up to there they are those of a call with `energy_tolerance=False`."
        )
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or hidden_states.is_meta:
        raise ValueError(
            "`energy_tolerance` reads the values of the energies, which there are none of in an export, a trace or on the meta "
            "device; pass `energy_tolerance=False`."
        )


def is_falling(before: torch.Tensor, after: torch.Tensor, tolerance: float) -> torch.Tensor:
    """
    Args:
        before, after (`torch.Tensor` of shape `(batch_size, 2)`): Attention and feedforward energy of X_{t−1} and of X_t.

    Returns:
        `torch.BoolTensor` of shape `(batch_size,)`: whether the total energy has fallen by more than the tolerance.
    """
    return (before - after).sum(dim=-1) > tolerance * before.abs().sum(dim=-1)


def descend(
    layer: IteratedLayer,
    hidden_states: torch.Tensor,
    initial_states: torch.Tensor,
    time_embeddings: torch.Tensor | list[None],
    energy_tolerance: float,
    attention_mask: torch.Tensor | None = None,
    read_out: Callable[[torch.Tensor | None], RowSelection] | None = None,
    **options,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    All iterations of one layer, each on the samples alone whose energy still falls.

    Args:
        hidden_states, initial_states (`torch.Tensor` of shape `(batch_size, seq_len, hidden_size)`):
            X_{t−1} of the first iteration, and the X_0 that step sizes may depend on.
        time_embeddings: e_t (or `None`) of every iteration; there are at most as many iterations.
        attention_mask (`torch.BoolTensor` of shape `(batch_size, seq_len)`, *optional*): `True` for tokens.
        read_out: Makes the selection of the tokens to return out of a mask, where not all are wanted. An iteration that is the
            last in any case computes no others; an energy needs all.
        options: What every call of the layer takes besides.

    Returns:
        The tokens of each sample's last iteration, and the number of its iterations, of shape `(batch_size,)`.
    """
    samples = torch.arange(len(hidden_states), device=hidden_states.device)  # those that are still iterated
    finished: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    state: list[torch.Tensor] = []
    energies = None

    def finish(which: torch.Tensor, is_pruned: bool = False) -> None:
        tokens, mask = hidden_states[which], None if attention_mask is None else attention_mask[which]
        if read_out is not None and not is_pruned:
            tokens = read_out(mask)(tokens)
        finished.append((samples[which], tokens, torch.full_like(which, iteration)))

    for iteration, time_embedding in enumerate(time_embeddings, start=1):
        is_last = iteration == len(time_embeddings)
        hidden_states, _, *state = layer(
            hidden_states,
            initial_states,
            time_embedding,
            *state,
            iteration=iteration,
            attention_mask=attention_mask,
            rows=read_out(attention_mask) if is_last and read_out is not None else None,
            **options,
        )
        if is_last:
            finish(torch.arange(len(samples), device=samples.device), is_pruned=True)
            break
        before = energies
        with torch.no_grad():
            energies = layer.energies(hidden_states, attention_mask)
        if before is None:
            continue
        falls = is_falling(before, energies, energy_tolerance)
        if falls.all():
            continue
        finish(falls.logical_not().nonzero()[:, 0])
        going = falls.nonzero()[:, 0]
        if len(going) == 0:
            break
        samples, energies = samples[going], energies[going]
        hidden_states, initial_states = hidden_states[going], initial_states[going]
        state = [part[going] for part in state]
        attention_mask = None if attention_mask is None else attention_mask[going]

    order, tokens, iterations = (torch.cat(parts) for parts in zip(*finished, strict=True))
    order = order.argsort()
    return tokens[order], iterations[order]

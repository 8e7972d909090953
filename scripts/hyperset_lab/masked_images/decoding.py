# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Fill in masked VQ codes over several steps, the most certain ones first (MaskGIT; Appendix D.4 of the paper)."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch


def decoding_schedule(num_masked: int, num_steps: int) -> list[int]:
    """
    How many of `num_masked` codes to fix in each of T = `num_steps` steps: m_t ∝ arccos(1 − (t − 1)/(T − 1)), rounded so that
    every m_t is at least 1 and Σ m_t = `num_masked`. With fewer masked codes than steps there are `num_masked` steps of one.
    """
    if num_masked < 0 or num_steps < 1:
        raise ValueError(
            f"`num_masked` must not be negative and `num_steps` at least 1, got {num_masked} and {num_steps}."
        )
    num_steps = min(num_masked, num_steps)
    weights = [math.acos(1 - step / max(num_steps - 1, 1)) for step in range(num_steps)]
    total, so_far, fixed, counts = sum(weights) or 1.0, 0.0, 0, []
    for step, weight in enumerate(weights):
        so_far += weight
        wanted = round(num_masked * so_far / total)
        most = num_masked - (num_steps - step - 1)  # leave one for every later step
        now = most if step == num_steps - 1 else min(max(wanted, fixed + 1), most)
        counts.append(now - fixed)
        fixed = now
    return counts


@torch.no_grad()
def decoding_steps(
    predict: Callable[[torch.Tensor], torch.Tensor],
    codes: torch.Tensor,
    masked: torch.Tensor,
    mask_token_id: int,
    num_steps: int,
    generators: Sequence[torch.Generator],
    temperature: float = 1.0,
    choice_temperature: float = 4.5,
    schedule: Callable[[int, int], list[int]] = decoding_schedule,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """
    Fill in masked codes step by step. In step t = 1 … T, with p = softmax(logits / τ) of the codes as they are:

        c_i ~ p_i                                                    a candidate for every masked cell i
        s_i = ln p_i(c_i) + ρ (1 − (t − 1)/(T − 1)) g_i,   g_i ~ Gumbel(0, 1)
        fix the m_t candidates of largest s_i                        m_t from [`decoding_schedule`]

    Args:
        predict: Gives logits of shape `(batch_size, num_cells, num_codes)` for codes of shape `(batch_size, num_cells)`.
        codes (`torch.LongTensor` of shape `(batch_size, num_cells)`): Codes; what they hold where they are masked is ignored.
        masked (`torch.BoolTensor` of shape `(batch_size, num_cells)`): Where to fill in.
        mask_token_id (`int`): The id that stands for a masked code.
        num_steps (`int`): T; an image with fewer masked codes takes one step for each.
        generators (`torch.Generator` on the CPU, one per image): All that is random. An image is decoded alike in any batch.
        temperature (`float`): τ; 0 takes the most probable code.
        choice_temperature (`float`): ρ.
        schedule: Gives the m_t of all steps for a number of masked codes and of steps.

    Yields:
        The codes, `mask_token_id` where they are still masked, and a mask of those, after every step.

    Raises:
        `ValueError`: shapes that differ, another number of generators than images, or a temperature below 0.
    """
    if codes.ndim != 2 or codes.shape != masked.shape or len(generators) != len(codes):
        raise ValueError(
            "`codes` and `masked` must have one shape (batch_size, num_cells) and `generators` one entry per image, got "
            f"{tuple(codes.shape)}, {tuple(masked.shape)} and {len(generators)}."
        )
    if temperature < 0 or choice_temperature < 0:
        raise ValueError(
            f"`temperature` and `choice_temperature` must not be negative, got {temperature} and {choice_temperature}."
        )
    masked = masked.bool()
    codes = codes.masked_fill(masked, mask_token_id)
    schedules = [schedule(int(count), num_steps) for count in masked.sum(dim=1)]
    for step in range(max(map(len, schedules), default=0)):
        logits = predict(codes).float()
        noise = torch.stack([torch.rand(2, codes.shape[1], generator=generator) for generator in generators])
        noise = noise.to(codes.device)
        log_probabilities = (logits / (temperature or 1.0)).log_softmax(dim=-1)
        if temperature == 0:
            candidates = logits.argmax(dim=-1)
        else:
            # One uniform number per cell, looked up in the cumulative distribution.
            cumulative = log_probabilities.exp().cumsum(dim=-1)
            drawn = noise[:, 0, :, None] * cumulative[..., -1:]
            candidates = torch.searchsorted(cumulative, drawn, right=True).squeeze(-1)
            candidates = candidates.clamp(max=logits.shape[-1] - 1)
        certainty = log_probabilities.gather(-1, candidates[..., None]).squeeze(-1)
        gumbel = -(-noise[:, 1].clamp(min=1e-20).log()).clamp(min=1e-20).log()
        certainty = certainty + choice_temperature * (1 - step / max(num_steps - 1, 1)) * gumbel
        certainty = certainty.clamp(min=torch.finfo(certainty.dtype).min).masked_fill(~masked, -torch.inf)
        rank = certainty.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        counts = [own[step] if step < len(own) else 0 for own in schedules]
        fixed = rank < torch.tensor(counts, device=codes.device)[:, None]
        codes, masked = torch.where(fixed, candidates, codes), masked & ~fixed
        yield codes, masked


def iterative_decode(
    predict: Callable[[torch.Tensor], torch.Tensor], codes: torch.Tensor, masked: torch.Tensor, *args, **kwargs
) -> torch.Tensor:
    """
    The codes after the last of [`decoding_steps`], which takes the same arguments: of shape `(batch_size, num_cells)`, none
    masked, those that were not masked unchanged.
    """
    steps = deque(decoding_steps(predict, codes, masked, *args, **kwargs), maxlen=1)
    return steps[0][0] if steps else codes

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
How the authors' program measures reconstructions (Tables 3 and 18), where it differs from our measure:

- Every code is masked by itself with the probability of the masked share. Ours masks exactly that share.
- The choice of codes has no noise. The schedule counts all cells of the grid, not the masked ones alone.
- Image and reconstruction are stretched to [0, 1], every channel by its own minimum and maximum, before they are compared.
- PSNR is that of the mean squared error of 100 images, the batch of its evaluation. Ours is the mean PSNR of single images.
- FID reads 8-bit images that are cut off, not rounded.
"""

import math

import numpy as np
import torch


PREFIX = "program_"  # of the names of these measures
IMAGES_TOGETHER = 100


def bernoulli_cells(num_cells: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Where to mask, `(num_cells,)` booleans, each with the probability `share`. There may be none."""
    return rng.random(num_cells) < share


def grid_schedule(num_masked: int, num_cells: int, num_steps: int) -> list[int]:
    """
    How many of `num_masked` codes to fix in each step. The arccos schedule is that of all `num_cells`, rounded, at least 1 in a
    step, what is left in the last one. It ends when no masked code is left.
    """
    weights = [math.acos(1 - step / max(num_steps - 1, 1)) for step in range(num_steps)]
    counts = [max(1, round(num_cells * weight / (sum(weights) or 1.0))) for weight in weights]
    counts[-1] += num_cells - sum(counts)
    left, now = num_masked, []
    for count in counts:
        now.append(min(max(count, 0), left))
        left -= now[-1]
    now[-1] += left  # short schedules on small grids may leave some
    return now


def stretched(images: torch.Tensor) -> torch.Tensor:
    """Images `(batch_size, channels, height, width)`, every channel of each from its minimum at 0 to its maximum at 1."""
    low, high = images.amin(dim=(-2, -1), keepdim=True), images.amax(dim=(-2, -1), keepdim=True)
    return (images - low) / (high - low + 1e-8)


def pooled_psnr(psnr: torch.Tensor) -> float:
    """From the PSNR of single images in their order, `(num_images,)`: the mean over images of that of their batch of 100."""
    batches = (10 ** (-psnr.double() / 10)).split(IMAGES_TOGETHER)
    return float(sum(-10 * errors.mean().log10() * len(errors) for errors in batches) / len(psnr))

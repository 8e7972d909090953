# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Mean and standard deviation of data in batches, in constant memory."""

import math
from typing import Any, cast

import torch


class RunningStatistics:
    """
    Mean and standard deviation over all samples so far, in float64. Batches are merged as in Chan, Golub and LeVeque (1979): no
    sums of squares cancel, and no samples are kept.
    """

    def __init__(self):
        self.weight = 0.0
        self.mean: torch.Tensor | None = None
        self.squares: torch.Tensor | None = None  # Σ w (x − mean)²

    def update(self, values: torch.Tensor, weights: torch.Tensor | None = None) -> None:
        """
        Args:
            values (`torch.Tensor` of shape `(steps, batch_size, …)`): A value for each step and sample.
            weights (`torch.Tensor` of shape `(batch_size,)`, *optional*):
                The weight of each sample. Default: 1. The value of a sample with weight 0 is ignored.
        """
        values = values.detach().to("cpu", torch.float64)
        if weights is None:
            weights = torch.ones(values.shape[1], dtype=torch.float64)
        weights = weights.detach().to("cpu", torch.float64)
        weight = float(weights.sum())
        if weight == 0:
            return
        weights = weights.view(-1, *[1] * (values.ndim - 2))
        values = values.where(weights > 0, 0.0)
        mean = (values * weights).sum(dim=1) / weight
        squares = ((values - mean.unsqueeze(1)).square() * weights).sum(dim=1)
        if self.mean is None or self.squares is None:
            self.weight, self.mean, self.squares = weight, mean, squares
            return
        total = self.weight + weight
        difference = mean - self.mean
        self.mean = self.mean + difference * (weight / total)
        self.squares = self.squares + squares + difference.square() * (self.weight * weight / total)
        self.weight = total

    @property
    def std(self) -> torch.Tensor:
        """The standard deviation of the samples so far, √(Σ w (x − mean)² / Σ w)."""
        return (cast(torch.Tensor, self.squares) / self.weight).sqrt()

    def to_dict(self) -> dict[str, Any]:
        """`mean`, `std` and `count` (Σ w) as lists and numbers."""
        return {
            "mean": plain(cast(torch.Tensor, self.mean).tolist()),
            "std": plain(self.std.tolist()),
            "count": round(self.weight),
        }


def plain(values: Any) -> Any:
    """Nested lists of numbers. `None` replaces numbers that are not finite, because JSON cannot hold them."""
    if isinstance(values, list):
        return [plain(value) for value in values]
    return values if math.isfinite(values) else None

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Depth-wise LoRA: a low-rank change of W and D for every iteration (Table 5, Appendix G.2)."""

import torch
from torch import nn

from .configuration_hyperset import HyperSETConfig


class HyperSETDepthwiseLoRA(nn.Module):
    """
    W_t = W + s B_t A_t, and D_t likewise, with s = `lora_alpha / lora_rank`. The adapters of iteration t serve every layer,
    and the effective weight serves both directions.
    """

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.scaling = config.lora_scaling
        self.num_iterations = config.num_iterations
        self.zero_init = config.lora_init == "zeros"
        iterations, rank, d = config.num_iterations, config.lora_rank, config.hidden_size
        self.bases_a = nn.Parameter(torch.zeros(iterations, rank, d))
        self.bases_b = nn.Parameter(torch.zeros(iterations, d, rank))
        self.directions_a = nn.Parameter(torch.zeros(iterations, rank, d))
        self.directions_b = nn.Parameter(torch.zeros(iterations, config.intermediate_size, rank))  # type: ignore[arg-type]

    def forward(self, iteration: int) -> tuple[torch.Tensor, torch.Tensor]:
        """ΔW of shape `(hidden_size, hidden_size)` and ΔD of shape `(intermediate_size, hidden_size)` of iteration t ≥ 1."""
        index = iteration - 1
        return (
            self.scaling * (self.bases_b[index] @ self.bases_a[index]),
            self.scaling * (self.directions_b[index] @ self.directions_a[index]),
        )

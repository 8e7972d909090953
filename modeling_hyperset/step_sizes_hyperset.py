# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Step sizes α_t and γ_t: learned from the iteration and the tokens (Eq. 12, Appendix D.1), or fixed."""

import math
from collections.abc import Iterator

import torch
from torch import nn

from .configuration_hyperset import HyperSETConfig


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
    """e_t of Appendix D.1: the code of t through the network that `step_size_time_network` names."""

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.width = config.step_size_time_dim
        d, eps = config.hidden_size, config.rms_norm_eps
        linear = ZeroLinear if config.step_size_time_init == "zeros" else nn.Linear
        if config.step_size_time_network == "normed_mlp":
            self.network = nn.Sequential(
                linear(self.width, d),
                nn.RMSNorm(d, eps=eps),
                nn.GELU(),
                nn.RMSNorm(d, eps=eps),
                linear(d, d),
                nn.RMSNorm(d, eps=eps),
            )
        elif config.step_size_time_network == "mlp":
            self.network = nn.Sequential(linear(self.width, d), nn.GELU(), linear(d, d))
        else:
            self.network = nn.Sequential()

    def forward(self, num_iterations: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """e_t of t = 1, …, `num_iterations`, of shape `(num_iterations, hidden_size)`."""
        return self.network(time_codes(num_iterations, self.width, device, dtype))


# Channels of step sizes to compute at once.
AHEAD = 2**22


def given_step_sizes(_, hidden_states: torch.Tensor, step_sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """α and γ computed [`ahead`](HyperSETLearnedStepSize.ahead), in the place of a step size."""
    alpha, gamma = step_sizes.chunk(2, dim=-1)
    return alpha, gamma


class HyperSETLearnedStepSize(nn.Module):
    """[α_t, γ_t] = Linear(GELU(e_t + x)), with RMSNorms on x and on the sum where the config asks (Eq. 12)."""

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        d, eps = config.hidden_size, config.rms_norm_eps
        self.condition = config.step_size_condition
        self.token_norm = nn.RMSNorm(d, eps=eps) if config.step_size_token_norm else nn.Identity()
        self.sum_norm = nn.RMSNorm(d, eps=eps) if config.step_size_sum_norm else nn.Identity()
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
        embedding = self.sum_norm(time_embedding[..., None, None, :] + self.token_norm(tokens))
        return self.projection(self.activation(embedding))

    def ahead(self, time_embeddings: torch.Tensor, initial_states: torch.Tensor) -> Iterator[torch.Tensor]:
        """
        [α_t, γ_t] of all iterations in turn, where they depend on X_0: computed together while they are small, so that a short
        batch keeps a GPU busy, and no more of them at once than a long sequence has room for.
        """
        together = 1
        if not torch.compiler.is_compiling():  # which fuses them itself, and may not know the size
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

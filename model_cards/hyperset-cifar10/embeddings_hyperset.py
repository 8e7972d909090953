# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Embeddings of patches and of token ids, and their positions."""

import math
from typing import Any

import torch
from torch import nn

from .configuration_hyperset import HyperSETConfig


def sinusoidal_positions(num_positions: int, width: int) -> torch.Tensor:
    """One-dimensional positions: even channels sine, odd cosine, of pos · 10000^(−2i/width); `(num_positions, width)`."""
    frequencies = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = torch.arange(num_positions)[:, None] * frequencies
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


def sinusoidal_positions_2d(rows: int, columns: int, width: int) -> torch.Tensor:
    """
    Two-dimensional positions of a grid in row-major order, shape `(rows · columns, width)`. The first half of the channels is
    for the column index, the second for the row index. Each half is [sin, cos] of pos · 10000^(−i/(width/4)).
    """
    quarter = width // 4

    # In float64, because an update rule that divides by a root turns the rounding of a token into a move.
    def count(length):
        return torch.arange(length, dtype=torch.float64, device="cpu")

    frequencies = torch.exp(count(quarter) * (-math.log(10000.0) / quarter))

    def encode(length):
        angles = count(length)[:, None] * frequencies
        # `torch.empty(0)` has the dtype and the device that a new tensor gets.
        return torch.cat((angles.sin(), angles.cos()), dim=-1).to(torch.empty(0))

    column = encode(columns)[None, :, :].expand(rows, columns, -1)
    row = encode(rows)[:, None, :].expand(rows, columns, -1)
    return torch.cat((column, row), dim=-1).flatten(0, 1)


def patchify(pixel_values: torch.Tensor, patch_size: int) -> torch.Tensor:
    """
    `(batch_size, channels, height, width)` → `(batch_size, num_patches, patch_size² · channels)`: patches in row-major
    order. The values in a patch have the order (row, column, channel).
    """
    batch_size, channels, height, width = pixel_values.shape
    rows, columns = height // patch_size, width // patch_size
    patches = pixel_values.reshape(batch_size, channels, rows, patch_size, columns, patch_size)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(batch_size, rows * columns, channels * patch_size**2)


def unpatchify(patches: torch.Tensor, rows: int, columns: int, patch_size: int) -> torch.Tensor:
    """The inverse of [`patchify`] for a grid of `rows` × `columns` patches."""
    batch_size, channels = patches.shape[0], patches.shape[-1] // patch_size**2
    patches = patches.reshape(batch_size, rows, columns, patch_size, patch_size, channels)
    return patches.permute(0, 5, 1, 3, 2, 4).reshape(batch_size, channels, rows * patch_size, columns * patch_size)


class HyperSETPatchEmbeddings(nn.Module):
    """Patches that do not overlap, through LayerNorm(patch) → Linear → LayerNorm, or the Linear alone."""

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.patch_size = config.patch_size
        values = config.num_channels * config.patch_size**2
        d, eps = config.hidden_size, config.layer_norm_eps
        self.patch_norm = nn.LayerNorm(values, eps=eps) if config.patch_embedding_norm else nn.Identity()
        self.projection = nn.Linear(values, d)
        self.norm = nn.LayerNorm(d, eps=eps) if config.patch_embedding_norm else nn.Identity()

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """`(batch_size, channels, height, width)` → `(batch_size, num_patches, hidden_size)`."""
        patches = patchify(pixel_values, self.patch_size)
        return self.norm(self.projection(self.patch_norm(patches)))


class HyperSETEmbeddings(nn.Module):
    """X_0: [CLS] and embedded patches, or embedded token ids. Positions are added, then dropout is applied."""

    def __init__(self, config: HyperSETConfig, use_mask_token: bool = False):
        super().__init__()
        self.config = config
        d = config.hidden_size
        if config.takes_token_ids:
            self.token_embeddings = nn.Embedding(config.vocab_size, d)  # type: ignore[arg-type]
        else:
            self.patch_embeddings = HyperSETPatchEmbeddings(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, d)) if config.has_cls_token else None
        self.mask_token = nn.Parameter(torch.zeros(1, 1, d)) if use_mask_token else None
        if config.position_embedding_type == "rotary":
            self.position_embeddings: Any = None  # the layers turn the tokens instead
        elif config.position_embedding_type == "learned":
            self.position_embeddings = nn.Parameter(torch.zeros(1, config.num_positions, d))
        else:
            self.register_buffer("position_embeddings", self.fixed_positions(), persistent=False)
        self.dropout = nn.Dropout(config.embedding_dropout)

    @torch.no_grad()
    def resize(self, num_embeddings: int, std: float) -> None:
        """Give the token embedding another number of rows. New rows start from a normal distribution."""
        old = self.token_embeddings
        new = nn.Embedding(num_embeddings, old.embedding_dim, device=old.weight.device, dtype=old.weight.dtype)
        new.requires_grad_(old.weight.requires_grad)
        new.weight.normal_(std=std)
        kept = min(num_embeddings, old.num_embeddings)
        new.weight[:kept] = old.weight[:kept]
        self.token_embeddings = new

    @property
    def num_embeddings(self) -> int | None:
        """The number of token ids. (If an adapter of PEFT replaces their embedding, it comes from the config.)"""
        if not self.config.takes_token_ids:
            return None
        return getattr(self.token_embeddings, "num_embeddings", self.config.vocab_size)

    def fixed_positions(self) -> torch.Tensor:
        """The table of fixed positions, of shape `(1, num_positions, hidden_size)`. In a 2-D table [CLS] has zeros."""
        config = self.config
        if config.position_embedding_type == "sinusoidal":
            return sinusoidal_positions(config.num_positions, config.hidden_size)[None]
        table = sinusoidal_positions_2d(*config.grid_size, config.hidden_size)
        return nn.functional.pad(table, (0, 0, int(config.has_cls_token), 0))[None]

    def interpolate_pos_encoding(self, height: int, width: int) -> torch.Tensor:
        """The position table, resized (bicubic) from the config's grid of patches to the grid of a `height` × `width` image."""
        grid = (height // self.config.patch_size, width // self.config.patch_size)
        table = self.position_embeddings
        if grid == self.config.grid_size:
            return table
        prefix, patches = table.split((int(self.config.has_cls_token), math.prod(self.config.grid_size)), dim=1)
        patches = patches.transpose(1, 2).unflatten(-1, self.config.grid_size).float()
        patches = nn.functional.interpolate(patches, size=grid, mode="bicubic", align_corners=False)
        return torch.cat((prefix, patches.flatten(2).transpose(1, 2).to(table.dtype)), dim=1)

    def embed_images(
        self, pixel_values: torch.Tensor, bool_masked_pos: torch.BoolTensor | None, interpolate_pos_encoding: bool
    ) -> torch.Tensor:
        """[CLS] and embedded patches, plus positions. Masked patches are replaced by the mask token."""
        embeddings = self.patch_embeddings(pixel_values.to(self.position_embeddings.dtype))
        if bool_masked_pos is not None:
            if self.mask_token is None:
                raise ValueError("`bool_masked_pos` needs a mask token: use `HyperSETForMaskedImageModeling`.")
            masked = bool_masked_pos.bool().unsqueeze(-1)
            embeddings = torch.where(masked, self.mask_token.to(embeddings.dtype), embeddings)
        if self.cls_token is not None:
            cls_token = self.cls_token.to(embeddings.dtype).expand(embeddings.shape[0], -1, -1)
            embeddings = torch.cat((cls_token, embeddings), dim=1)
        positions: torch.Tensor = self.position_embeddings
        if interpolate_pos_encoding:
            positions = self.interpolate_pos_encoding(*pixel_values.shape[-2:])
        return embeddings + positions

    def embed_tokens(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None, position_ids: torch.Tensor | None
    ) -> torch.Tensor:
        """Embedded token ids, or the given embeddings, plus positions: those of `position_ids`, or 0, 1, 2, …."""
        if input_ids is not None:
            inputs_embeds = self.token_embeddings(input_ids)
        assert inputs_embeds is not None
        if self.position_embeddings is None:
            return inputs_embeds
        if position_ids is None:
            return inputs_embeds + self.position_embeddings[:, : inputs_embeds.shape[1]]
        return inputs_embeds + self.position_embeddings[0][position_ids]

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        bool_masked_pos: torch.BoolTensor | None = None,
        interpolate_pos_encoding: bool = False,
    ) -> torch.Tensor:
        """One input, already checked → X_0 of shape `(batch_size, seq_len, hidden_size)`."""
        if pixel_values is not None:
            return self.dropout(self.embed_images(pixel_values, bool_masked_pos, interpolate_pos_encoding))
        return self.dropout(self.embed_tokens(input_ids, inputs_embeds, position_ids))

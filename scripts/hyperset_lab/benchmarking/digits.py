# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The digits recipe's model and random images for it, to measure the cost of analysing them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch

from hyperset_lab.recipes import read_recipe
from modeling_hyperset import HyperSETConfig, HyperSETForImageClassification
from modeling_hyperset.presets import preset_config


RECIPE = Path(__file__).parents[2] / "recipes" / "digits.yaml"


class RandomBatches:
    """Batches of random images with labels, the same ones in every pass; they have a length and are never all in memory."""

    def __init__(self, config: HyperSETConfig, num_samples: int, batch_size: int, device: torch.device):
        self.config, self.num_samples, self.batch_size, self.device = config, num_samples, batch_size, device

    def __len__(self) -> int:
        return -(-self.num_samples // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        generator = torch.Generator().manual_seed(0)
        for start in range(0, self.num_samples, self.batch_size):
            count = min(self.batch_size, self.num_samples - start)
            size = (count, self.config.num_channels, *self.config.image_height_width)
            labels = torch.randint(len(self.config.id2label or ()), (count,), generator=generator)
            yield {
                "pixel_values": torch.randn(size, generator=generator).to(self.device),
                "labels": labels.to(self.device),
            }


def digits_model() -> HyperSETForImageClassification:
    """The model of the digits recipe, its step sizes other than zero."""
    torch.manual_seed(0)
    recipe = read_recipe(RECIPE)
    model = HyperSETForImageClassification(
        preset_config(recipe["config_name"], num_labels=10, **recipe["config_overrides"])
    )
    for step_size in model.hyperset.step_sizes:
        torch.nn.init.normal_(cast(Any, step_size).projection.weight, std=0.05)
    return model

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The paper's models by name. `python -m modeling_hyperset.presets` prints their parameter counts beside the paper's."""

from dataclasses import dataclass
from typing import Any

import torch

from .configuration_hyperset import HyperSETConfig
from .modeling_hyperset import (
    HyperSETForImageClassification,
    HyperSETForMaskedImageModeling,
    HyperSETForSequenceClassification,
    HyperSETForTokenClassification,
    HyperSETPreTrainedModel,
)


@dataclass(frozen=True)
class Preset:
    """A model of the paper: its head, the fields of its config, and where and with how many parameters it stands there."""

    model_class: type[HyperSETPreTrainedModel]
    config: dict[str, Any]
    table: str
    paper_parameters: str


SMALL = {"hidden_size": 384, "num_attention_heads": 6}
SMALL_SCALED_UP = {"hidden_size": 512, "num_attention_heads": 8}
WIDE = {"hidden_size": 640, "num_attention_heads": 10}
BASE = {"hidden_size": 768, "num_attention_heads": 12}

IMAGENET = {"num_labels": 1000}
TWELVE_LAYERS = {"num_hidden_layers": 12, "num_iterations": 1}
FIXED_STEP = {"step_size_type": "fixed", "step_size_attention": 0.1, "step_size_feedforward": 0.1}

# What the Sudoku and masked image models have in common against the image classifiers.
TOKEN_GRID = {
    "norm_type": "rmsnorm",
    "hidden_act": "relu",
    "shared_qkv_norm": True,
    "step_size_condition": "initial",
    "step_size_token_norm": False,
}
SUDOKU = TOKEN_GRID | {
    "vocab_size": 10,
    "num_labels": 9,
    "max_position_embeddings": 81,
    "position_embedding_type": "learned",
    "embedding_dropout": 0.1,
    "num_iterations": 24,
    "intermediate_size": 4 * 768,
    "classifier_bias": False,
    "step_size_time_network": "mlp",
}
MASKED_IMAGES = TOKEN_GRID | {
    "vocab_size": 1025,
    "max_position_embeddings": 256,
    "position_embedding_type": "sinusoidal_2d",
    "step_size_time_network": "none",
    "step_size_time_dim": 768,
    "step_size_sum_norm": True,
}
TEXT = {"vocab_size": 30522, "max_position_embeddings": 128, "num_iterations": 6, "num_labels": 5}

PRESETS: dict[str, Preset] = {
    "imagenet-small": Preset(HyperSETForImageClassification, IMAGENET | SMALL, "Table 16", "1.55 M"),
    "imagenet-small-fixed-step": Preset(
        HyperSETForImageClassification, IMAGENET | SMALL | FIXED_STEP, "Table 17", "0.91 M"
    ),
    "imagenet-small-scaled-up": Preset(
        HyperSETForImageClassification, IMAGENET | SMALL_SCALED_UP, "Table 1", "2.39 M"
    ),
    "imagenet-wide": Preset(HyperSETForImageClassification, IMAGENET | WIDE, "Table 1", "3.40 M"),
    "imagenet-base": Preset(HyperSETForImageClassification, IMAGENET | BASE, "Table 13", "–"),
    "imagenet-small-scaled-up-12-layers": Preset(
        HyperSETForImageClassification, IMAGENET | SMALL_SCALED_UP | TWELVE_LAYERS, "Table 2", "8.17 M"
    ),
    "imagenet-base-12-layers": Preset(
        HyperSETForImageClassification, IMAGENET | BASE | TWELVE_LAYERS, "Table 2", "17.56 M"
    ),
    "imagenet100-small-scaled-up": Preset(
        HyperSETForImageClassification, {"num_labels": 100} | SMALL_SCALED_UP, "Table 5", "1.93 M"
    ),
    "sudoku": Preset(HyperSETForTokenClassification, BASE | SUDOKU, "Table 8", "5.20 M"),
    "mim-base": Preset(HyperSETForMaskedImageModeling, BASE | MASKED_IMAGES, "Table 3", "3.94 M"),
    "mim-base-wide": Preset(
        HyperSETForMaskedImageModeling,
        BASE | MASKED_IMAGES | {"intermediate_size": 8 * 768, "num_iterations": 24},
        "Table 3",
        "8.07 M",
    ),
    "yelp-small": Preset(HyperSETForSequenceClassification, TEXT | SMALL, "Table 22", "12.66 M"),
}


def preset_config(name: str, **overrides: Any) -> HyperSETConfig:
    """
    The config of a preset.

    Args:
        name (`str`): A key of `PRESETS`.
        overrides: Fields of [`HyperSETConfig`] to set otherwise.

    Raises:
        `ValueError`: no such preset, or overrides that the config refuses.
    """
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}; the presets are {', '.join(PRESETS)}.")
    return HyperSETConfig(**(PRESETS[name].config | overrides))


def count_parameters(name: str) -> int:
    """Trainable parameters of a preset's model, counted without allocating them."""
    with torch.device("meta"):
        model = PRESETS[name].model_class(preset_config(name))
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    print(f"{'preset':<36}{'class':<34}{'parameters':>12}{'paper':>10}  table")
    for name, preset in PRESETS.items():
        count = f"{count_parameters(name):,}"
        print(f"{name:<36}{preset.model_class.__name__:<34}{count:>12}{preset.paper_parameters:>10}  {preset.table}")


if __name__ == "__main__":
    main()

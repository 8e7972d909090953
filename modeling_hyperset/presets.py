# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The paper's models by name. `python -m modeling_hyperset.presets` prints their parameter counts beside the paper's."""

from dataclasses import dataclass
from typing import Any

import torch

from .configuration_hyperset import HyperSETConfig
from .modeling_hyperset import (
    HyperSETForCausalLM,
    HyperSETForImageClassification,
    HyperSETForMaskedImageModeling,
    HyperSETForSequenceClassification,
    HyperSETForTokenClassification,
    HyperSETPreTrainedModel,
)


@dataclass(frozen=True)
class Preset:
    """A model of the paper: its head, the fields of its config, its table, and the parameter count in the paper."""

    model_class: type[HyperSETPreTrainedModel]
    config: dict[str, Any]
    table: str
    paper_parameters: str


def width(hidden_size: int) -> dict[str, int]:
    """The paper's heads are 64 wide."""
    return {"hidden_size": hidden_size, "num_attention_heads": hidden_size // 64}


SMALL, SMALL_SCALED_UP, BASE = width(384), width(512), width(768)  # Table 13

IMAGENET = {"num_labels": 1000}
IMAGENET100 = {"num_labels": 100}
# CIFAR from scratch: 32-pixel images, 8 × 8 patches, and the step-size network that the authors call "basic".
CIFAR10 = {"num_labels": 10, "image_size": 32, "patch_size": 4, "step_size_sum_norm": True}
CIFAR100 = CIFAR10 | {"num_labels": 100}
TWELVE_LAYERS = {"num_hidden_layers": 12, "num_iterations": 1}
PRE_NORM, LAYER_NORM = {"pre_norm": True}, {"sublayer_norm_type": "layernorm"}  # Table 17
FIXED_STEP = {"step_size_type": "fixed", "step_size_attention": 0.1, "step_size_feedforward": 0.1}
TRANSFORMER, CRATE, CRATE_T, ENERGY_TRANSFORMER = (
    {"layer_type": name} for name in ("transformer", "crate", "crate_t", "energy_transformer")
)

# Where the Sudoku and masked image models both differ from the image classifiers.
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
    # As in the authors' program. The step sizes never depend on t, so they also work beyond the trained iterations.
    "step_size_time_init": "zeros",
}
MASKED_IMAGES: dict[str, Any] = TOKEN_GRID | {
    "vocab_size": 1025,
    "max_position_embeddings": 256,
    "position_embedding_type": "sinusoidal_2d",
    "step_size_time_network": "none",
    "step_size_time_dim": 768,
    "step_size_sum_norm": True,
}
TEXT: dict[str, Any] = {
    "vocab_size": 30522,
    "max_position_embeddings": 128,
    "num_iterations": 6,
    "num_labels": 5,
} | SMALL


CAUSAL: dict[str, Any] = {
    "vocab_size": 50257,
    "max_position_embeddings": 1024,
    "position_embedding_type": "rotary",
    "attention_energy": "causal_softmax",
}
# The siblings at the parameters of a model beside them, each to within 0.1 %: of "causal-base", which iterates one layer twelve
# times, and of twelve layers at GPT-2's width. NRGPT has a d × d matrix for each head, so it has few heads.
ITERATED: dict[str, dict[str, Any]] = {
    "transformer": width(704) | {"intermediate_size": 3248},
    "yuriiformer": width(704) | {"intermediate_size": 3248},
    "cem": width(704) | {"intermediate_size": 3952},
    "nrgpt": {"hidden_size": 704, "num_attention_heads": 4, "intermediate_size": 5792},
}
TWELVE: dict[str, dict[str, Any]] = {
    "transformer": BASE,
    "yuriiformer": BASE,
    "cem": BASE | {"intermediate_size": 5 * 768},
}


def union(*parts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


def images(table: str, parameters: str, *parts: dict[str, Any]) -> Preset:
    """An image classifier whose config is the union of `parts`."""
    return Preset(HyperSETForImageClassification, union(*parts), table, parameters)


def text(parameters: str, *parts: dict[str, Any]) -> Preset:
    """A text classifier of Table 22."""
    return Preset(HyperSETForSequenceClassification, union(TEXT, *parts), "Table 22", parameters)


def codes(parameters: str, *parts: dict[str, Any]) -> Preset:
    """A masked image model of Tables 3 and 15."""
    return Preset(HyperSETForMaskedImageModeling, union(BASE, MASKED_IMAGES, *parts), "Tables 3, 15", parameters)


def causal(*parts: dict[str, Any]) -> Preset:
    """A model that writes text, which is not of the paper."""
    return Preset(HyperSETForCausalLM, union(CAUSAL, *parts), "–", "–")


def lora(rank: int) -> dict[str, int]:
    return {"lora_rank": rank}


# The models of Tables 1 and 2, by the name that follows the data set's. The paper counts their parameters on ImageNet-1K.
TABLE_1: dict[str, list[dict[str, Any]]] = {
    "small-transformer": [SMALL, TRANSFORMER],
    "crate-t-896": [width(896), CRATE_T],
    "crate-768": [BASE, CRATE],
    "energy-transformer-512": [SMALL_SCALED_UP, ENERGY_TRANSFORMER],
    "wide": [width(640)],
}
TABLE_2: dict[str, list[dict[str, Any]]] = {
    "small-transformer-12-layers": [SMALL, TWELVE_LAYERS, TRANSFORMER],
    "crate-512-12-layers": [SMALL_SCALED_UP, TWELVE_LAYERS, CRATE],
    "small-scaled-up-12-layers": [SMALL_SCALED_UP, TWELVE_LAYERS],
    "base-12-layers": [BASE, TWELVE_LAYERS],
}


def of_tables(data: str, fields: dict[str, Any], **tables: dict[str, list[dict[str, Any]]]) -> dict[str, Preset]:
    """The models of `tables` on one data set."""
    return {
        f"{data}-{name}": images(table.replace("_", " "), "–", fields, *parts)
        for table, models in tables.items()
        for name, parts in models.items()
    }


PRESETS: dict[str, Preset] = {
    # One layer, ImageNet-1K
    "imagenet-small": images("Tables 16, 17", "1.55 M", IMAGENET, SMALL),
    "imagenet-small-pre-norm": images("Table 17", "1.55 M", IMAGENET, SMALL, PRE_NORM),
    "imagenet-small-layernorm": images("Table 17", "1.55 M", IMAGENET, SMALL, LAYER_NORM),
    "imagenet-small-pre-norm-layernorm": images("Table 17", "1.55 M", IMAGENET, SMALL, PRE_NORM, LAYER_NORM),
    "imagenet-small-fixed-step": images("Table 17", "0.91 M", IMAGENET, SMALL, FIXED_STEP),
    "imagenet-small-fixed-step-pre-norm": images("Table 17", "0.91 M", IMAGENET, SMALL, FIXED_STEP, PRE_NORM),
    "imagenet-small-fixed-step-layernorm": images("Table 17", "0.91 M", IMAGENET, SMALL, FIXED_STEP, LAYER_NORM),
    "imagenet-small-fixed-step-pre-norm-layernorm": images(
        "Table 17", "0.91 M", IMAGENET, SMALL, FIXED_STEP, PRE_NORM, LAYER_NORM
    ),
    "imagenet-small-transformer": images("Tables 1, 16", "2.38 M", IMAGENET, *TABLE_1["small-transformer"]),
    "imagenet-small-crate": images("Table 16", "1.06 M", IMAGENET, SMALL, CRATE),
    "imagenet-small-crate-t": images("Table 16", "0.91 M", IMAGENET, SMALL, CRATE_T),
    "imagenet-small-energy-transformer": images("Table 16", "1.50 M", IMAGENET, SMALL, ENERGY_TRANSFORMER),
    "imagenet-small-scaled-up": images("Table 1", "2.39 M", IMAGENET, SMALL_SCALED_UP),
    "imagenet-wide": images("Table 1", "3.40 M", IMAGENET, *TABLE_1["wide"]),
    "imagenet-crate-t-896": images("Table 1", "3.04 M", IMAGENET, *TABLE_1["crate-t-896"]),
    "imagenet-crate-768": images("Table 1", "3.00 M", IMAGENET, *TABLE_1["crate-768"]),
    "imagenet-energy-transformer-512": images("Table 1", "2.39 M", IMAGENET, *TABLE_1["energy-transformer-512"]),
    "imagenet-base": images("Table 13", "–", IMAGENET, BASE),
    # Twelve layers, one iteration each
    "imagenet-small-scaled-up-12-layers": images("Table 2", "8.17 M", IMAGENET, *TABLE_2["small-scaled-up-12-layers"]),
    "imagenet-base-12-layers": images("Table 2", "17.56 M", IMAGENET, *TABLE_2["base-12-layers"]),
    "imagenet-small-transformer-12-layers": images(
        "Table 2", "21.86 M", IMAGENET, *TABLE_2["small-transformer-12-layers"]
    ),
    "imagenet-crate-512-12-layers": images("Table 2", "10.28 M", IMAGENET, *TABLE_2["crate-512-12-layers"]),
    # ImageNet-100 with depth-wise LoRA
    "imagenet100-small-scaled-up": images("Table 5", "1.93 M", IMAGENET100, SMALL_SCALED_UP),
    "imagenet100-small-scaled-up-lora-4": images("Table 5", "2.03 M", IMAGENET100, SMALL_SCALED_UP, lora(4)),
    "imagenet100-small-scaled-up-lora-8": images("Table 5", "2.13 M", IMAGENET100, SMALL_SCALED_UP, lora(8)),
    "imagenet100-small-scaled-up-lora-16": images("Table 5", "2.33 M", IMAGENET100, SMALL_SCALED_UP, lora(16)),
    "imagenet100-small-scaled-up-lora-32": images("Table 5", "2.72 M", IMAGENET100, SMALL_SCALED_UP, lora(32)),
    # CIFAR
    "cifar10-small-scaled-up": images("Table 10", "–", CIFAR10, SMALL_SCALED_UP),
    "cifar100-small-scaled-up": images("Table 10", "–", CIFAR100, SMALL_SCALED_UP),
    "cifar10-1536": images("Table 21", "14.3 M", CIFAR10, width(1536), {"step_size_time_dim": 1536}),
    "cifar10-transformer-1152": images("Table 21", "16.0 M", CIFAR10, width(1152), TRANSFORMER),
    "cifar10-crate-1152": images("Table 21", "4.1 M", CIFAR10, width(1152), CRATE),
    "cifar10-energy-transformer-1152": images("Table 21", "8.0 M", CIFAR10, width(1152), ENERGY_TRANSFORMER),
    "cifar100-1536": images("Table 21", "14.4 M", CIFAR100, width(1536), {"step_size_time_dim": 1536}),
    "cifar100-transformer-1152": images("Table 21", "16.1 M", CIFAR100, width(1152), TRANSFORMER),
    "cifar100-crate-1152": images("Table 21", "4.2 M", CIFAR100, width(1152), CRATE),
    "cifar100-energy-transformer-1152": images("Table 21", "8.1 M", CIFAR100, width(1152), ENERGY_TRANSFORMER),
    **of_tables("cifar10", CIFAR10, Table_1=TABLE_1, Table_2=TABLE_2),
    **of_tables("cifar100", CIFAR100, Table_1=TABLE_1, Table_2=TABLE_2),
    **of_tables("imagenet100", IMAGENET100, Table_1=TABLE_1),
    # Sudoku
    "sudoku": Preset(HyperSETForTokenClassification, BASE | SUDOKU, "Table 8", "5.20 M"),
    # Masked images. Only learned positions give the Transformer the paper's count.
    "mim-base": codes("3.94 M"),
    "mim-base-wide": codes("8.07 M", {"intermediate_size": 8 * 768, "num_iterations": 24}),
    "mim-base-transformer": codes("8.85 M", TRANSFORMER, {"position_embedding_type": "learned"}),
    # Text
    "yelp-small": text("12.66 M"),
    "yelp-small-transformer": text("13.49 M", TRANSFORMER),
    "yelp-small-crate-t": text("12.02 M", CRATE_T),
    "yelp-small-crate": text("12.17 M", CRATE),
    "yelp-small-energy-transformer": text("12.61 M", ENERGY_TRANSFORMER),
    # Text that the model writes, at GPT-2's size. Not of the paper.
    "causal-base": causal(BASE),
    **{f"causal-base-{name}": causal({"layer_type": name}, sizes) for name, sizes in ITERATED.items()},
    **{
        f"causal-12-layers-{name}": causal({"layer_type": name}, sizes, TWELVE_LAYERS)
        for name, sizes in TWELVE.items()
    },
}


def preset_config(name: str, **overrides: Any) -> HyperSETConfig:
    """
    The config of a preset.

    Args:
        name (`str`): A key of `PRESETS`.
        overrides: Fields of [`HyperSETConfig`] with other values.

    Raises:
        `ValueError`: the preset does not exist, or the config does not accept the overrides.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(f"`name` must be one of {', '.join(PRESETS)}, got {name!r}.")
    return HyperSETConfig(**(PRESETS[name].config | overrides))


def count_parameters(name: str) -> int:
    """The number of trainable parameters of a preset's model. They are not allocated."""
    with torch.device("meta"):
        model = PRESETS[name].model_class(preset_config(name))
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    print(f"{'preset':<46}{'class':<34}{'parameters':>12}{'paper':>10}  table")
    for name, preset in PRESETS.items():
        count = f"{count_parameters(name):,}"
        print(f"{name:<46}{preset.model_class.__name__:<34}{count:>12}{preset.paper_parameters:>10}  {preset.table}")


if __name__ == "__main__":
    main()

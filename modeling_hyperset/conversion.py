# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The authors' checkpoints: their options become a [`HyperSETConfig`], their tensors the weights of a model."""

import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch

from .configuration_hyperset import HyperSETConfig
from .modeling_hyperset import (
    HyperSETForImageClassification,
    HyperSETForMaskedImageModeling,
    HyperSETForTokenClassification,
    HyperSETPreTrainedModel,
)


StateDict = dict[str, torch.Tensor]

# Options of every task: the size of the layer and of its iteration.
COMMON_OPTIONS = {
    "n_layer": "num_hidden_layers",
    "n_recur": "num_iterations",
    "n_embd": "hidden_size",
}
IMAGE_CLASSES = ("HyperSET", "HyperSETBasic", "HyperSETFixedStepSize")

# Pairs of (pattern of the authors' whole name, our name), tried in order.
LAYER = r"(?:enc|blocks)\.(\d+)"
LAYER_RENAMES = [
    (rf"{LAYER}\.attn\.qkv\.weight", r"hyperset.layers.\1.attention.bases.weight"),
    (rf"{LAYER}\.attn\.ln1_1\.weight", r"hyperset.layers.\1.attention.qkv_norms.0.weight"),
    (rf"{LAYER}\.attn\.ln1_2\.weight", r"hyperset.layers.\1.attention.qkv_norms.1.weight"),
    (rf"{LAYER}\.attn\.ln1_3\.weight", r"hyperset.layers.\1.attention.qkv_norms.2.weight"),
    (rf"{LAYER}\.attn\.ln1\.weight", r"hyperset.layers.\1.attention.qkv_norms.0.weight"),
    (rf"{LAYER}\.mlp\.weight", r"hyperset.layers.\1.feedforward.directions.weight"),
    (rf"{LAYER}\.ln2\.weight", r"hyperset.layers.\1.feedforward.norm.weight"),
]
# The first module of the authors' time network is the code, which has no weights.
TIME_NETWORK_RENAMES = [
    (rf"time_mlp\.0\.{theirs}\.(\w+)", rf"hyperset.time_embedding.network.{theirs - 1}.\1") for theirs in range(1, 7)
]
IMAGE_RENAMES = [
    *LAYER_RENAMES,
    *TIME_NETWORK_RENAMES,
    (r"cls_token", "hyperset.embeddings.cls_token"),
    (r"emb\.0\.(\w+)", r"hyperset.embeddings.patch_embeddings.patch_norm.\1"),
    (r"emb\.1\.(\w+)", r"hyperset.embeddings.patch_embeddings.projection.\1"),
    (r"emb\.2\.(\w+)", r"hyperset.embeddings.patch_embeddings.norm.\1"),
    (r"ln_inp\.weight", "hyperset.step_sizes.0.token_norm.weight"),
    (r"fc\.0\.(\w+)", r"hyperset.norm.\1"),
    (r"fc\.1\.(\w+)", r"classifier.\1"),
]
IMAGE_DEFAULT_STEP_RENAMES = [(r"time_mlp\.1\.1\.(\w+)", r"hyperset.step_sizes.0.projection.\1")]
SUM_NORM_STEP_RENAMES = [
    (r"time_mlp\.1\.0\.weight", "hyperset.step_sizes.0.sum_norm.weight"),
    (r"time_mlp\.1\.2\.(\w+)", r"hyperset.step_sizes.0.projection.\1"),
]
SUDOKU_RENAMES = [
    *LAYER_RENAMES,
    *TIME_NETWORK_RENAMES,
    (r"tok_emb\.weight", "hyperset.embeddings.token_embeddings.weight"),
    (r"pos_emb", "hyperset.embeddings.position_embeddings"),
    (r"time_mlp\.1\.1\.(\w+)", r"hyperset.step_sizes.0.projection.\1"),
    (r"ln_f\.weight", "hyperset.norm.weight"),
    (r"head\.weight", "classifier.weight"),
]
MIM_RENAMES = [
    (r"tok_emb\.weight", "hyperset.embeddings.token_embeddings.weight"),
    (r"transformer\.qkv\.weight", "hyperset.layers.0.attention.bases.weight"),
    (r"transformer\.ln1\.weight", "hyperset.layers.0.attention.qkv_norms.0.weight"),
    (r"transformer\.mlp\.weight", "hyperset.layers.0.feedforward.directions.weight"),
    (r"transformer\.ln2\.weight", "hyperset.layers.0.feedforward.norm.weight"),
    *((rf"transformer\.{pattern}", name) for pattern, name in SUM_NORM_STEP_RENAMES),
    (r"lm_head\.0\.weight", "hyperset.norm.weight"),
    (r"lm_head\.1\.(\w+)", r"decoder.\1"),
]


def load_original_state_dict(path: str | PathLike) -> StateDict:
    """
    Read a checkpoint of the authors: a bare state dict, or one under `model_state_dict` (native) or under `state_dict` with
    names that start with `model.` (Lightning). Only tensors and plain containers are unpickled.

    Raises:
        `ValueError`: the file holds no state dict.
    """
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(checkpoint, Mapping):
        checkpoint = checkpoint.get("model_state_dict", checkpoint.get("state_dict", checkpoint))
    if not isinstance(checkpoint, Mapping) or not all(torch.is_tensor(value) for value in checkpoint.values()):
        raise ValueError(f"{path} holds no state dict: neither bare, nor under 'model_state_dict' or 'state_dict'.")
    return {name.removeprefix("model."): value for name, value in checkpoint.items()}


def option(options: Mapping[str, Any], name: str, expected: tuple | None = None, default: Any = None) -> Any:
    """One option (`None` is not given), with an error that names it where it is missing or not among `expected`."""
    value = options.get(name)
    value = default if value is None else value
    if value is None:
        raise ValueError(f"The options lack {name!r}; they hold {sorted(options)}.")
    if expected is not None and value not in expected:
        raise ValueError(f"The option {name!r} must be one of {', '.join(map(repr, expected))}, got {value!r}.")
    return value


def refuse_options(options: Mapping[str, Any], names: tuple[str, ...], model: str) -> None:
    """Options that would make another function of the same weights, and that `model` does not have."""
    if given := [name for name in names if options.get(name) is not None]:
        raise ValueError(
            f"{model} has no option {', '.join(map(repr, given))}, got {[options[name] for name in given]}."
        )


def time_width(options: Mapping[str, Any]) -> int:
    """Width of the time code, under either of its names; 512 unless given."""
    return option(options, "time_embed", default=option(options, "time_emb", default=512))


def image_config(options: Mapping[str, Any], state_dict: StateDict) -> tuple[HyperSETConfig, list]:
    """The config of an image classifier and the renames of its tensors."""
    kind = option(options, "class", IMAGE_CLASSES)
    refuse_options(options, ("attention", "ff", "r", "alpha", "phi_func", "adaptive_mode"), kind)
    config = {ours: option(options, theirs) for theirs, ours in COMMON_OPTIONS.items()}
    image_size, patches_per_side = option(options, "img_size"), option(options, "patch")
    if image_size % patches_per_side:
        raise ValueError(f"The option 'patch' must divide 'img_size', got {patches_per_side} and {image_size}.")
    config |= {
        "num_attention_heads": option(options, "head"),
        "intermediate_size": option(options, "mlp_hidden"),
        "num_labels": option(options, "num_classes"),
        "image_size": image_size,
        "patch_size": image_size // patches_per_side,
        "pooling": "cls" if "cls_token" in state_dict else "mean",
    }
    if kind == "HyperSETFixedStepSize":
        refuse_options(options, ("input_cond", "time_emb", "time_embed"), kind)
        step = option(options, "stepsize")
        config |= {"step_size_type": "fixed", "step_size_attention": step, "step_size_feedforward": step}
        step_renames = []
    else:
        refuse_options(options, ("stepsize",), kind)
        config |= {
            "step_size_time_dim": time_width(options),
            "step_size_condition": "initial" if option(options, "input_cond", default=False) else "current",
            "step_size_sum_norm": kind == "HyperSETBasic",
        }
        step_renames = SUM_NORM_STEP_RENAMES if kind == "HyperSETBasic" else IMAGE_DEFAULT_STEP_RENAMES
    return HyperSETConfig(**config), IMAGE_RENAMES + step_renames


def sudoku_config(options: Mapping[str, Any], state_dict: StateDict) -> tuple[HyperSETConfig, list]:
    """The config of a Sudoku solver and the renames of its tensors."""
    option(options, "model_type", ("hyper-set",))
    refuse_options(options, ("attention", "ff", "r", "alpha", "phi_func", "stepsize"), "The Sudoku model")
    option(options, "adaptive_mode", ("gd_with_learnable_step_size",))
    positions = option(options, "pos_emb", ("learnable", "sincos"))
    config = {ours: option(options, theirs) for theirs, ours in COMMON_OPTIONS.items()}
    config |= {
        "vocab_size": option(options, "vocab_size"),
        "max_position_embeddings": option(options, "block_size"),
        "position_embedding_type": "learned" if positions == "learnable" else "sinusoidal_2d",
        "embedding_dropout": 0.1,
        "num_attention_heads": option(options, "n_head"),
        "intermediate_size": option(options, "multiplier") * option(options, "n_embd"),
        "num_labels": option(options, "num_classes"),
        "norm_type": "rmsnorm",
        "classifier_bias": False,
        "hidden_act": "relu",
        "shared_qkv_norm": True,
        "step_size_time_dim": time_width(options),
        "step_size_time_network": "mlp",
        "step_size_condition": "initial" if option(options, "input_cond", default=True) else "current",
        "step_size_token_norm": False,
    }
    return HyperSETConfig(**config), SUDOKU_RENAMES


def masked_image_config(options: Mapping[str, Any], state_dict: StateDict) -> tuple[HyperSETConfig, list]:
    """The config of a model of VQ codes, each of 16 × 16 pixels, and the renames of its tensors."""
    option(options, "model", ("hyper-set",))
    refuse_options(options, ("attention", "ff", "r", "alpha", "phi_func", "stepsize"), "The masked image model")
    image_size = option(options, "img_size", default=256)
    if image_size % 16:
        raise ValueError(f"The option 'img_size' must be a multiple of 16, got {image_size}.")
    option(options, "adaptive_mode", ("gd_with_learnable_step_size",))
    option(options, "n_layer", (1,))
    config = {ours: option(options, theirs) for theirs, ours in COMMON_OPTIONS.items()}
    config |= {
        "vocab_size": option(options, "codebook_size") + 1,
        "max_position_embeddings": (image_size // 16) ** 2,
        "position_embedding_type": "sinusoidal_2d",
        "num_attention_heads": option(options, "head"),
        "intermediate_size": option(options, "multiplier") * option(options, "n_embd"),
        "norm_type": "rmsnorm",
        "hidden_act": "relu",
        "shared_qkv_norm": True,
        "step_size_time_dim": option(options, "n_embd"),
        "step_size_time_network": "none",
        "step_size_condition": "initial",
        "step_size_token_norm": False,
        "step_size_sum_norm": True,
    }
    return HyperSETConfig(**config), MIM_RENAMES


TASKS = {
    "image-classification": (image_config, HyperSETForImageClassification),
    "sudoku": (sudoku_config, HyperSETForTokenClassification),
    "masked-image-modeling": (masked_image_config, HyperSETForMaskedImageModeling),
}


def rename_state_dict(state_dict: StateDict, renames: list) -> StateDict:
    """
    The tensors under our names. The causal mask that Sudoku checkpoints hold and never apply is dropped.

    Raises:
        `ValueError`: names that no rename knows; the message lists them.
    """
    renamed, unknown = {}, []
    for name, tensor in state_dict.items():
        if name.endswith("attn.mask"):
            continue
        for pattern, template in renames:
            if match := re.fullmatch(pattern, name):
                renamed[match.expand(template)] = tensor
                break
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"The checkpoint holds tensors that the model has no place for: {', '.join(sorted(unknown))}."
        )
    return renamed


def convert_original_checkpoint(state_dict: StateDict, options: Mapping[str, Any]) -> HyperSETPreTrainedModel:
    """
    Build the model of an original checkpoint.

    Args:
        state_dict: What [`load_original_state_dict`] returns.
        options: The authors' option names and values, with `task`: `"image-classification"`, `"sudoku"` or
            `"masked-image-modeling"`.

    Returns:
        The model with the task's head, in evaluation mode.

    Raises:
        `ValueError`: an option that is missing or that the model does not have; tensors that are missing, left over or
            of another shape.
    """
    make_config, model_class = TASKS[option(options, "task", tuple(TASKS))]
    config, renames = make_config(options, state_dict)
    renamed = rename_state_dict(state_dict, renames)
    model = model_class(config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    missing, extra = shapes.keys() - renamed.keys(), renamed.keys() - shapes.keys()
    if missing or extra:
        raise ValueError(
            f"The checkpoint does not fit its options: missing {sorted(missing) or 'nothing'}, left over "
            f"{sorted(extra) or 'nothing'}."
        )
    wrong = [
        f"{name} {tuple(t.shape)} ≠ {tuple(shapes[name])}" for name, t in renamed.items() if t.shape != shapes[name]
    ]
    if wrong:
        raise ValueError(f"The checkpoint's shapes contradict its options: {'; '.join(wrong)}.")
    model.load_state_dict(renamed)
    return model.eval()

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The authors' checkpoints: their options become a [`HyperSETConfig`], their tensors the weights of a model."""

import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch

from .configuration_hyperset import HyperSETConfig
from .energies_hyperset import PHI
from .modeling_hyperset import (
    HyperSETForImageClassification,
    HyperSETForMaskedImageModeling,
    HyperSETForTokenClassification,
    HyperSETPreTrainedModel,
)


StateDict = dict[str, torch.Tensor]

IMAGE_CLASSES = (
    "HyperSET",
    "HyperSETBasic",
    "HyperSETFixedStepSize",
    "HyperSETLoRA",
    "HyperSETAlternativeAttention",
    "HyperSETAlternativeFeedforward",
)
# The options that one of these classes has and the others do not.
OWN_OPTIONS = {
    "HyperSETFixedStepSize": ("stepsize",),
    "HyperSETLoRA": ("r", "alpha"),
    "HyperSETAlternativeAttention": ("attention",),
    "HyperSETAlternativeFeedforward": ("ff",),
}
# Baselines by the authors' names of them; where only one of several spellings is known, the likely ones are taken too.
IMAGE_BASELINES = {
    "ViT": "transformer",
    "CRATE": "crate",
    "CRATE_T": "crate_t",
    "CRATET": "crate_t",
    "ET": "energy_transformer",
}
# The authors' names of Φ. `sigma` is the sigmoid attention energy.
PHI_NAMES = {name: name for name in PHI} | {"elu+1": "elu_plus_one", "elu + 1": "elu_plus_one"}
UPDATE_RULE_NAMES = {
    "gd": "gradient_descent",
    "gd_momentum": "momentum",
    "gd_nesterov": "nesterov",
    "rmsprop": "rmsprop",
    "rmsprop_momentum": "rmsprop_momentum",
    "adam": "adam",
}
LEARNED_SUFFIX = "_with_learnable_step_size"

# Where tensors go that the authors' program holds and never applies, such as the causal mask of the Sudoku models.
UNUSED = ""

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
    # Alternative energies: each layer has its own end of the step-size network.
    (rf"{LAYER}\.ln_inp\.weight", r"hyperset.step_sizes.\1.token_norm.weight"),
    (rf"{LAYER}\.time_mlp_inner\.0\.weight", r"hyperset.step_sizes.\1.sum_norm.weight"),
    (rf"{LAYER}\.time_mlp_inner\.2\.(\w+)", r"hyperset.step_sizes.\1.projection.\2"),
]
TRANSFORMER_RENAMES = [
    (rf"{LAYER}\.(?:la1|ln1)\.(\w+)", r"hyperset.layers.\1.attention_norm.\2"),
    (rf"{LAYER}\.(?:la2|ln2)\.(\w+)", r"hyperset.layers.\1.mlp_norm.\2"),
    (rf"{LAYER}\.(?:msa|attn)\.(?:q|query|qkv)\.weight", r"hyperset.layers.\1.attention.qkv_projs.0.weight"),
    (rf"{LAYER}\.(?:msa|attn)\.(?:k|key)\.weight", r"hyperset.layers.\1.attention.qkv_projs.1.weight"),
    (rf"{LAYER}\.(?:msa|attn)\.(?:v|value)\.weight", r"hyperset.layers.\1.attention.qkv_projs.2.weight"),
    (rf"{LAYER}\.(?:msa|attn)\.(?:o|proj)\.weight", r"hyperset.layers.\1.attention.output_proj.weight"),
    (rf"{LAYER}\.mlp\.0\.weight", r"hyperset.layers.\1.up_proj.weight"),
    (rf"{LAYER}\.mlp\.[23]\.weight", r"hyperset.layers.\1.down_proj.weight"),
]
CRATE_RENAMES = [
    (rf"{LAYER}\.attn\.norm\.(\w+)", r"hyperset.layers.\1.attention_norm.\2"),
    (rf"{LAYER}\.attn\.fn\.qkv\.weight", r"hyperset.layers.\1.attention.qkv_projs.0.weight"),
    (rf"{LAYER}\.attn\.fn\.to_out\.0\.(\w+)", r"hyperset.layers.\1.attention.output_proj.\2"),
    (rf"{LAYER}\.ff\.norm\.(\w+)", r"hyperset.layers.\1.coding_norm.\2"),
    (rf"{LAYER}\.ff\.fn\.weight", r"hyperset.layers.\1.dictionary.weight"),
]
ENERGY_TRANSFORMER_RENAMES = [
    (rf"{LAYER}\.0\.gamma", r"hyperset.layers.\1.norm.weight"),
    (rf"{LAYER}\.0\.bias", r"hyperset.layers.\1.norm.bias"),
    (rf"{LAYER}\.1\.hn\.proj\.weight", r"hyperset.layers.\1.memories.weight"),
    (rf"{LAYER}\.1\.attn\.wq", r"hyperset.layers.\1.attention.q_proj.weight"),
    (rf"{LAYER}\.1\.attn\.wk", r"hyperset.layers.\1.attention.k_proj.weight"),
]
BASELINE_RENAMES = {
    "transformer": TRANSFORMER_RENAMES,
    "shared_qkv_transformer": TRANSFORMER_RENAMES,
    "crate": CRATE_RENAMES,
    "crate_t": CRATE_RENAMES,
    "energy_transformer": ENERGY_TRANSFORMER_RENAMES,
}
# The first module of the authors' time network is the code, which has no weights. Where each layer has its own end of the
# step-size network, the names lack the first index.
TIME_NETWORK_RENAMES = [
    (rf"time_mlp\.(?:0\.)?{theirs}\.(weight|bias)", rf"hyperset.time_embedding.network.{theirs - 1}.\1")
    for theirs in range(1, 7)
]
IMAGE_RENAMES = [
    (r"cls_token", "hyperset.embeddings.cls_token"),
    (r"emb\.(weight|bias)", r"hyperset.embeddings.patch_embeddings.projection.\1"),
    (r"emb\.0\.(\w+)", r"hyperset.embeddings.patch_embeddings.patch_norm.\1"),
    (r"emb\.1\.(\w+)", r"hyperset.embeddings.patch_embeddings.projection.\1"),
    (r"emb\.2\.(\w+)", r"hyperset.embeddings.patch_embeddings.norm.\1"),
    (r"fc\.0\.(\w+)", r"hyperset.norm.\1"),
    (r"fc\.1\.(\w+)", r"classifier.\1"),
]
SHARED_STEP_RENAMES = [
    (r"ln_inp\.weight", "hyperset.step_sizes.0.token_norm.weight"),
    (r"time_mlp\.1\.1\.(\w+)", r"hyperset.step_sizes.0.projection.\1"),
    (r"time_mlp\.1\.0\.weight", "hyperset.step_sizes.0.sum_norm.weight"),
    (r"time_mlp\.1\.2\.(\w+)", r"hyperset.step_sizes.0.projection.\1"),
]
SUDOKU_RENAMES = [
    (rf"{LAYER}\.attn\.mask", UNUSED),
    (r"tok_emb\.weight", "hyperset.embeddings.token_embeddings.weight"),
    (r"pos_emb", "hyperset.embeddings.position_embeddings"),
    (r"ln_f\.weight", "hyperset.norm.weight"),
    (r"head\.weight", "classifier.weight"),
]
MIM_RENAMES = [
    (r"tok_emb\.weight", "hyperset.embeddings.token_embeddings.weight"),
    (r"transformer\.qkv\.weight", "hyperset.layers.0.attention.bases.weight"),
    (r"transformer\.ln1\.weight", "hyperset.layers.0.attention.qkv_norms.0.weight"),
    (r"transformer\.mlp\.weight", "hyperset.layers.0.feedforward.directions.weight"),
    (r"transformer\.ln2\.weight", "hyperset.layers.0.feedforward.norm.weight"),
    (r"lm_head\.0\.weight", "hyperset.norm.weight"),
    (r"lm_head\.1\.(\w+)", r"decoder.\1"),
]
MIM_STEP_RENAMES = [(rf"transformer\.{pattern}", name) for pattern, name in SHARED_STEP_RENAMES]
LORA_PARTS = {"attention_A": "bases_a", "attention_B": "bases_b", "ff_A": "directions_a", "ff_B": "directions_b"}


def load_original_state_dict(path: str | PathLike) -> StateDict:
    """
    Read a checkpoint of the authors: a bare state dict, or one under `model_state_dict` (native) or under `state_dict` with
    names that start with `model.` (Lightning). Only tensors and plain containers are unpickled.

    Raises:
        `ValueError`: the file holds no state dict.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises as many kinds as there are ways to break a file
        raise ValueError(f"{path} cannot be read as tensors and plain containers: {error}") from error
    if isinstance(checkpoint, Mapping):
        checkpoint = checkpoint.get("model_state_dict", checkpoint.get("state_dict", checkpoint))
    named = isinstance(checkpoint, Mapping) and all(isinstance(name, str) for name in checkpoint)
    if not named or not all(torch.is_tensor(value) for value in checkpoint.values()):
        raise ValueError(f"{path} holds no state dict: neither bare, nor under 'model_state_dict' or 'state_dict'.")
    return {name.removeprefix("model."): value for name, value in checkpoint.items()}


def option(options: Mapping[str, Any], name: str, expected: tuple | None = None, default: Any = None) -> Any:
    """One option (`None` is not given), with an error that names it where it is missing or not among `expected`."""
    value = options.get(name)
    value = default if value is None else value
    if value is None:
        raise ValueError(f"The options do not give {name!r}; they give {sorted(options)}.")
    if expected is not None and value not in expected:
        raise ValueError(f"The option {name!r} must be one of {', '.join(map(repr, expected))}, got {value!r}.")
    return value


def whole_number(options: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """One option that is a whole number of at least 1."""
    value = option(options, name, default=default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"The option {name!r} must be a whole number of at least 1, got {value!r}.")
    return value


def refuse_options(options: Mapping[str, Any], names: tuple[str, ...], model: str) -> None:
    """Options that would make another function of the same weights, and that `model` does not have."""
    if given := [name for name in names if options.get(name) is not None]:
        raise ValueError(
            f"{model} has no option {', '.join(map(repr, given))}, got {[options[name] for name in given]}."
        )


def measured(options: Mapping[str, Any], name: str, value: Any) -> Any:
    """What the shapes of the weights say, unless the option is given and says otherwise."""
    if options.get(name) not in (None, value):
        raise ValueError(
            f"The option {name!r} is {options[name]!r}, which contradicts the weights: they say {value!r}."
        )
    return value


def check_tensors(state_dict: StateDict) -> None:
    """Dense tensors with values, on a processor, from which sizes can be read."""
    for name, tensor in state_dict.items():
        dense = tensor.layout == torch.strided and not tensor.is_meta
        if not dense or tensor.is_complex() or tensor.ndim == 0 or tensor.numel() == 0:
            raise ValueError(
                f"The checkpoint's {name} must be a dense tensor of real numbers, of one dimension at least and not empty, got "
                f"shape {tuple(tensor.shape)}, {tensor.dtype}, {tensor.layout} on {tensor.device}."
            )


def find(state_dict: StateDict, pattern: str, dimensions: int = 1) -> torch.Tensor:
    """The first tensor whose name matches; it has at least so many dimensions."""
    for name, tensor in state_dict.items():
        if re.fullmatch(pattern, name):
            if tensor.ndim < dimensions:
                raise ValueError(
                    f"The checkpoint's {name} must have {dimensions} dimensions, got shape {tuple(tensor.shape)}."
                )
            return tensor
    raise ValueError(f"The checkpoint lacks a tensor {pattern!r} that says its size; it holds {sorted(state_dict)}.")


def has(state_dict: StateDict, pattern: str) -> bool:
    return any(re.fullmatch(pattern, name) for name in state_dict)


def measure_layers(options: Mapping[str, Any], state_dict: StateDict) -> dict[str, Any]:
    """Number of layers, counted, and of iterations, which only the adapters of a LoRA model tell."""
    indices = {match[1] for name in state_dict if (match := re.match(LAYER + r"\.", name))}
    iterations = len({name for name in state_dict if name.startswith("deltaW_attention_A.")})
    return {
        "num_hidden_layers": measured(options, "n_layer", max(len(indices), 1)),
        "num_iterations": measured(options, "n_recur", iterations) if iterations else whole_number(options, "n_recur"),
    }


def measure_heads(options: Mapping[str, Any], name: str, width: int, gain: torch.Tensor) -> int:
    """Number of heads, from the gain of one head's RMSNorm."""
    return measured(options, name, width // len(gain))


def time_width(options: Mapping[str, Any], state_dict: StateDict) -> int:
    """Width of the time code, under either of its names."""
    width = find(state_dict, r"time_mlp\.(?:0\.)?1\.weight", 2).shape[1]
    return measured(options, "time_embed", measured(options, "time_emb", width))


def update_rule(options: Mapping[str, Any]) -> tuple[str, bool]:
    """Our name of the update rule, and whether its step sizes are learned."""
    names = tuple(name + suffix for name in UPDATE_RULE_NAMES for suffix in ("", LEARNED_SUFFIX))
    mode = option(options, "adaptive_mode", names, default="gd" + LEARNED_SUFFIX)
    return UPDATE_RULE_NAMES[mode.removesuffix(LEARNED_SUFFIX)], mode.endswith(LEARNED_SUFFIX)


def image_config(options: Mapping[str, Any], state_dict: StateDict) -> tuple[HyperSETConfig, list]:
    """The config of an image classifier and the renames of its tensors."""
    kind = option(options, "class", (*IMAGE_CLASSES, *IMAGE_BASELINES))
    refuse_options(options, ("phi_func", "adaptive_mode"), kind)
    embedding = find(state_dict, r"emb\.(?:1\.)?weight", 2)
    width = measured(options, "n_embd", embedding.shape[0])
    patch_size = round((embedding.shape[1] / 3) ** 0.5)
    default = None if options.get("patch") is None else whole_number(options, "patch") * patch_size
    image_size = whole_number(options, "img_size", default)
    if image_size % patch_size:
        raise ValueError(
            f"The option 'img_size' must be a multiple of the {patch_size}-pixel patches, got {image_size}."
        )
    measured(options, "patch", image_size // patch_size)
    config = measure_layers(options, state_dict) | {
        "hidden_size": width,
        "num_labels": measured(options, "num_classes", find(state_dict, r"fc\.1\.weight").shape[0]),
        "image_size": image_size,
        "patch_size": patch_size,
        "pooling": "cls" if measured(options, "is_cls_token", "cls_token" in state_dict) else "mean",
    }
    if kind in IMAGE_BASELINES:
        extra, renames = baseline_config(options, state_dict, IMAGE_BASELINES[kind], width, "head")
        if extra["layer_type"] in ("transformer", "shared_qkv_transformer"):
            hidden = find(state_dict, rf"{LAYER}\.mlp\.0\.weight").shape[0]
            extra["intermediate_size"] = measured(options, "mlp_hidden", hidden)
        return HyperSETConfig(**(config | extra)), IMAGE_RENAMES + renames
    config |= {
        "num_attention_heads": measure_heads(options, "head", width, find(state_dict, r".*\.ln1_1\.weight")),
        "intermediate_size": measured(options, "mlp_hidden", find(state_dict, rf"{LAYER}\.mlp\.weight").shape[0]),
    }
    alternative = kind.startswith("HyperSETAlternative")
    others = {name for names in OWN_OPTIONS.values() for name in names} - set(OWN_OPTIONS.get(kind, ()))
    refuse_options(options, tuple(sorted(others)), kind)
    if kind == "HyperSETFixedStepSize":
        refuse_options(options, ("input_cond", "time_emb", "time_embed"), kind)
        step = option(options, "stepsize")
        config |= {"step_size_type": "fixed", "step_size_attention": step, "step_size_feedforward": step}
    else:
        config |= {
            "step_size_time_dim": time_width(options, state_dict),
            "step_size_condition": "initial"
            if option(options, "input_cond", (True, False), default=False)
            else "current",
            "step_size_sum_norm": alternative or kind == "HyperSETBasic",
            "step_size_per_layer": alternative,
        }
    if kind == "HyperSETAlternativeAttention":
        name = option(options, "attention", ("sigma", *PHI_NAMES))
        linear = {"attention_energy": "linear", "attention_phi": PHI_NAMES.get(name)}
        config |= {"attention_energy": "sigmoid"} if name == "sigma" else linear
    elif kind == "HyperSETAlternativeFeedforward":
        name = option(options, "ff", ("softmax", *PHI_NAMES))
        gated = {"feedforward_energy": "gated", "feedforward_phi": PHI_NAMES.get(name)}
        # ReLU stands for the paper's energy with its own gradient, not for a gate of ReLU.
        config |= {"softmax": {"feedforward_energy": "softmax"}, "relu": {"hidden_act": "relu"}}.get(name, gated)
    elif kind == "HyperSETLoRA":
        rank = measured(options, "r", find(state_dict, r"deltaW_attention_A\.0").shape[0])
        config |= {"lora_rank": rank, "lora_alpha": option(options, "alpha")}
    return HyperSETConfig(**config), IMAGE_RENAMES + LAYER_RENAMES + TIME_NETWORK_RENAMES + SHARED_STEP_RENAMES


def baseline_config(
    options: Mapping[str, Any], state_dict: StateDict, layer_type: str, width: int, heads: str
) -> tuple[dict[str, Any], list]:
    """What the config of a baseline says of its layer, and the renames of the layer's tensors."""
    refuse_options(options, ("attention", "ff", "r", "alpha", "phi_func", "stepsize"), f"The baseline {layer_type!r}")
    if layer_type == "transformer" and has(state_dict, rf"{LAYER}\.(?:msa|attn)\.qkv\.weight"):
        layer_type = "shared_qkv_transformer"
    extra: dict[str, Any] = {"layer_type": layer_type, "hidden_act": "relu"}
    if layer_type == "energy_transformer":
        extra["num_attention_heads"] = measured(options, heads, find(state_dict, rf"{LAYER}\.1\.attn\.wq").shape[0])
        extra["intermediate_size"] = find(state_dict, rf"{LAYER}\.1\.hn\.proj\.weight").shape[0]
    else:
        extra["num_attention_heads"] = option(options, heads)
    return extra, BASELINE_RENAMES[layer_type]


def sudoku_config(options: Mapping[str, Any], state_dict: StateDict) -> tuple[HyperSETConfig, list]:
    """The config of a Sudoku solver and the renames of its tensors."""
    kind = option(options, "model_type", ("hyper-set", "transformer"))
    refuse_options(options, ("attention", "ff", "r", "alpha", "phi_func", "stepsize"), "The Sudoku model")
    tokens = find(state_dict, r"tok_emb\.weight", 2)
    width = measured(options, "n_embd", tokens.shape[1])
    learned = measured(options, "pos_emb", "learnable" if "pos_emb" in state_dict else "sincos") == "learnable"
    cells = (
        measured(options, "block_size", find(state_dict, "pos_emb", 2).shape[1])
        if learned
        else option(options, "block_size", default=81)
    )
    config = measure_layers(options, state_dict) | {
        "hidden_size": width,
        "vocab_size": measured(options, "vocab_size", tokens.shape[0]),
        "max_position_embeddings": cells,
        "position_embedding_type": "learned" if learned else "sinusoidal_2d",
        "embedding_dropout": 0.1,
        "num_labels": measured(options, "num_classes", find(state_dict, r"head\.weight").shape[0]),
        "norm_type": "rmsnorm",
        "classifier_bias": False,
        "hidden_act": "relu",
    }
    if kind == "transformer":
        extra, renames = baseline_config(options, state_dict, "transformer", width, "n_head")
        hidden = find(state_dict, rf"{LAYER}\.mlp\.0\.weight").shape[0]
        measured(options, "multiplier", hidden // width)
        return HyperSETConfig(**(config | extra), intermediate_size=hidden), SUDOKU_RENAMES + renames
    rule, is_learned = update_rule(options)
    if not is_learned:
        raise ValueError(
            f"The option 'adaptive_mode' of a Sudoku model must end in {LEARNED_SUFFIX!r}, got {options['adaptive_mode']!r}."
        )
    hidden = find(state_dict, rf"{LAYER}\.mlp\.weight").shape[0]
    measured(options, "multiplier", hidden // width)
    config |= {
        "num_attention_heads": measure_heads(options, "n_head", width, find(state_dict, r".*\.attn\.ln1\.weight")),
        "intermediate_size": hidden,
        "shared_qkv_norm": True,
        "update_rule": rule,
        "step_size_time_dim": time_width(options, state_dict),
        "step_size_time_network": "mlp",
        "step_size_condition": "initial" if option(options, "input_cond", (True, False), default=True) else "current",
        "step_size_token_norm": False,
    }
    return HyperSETConfig(**config), SUDOKU_RENAMES + LAYER_RENAMES + TIME_NETWORK_RENAMES + SHARED_STEP_RENAMES


def masked_image_config(options: Mapping[str, Any], state_dict: StateDict) -> tuple[HyperSETConfig, list]:
    """The config of a model of VQ codes, each of 16 × 16 pixels, and the renames of its tensors."""
    option(options, "model", ("hyper-set",))
    refuse_options(options, ("attention", "ff", "r", "alpha", "phi_func", "stepsize"), "The masked image model")
    option(options, "n_layer", (1,), default=1)
    image_size = whole_number(options, "img_size", 256)
    if image_size % 16:
        raise ValueError(f"The option 'img_size' must be a multiple of 16, got {image_size}.")
    tokens = find(state_dict, r"tok_emb\.weight", 2)
    width = measured(options, "n_embd", tokens.shape[1])
    measured(options, "codebook_size", tokens.shape[0] - 1)
    hidden = find(state_dict, r"transformer\.mlp\.weight").shape[0]
    measured(options, "multiplier", hidden // width)
    rule, is_learned = update_rule(options)
    # Every rule but gradient descent with learned steps has the fixed steps 0.5 and 0.1.
    is_learned = is_learned and rule == "gradient_descent"
    config = {
        "num_iterations": whole_number(options, "n_recur"),
        "hidden_size": width,
        "vocab_size": tokens.shape[0],
        "max_position_embeddings": (image_size // 16) ** 2,
        "position_embedding_type": "sinusoidal_2d",
        "num_attention_heads": measure_heads(options, "head", width, find(state_dict, r"transformer\.ln1\.weight")),
        "intermediate_size": hidden,
        "norm_type": "rmsnorm",
        "hidden_act": "relu",
        "shared_qkv_norm": True,
        "update_rule": rule,
        "step_size_time_dim": width,
        "step_size_time_network": "none",
        "step_size_condition": "initial",
        "step_size_token_norm": False,
        "step_size_sum_norm": True,
    }
    if not is_learned:
        config |= {"step_size_type": "fixed", "step_size_attention": 0.5, "step_size_feedforward": 0.1}
        # The program builds the network of learned steps for every rule.
        return HyperSETConfig(**config), [*MIM_RENAMES, (r"transformer\.time_mlp\..*", UNUSED)]
    return HyperSETConfig(**config), [*MIM_RENAMES, *MIM_STEP_RENAMES]


TASKS = {
    "image-classification": (image_config, HyperSETForImageClassification),
    "sudoku": (sudoku_config, HyperSETForTokenClassification),
    "masked-image-modeling": (masked_image_config, HyperSETForMaskedImageModeling),
}


def stack_adapters(state_dict: StateDict) -> StateDict:
    """The depth-wise LoRA of a state dict, which holds a tensor for each iteration, as one tensor for all of them."""
    stacked = {}
    for theirs, ours in LORA_PARTS.items():
        prefix = f"deltaW_{theirs}."
        indices = sorted(
            int(match[1]) for name in state_dict if (match := re.fullmatch(rf"{re.escape(prefix)}(\d+)", name))
        )
        if indices != list(range(len(indices))):
            raise ValueError(f"The adapters {prefix}t must be numbered from 0 without gaps, got {indices}.")
        if len({state_dict[f"{prefix}{index}"].shape for index in indices}) > 1:
            raise ValueError(f"The adapters {prefix}t must have one shape.")
        if indices:
            stacked[f"hyperset.lora.{ours}"] = torch.stack([state_dict[f"{prefix}{index}"] for index in indices])
    return stacked


def rename_state_dict(state_dict: StateDict, renames: list) -> StateDict:
    """
    The tensors under our names, without those that the authors' program never applies.

    Raises:
        `ValueError`: names that no rename knows; the message lists them.
    """
    renamed, unknown = stack_adapters(state_dict), []
    for name, tensor in state_dict.items():
        if re.fullmatch(rf"deltaW_(?:{'|'.join(LORA_PARTS)})\.\d+", name):
            continue
        for pattern, template in renames:
            if match := re.fullmatch(pattern, name):
                if template != UNUSED:
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
            of another shape, or no dense tensors of real numbers.
    """
    check_tensors(state_dict)
    make_config, model_class = TASKS[option(options, "task", tuple(TASKS))]
    config, renames = make_config(options, state_dict)
    renamed = rename_state_dict(state_dict, renames)
    # The Energy Transformer's projections are (heads, head_dim, width) there.
    renamed = {
        name: t.flatten(0, 1) if name.endswith(("q_proj.weight", "k_proj.weight")) else t
        for name, t in renamed.items()
    }
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

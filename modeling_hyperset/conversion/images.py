# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The authors' image classifiers."""

from dataclasses import dataclass
from typing import Any

from ..configuration_hyperset import HyperSETConfig
from .layers import (
    CRATE_RENAMES,
    HYPERSET_RENAMES,
    LAYER,
    SHARED_STEP_RENAMES,
    TIME_NETWORK_RENAMES,
    VARIANT_OPTIONS,
    depth,
    energy_transformer_config,
    energy_transformer_renames,
    heads_of_gain,
    layer_renames,
    time_width,
    transformer_renames,
)
from .options import PHI_NAMES, Options
from .weights import Renames, StateDict, find, has


# The authors' classes: of Hyper-SET with the options of each alone, and of the baselines with our name.
HYPERSET_CLASSES: dict[str, tuple[str, ...]] = {
    "HyperSET": (),
    "HyperSETBasic": (),
    "HyperSETFixedStepSize": ("stepsize",),
    "HyperSETLoRA": ("r", "alpha"),
    "HyperSETAlternativeAttention": ("attention",),
    "HyperSETAlternativeFeedforward": ("ff",),
}
BASELINE_CLASSES = {
    "ViT": "transformer",
    "ViTSharedQKV": "shared_qkv_transformer",
    "CRATE": "crate",
    "CRATET": "crate_t",
    "ET": "energy_transformer",
}
# What only checkpoints of a class hold, tried in order. It tells what to ask for where the class is not given.
LAYOUTS = [
    (r"deltaW_.*", ("HyperSETLoRA",)),
    (rf"{LAYER}\.time_mlp_inner\..*", ("HyperSETAlternativeAttention", "HyperSETAlternativeFeedforward")),
    (r"time_mlp\.1\.2\.weight", ("HyperSETBasic",)),
    (r"time_mlp\..*", ("HyperSET",)),
    (rf"{LAYER}\.attn\.ln1_1\.weight", ("HyperSETFixedStepSize",)),
    (rf"{LAYER}\.msa\.q\.weight", ("ViT",)),
    (rf"{LAYER}\.msa\.qkv\.weight", ("ViTSharedQKV",)),
    (rf"{LAYER}\.attn\.fn\.to_out\..*", ("CRATE",)),
    (rf"{LAYER}\.attn\.fn\.qkv\.weight", ("CRATET",)),
    (rf"{LAYER}\.1\.attn\.wq", ("ET",)),
]


@dataclass(frozen=True)
class Dataset:
    """A data set of the program: its classes, and the sizes of its images, that of fine-tuning last."""

    classes: int
    sizes: tuple[int, ...]


DATASETS = {
    "c10": Dataset(10, (32, 224)),
    "c100": Dataset(100, (32, 224)),
    "svhn": Dataset(10, (32,)),
    "in100": Dataset(100, (224,)),
    "in1k": Dataset(1000, (224,)),
}

AROUND_RENAMES = [
    (r"cls_token", "hyperset.embeddings.cls_token"),
    (r"emb\.(weight|bias)", r"hyperset.embeddings.patch_embeddings.projection.\1"),
    (r"emb\.0\.(\w+)", r"hyperset.embeddings.patch_embeddings.patch_norm.\1"),
    (r"emb\.1\.(\w+)", r"hyperset.embeddings.patch_embeddings.projection.\1"),
    (r"emb\.2\.(\w+)", r"hyperset.embeddings.patch_embeddings.norm.\1"),
    (r"fc\.0\.(\w+)", r"hyperset.norm.\1"),
    (r"fc\.1\.(\w+)", r"classifier.\1"),
]
IMAGE_LAYER_RENAMES = [
    *HYPERSET_RENAMES,
    *layer_renames({f"attn.ln1_{index + 1}": f"attention.qkv_norms.{index}" for index in range(3)}),
    # Alternative energies: each layer has its own end of the step-size network.
    *layer_renames(
        {"ln_inp": "token_norm", "time_mlp_inner.0": "sum_norm", "time_mlp_inner.2": "projection"},
        ours="hyperset.step_sizes",
    ),
    *TIME_NETWORK_RENAMES,
    *SHARED_STEP_RENAMES,
]
# `attention` of the alternative attention: these energies, and the linear one with a Φ.
ATTENTION_ENERGIES = {"bisoftmax": "bi_softmax", "sigma": "sigmoid"}
UNCONVERTED_ATTENTION = {"relu": "ReLU (not the linear attention with this Φ)", "sigma_square": "σ²(1 − σ)"}
ATTENTION_PHI_NAMES = [name for name in PHI_NAMES if name not in UNCONVERTED_ATTENTION]
TRANSFORMER: dict[str, Any] = {"output": "msa.o", "norms": ("la1", "la2"), "mlp": ("mlp.0", "mlp.3")}
BASELINE_RENAMES = {
    "transformer": transformer_renames(("msa.q", "msa.k", "msa.v"), **TRANSFORMER),
    "shared_qkv_transformer": transformer_renames(("msa.qkv",), **TRANSFORMER),
    "crate": CRATE_RENAMES,
    "crate_t": CRATE_RENAMES,
    "energy_transformer": energy_transformer_renames(rf"{LAYER}\.0", rf"{LAYER}\.1"),
}


def image_config(options: Options, state_dict: StateDict) -> tuple[HyperSETConfig, Renames]:
    """The config of an image classifier and the renames of its tensors."""
    layout = next((names for pattern, names in LAYOUTS if has(state_dict, pattern)), ())
    hint = f" (the weights look like {' or '.join(layout)})" if layout else ""
    kind = options.choice("class", (*HYPERSET_CLASSES, *BASELINE_CLASSES), hint=hint)
    options.check_layout("class", layout)
    if "class" in options.missing and len(layout) != 1:
        options.count("n_recur")
        options.check()
    kind = layout[0] if "class" in options.missing else kind
    options.refuse(("phi_func", "adaptive_mode"), kind)
    embedding = find(state_dict, r"emb\.(?:1\.)?weight", 2)
    width = options.measured("n_embd", embedding.shape[0])
    config = depth(options, state_dict, "enc") | {
        "hidden_size": width,
        "num_labels": classes(options, find(state_dict, r"fc\.1\.weight").shape[0]),
        "pooling": "cls" if has_class_token(options, state_dict) else "mean",
        **patches(options, embedding.shape[1]),
    }
    if kind in BASELINE_CLASSES:
        layer_type = BASELINE_CLASSES[kind]
        config |= baseline_config(options, state_dict, kind, layer_type)
        renames = BASELINE_RENAMES[layer_type]
    else:
        config |= hyperset_config(options, state_dict, kind, width)
        renames = IMAGE_LAYER_RENAMES
    options.check()
    return HyperSETConfig(**config), AROUND_RENAMES + renames


def has_class_token(options: Options, state_dict: StateDict) -> bool:
    """Whether there is a class token; the option has two names."""
    return options.measured("is_cls_token", options.measured("use_cls_token", "cls_token" in state_dict))


def classes(options: Options, number: int) -> int:
    """The classes that the head has, which the option `dataset` stands for too."""
    if options.get("dataset") is not None:
        dataset = options.choice("dataset", DATASETS)
        if DATASETS[dataset].classes != number:
            raise ValueError(
                f"{options.named('dataset')} is {dataset!r}, which has {DATASETS[dataset].classes} classes and contradicts "
                f"the weights: they say {number}."
            )
    return options.measured("num_classes", number)


def patches(options: Options, values: int) -> dict[str, int]:
    """
    Sizes of image and patch in pixels, from the values of a patch, and from one of `img_size`, `patch` (patches per side) and
    `dataset`.
    """
    patch_size = round((values / 3) ** 0.5)
    per_side = None if options.get("patch") is None else options.count("patch")
    dataset = options.get("dataset")
    sizes = [size for size in DATASETS[dataset].sizes if size % patch_size == 0] if dataset in DATASETS else []
    image_size = per_side * patch_size if per_side else sizes[0] if sizes else None
    image_size = options.count("img_size", image_size)
    if "img_size" in options.missing:
        options.missing["img_size"] += ", or 'patch', the patches per side"
        return {"image_size": patch_size, "patch_size": patch_size}
    if image_size % patch_size:
        raise ValueError(
            f"{options.named('img_size')} must be a multiple of {patch_size}-pixel patches, got {image_size}."
        )
    options.measured("patch", image_size // patch_size)
    if dataset in DATASETS and image_size not in DATASETS[dataset].sizes:
        raise ValueError(
            f"{options.named('dataset')} is {dataset!r}, whose images have {' or '.join(map(str, DATASETS[dataset].sizes))} "
            f"pixels. This contradicts the {image_size} pixels that the other options and the weights say."
        )
    return {"image_size": image_size, "patch_size": patch_size}


def baseline_config(options: Options, state_dict: StateDict, kind: str, layer_type: str) -> dict[str, Any]:
    """What the config of a baseline says of its layer."""
    options.refuse(VARIANT_OPTIONS, kind)
    config: dict[str, Any] = {"layer_type": layer_type, "hidden_act": "relu"}
    if layer_type == "energy_transformer":
        return config | energy_transformer_config(options, state_dict, "head", rf"{LAYER}\.1")
    config["num_attention_heads"] = options.count("head")
    if layer_type in ("transformer", "shared_qkv_transformer"):
        hidden = find(state_dict, rf"{LAYER}\.mlp\.0\.weight").shape[0]
        config["intermediate_size"] = options.measured("mlp_hidden", hidden)
    return config


def hyperset_config(options: Options, state_dict: StateDict, kind: str, width: int) -> dict[str, Any]:
    """What the config of a Hyper-SET model says of its layer."""
    others = {name for names in HYPERSET_CLASSES.values() for name in names} - set(HYPERSET_CLASSES[kind])
    options.refuse(sorted(others), kind)
    hidden = find(state_dict, rf"{LAYER}\.mlp\.weight").shape[0]
    config: dict[str, Any] = {
        "num_attention_heads": heads_of_gain(options, "head", state_dict, width, rf"{LAYER}\.attn\.ln1_1\.weight"),
        "intermediate_size": options.measured("mlp_hidden", hidden),
    }
    condition = options.choice("input_cond", (True, False), default=False)
    if kind == "HyperSETFixedStepSize":
        step = options.number("stepsize")
        return config | {"step_size_type": "fixed", "step_size_attention": step, "step_size_feedforward": step}
    alternative = kind.startswith("HyperSETAlternative")
    config |= {
        "step_size_time_dim": time_width(options, state_dict),
        "step_size_condition": "initial" if condition else "current",
        "step_size_sum_norm": alternative or kind == "HyperSETBasic",
        "step_size_per_layer": alternative,
    }
    if alternative and condition:
        raise ValueError(
            f"{options.named('input_cond')} must be False for {kind}, got True: the program then applies its layer to the "
            "first tokens in every iteration, so that all but the last are lost. No config stands for that."
        )
    if kind == "HyperSETAlternativeAttention":
        if options.get("attention") in UNCONVERTED_ATTENTION:
            raise ValueError(
                f"{options.named('attention')} is {options.get('attention')!r}, for which the program applies "
                f"{UNCONVERTED_ATTENTION[options.get('attention')]} to the scores. No energy of this package does that, so it "
                "cannot be converted."
            )
        name = options.choice("attention", (*ATTENTION_ENERGIES, *ATTENTION_PHI_NAMES))
        linear = {"attention_energy": "linear", "attention_phi": PHI_NAMES.get(name)}
        return config | ({"attention_energy": ATTENTION_ENERGIES[name]} if name in ATTENTION_ENERGIES else linear)
    if kind == "HyperSETAlternativeFeedforward":
        name = options.choice("ff", ("softmax", *PHI_NAMES))
        gated = {"feedforward_energy": "gated", "feedforward_phi": PHI_NAMES.get(name)}
        # ReLU stands for the paper's energy with its own gradient, not for a gate of ReLU.
        return config | {"softmax": {"feedforward_energy": "softmax"}, "relu": {"hidden_act": "relu"}}.get(name, gated)
    if kind == "HyperSETLoRA":
        rank = options.measured("r", find(state_dict, r"deltaW_attention_A\.0").shape[0])
        return config | {"lora_rank": rank, "lora_alpha": options.number("alpha")}
    return config

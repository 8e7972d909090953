# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The authors' Sudoku solvers."""

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
    multiple_of_width,
    time_width,
    transformer_renames,
)
from .options import UPDATE_RULE_NAMES, Options
from .weights import UNUSED, Renames, StateDict, find, has


MODEL_TYPES = {
    "hyper-set": "hyperset",
    "transformer": "transformer",
    "transformer_shared": "shared_qkv_transformer",
    "crate": "crate",
    "et": "energy_transformer",
}
# What only checkpoints of a model type hold. It tells which options are to be asked for where the type is not given.
LAYOUTS = {
    "hyper-set": rf"{LAYER}\.attn\.ln1\.weight",
    "transformer": rf"{LAYER}\.attn\.query\.weight",
    "transformer_shared": rf"{LAYER}\.attn\.proj\.weight",
    "crate": rf"{LAYER}\.attn\.fn\.qkv\.weight",
    "et": rf"{LAYER}\.block\.attn\.wq",
}

AROUND_RENAMES = [
    (rf"{LAYER}\.attn\.mask", UNUSED),
    (r"tok_emb\.weight", "hyperset.embeddings.token_embeddings.weight"),
    (r"pos_emb", "hyperset.embeddings.position_embeddings"),
    (r"ln_f\.weight", "hyperset.norm.weight"),
    (r"head\.weight", "classifier.weight"),
]
TRANSFORMER: dict[str, Any] = {"output": "attn.proj", "norms": ("ln1", "ln2"), "mlp": ("mlp.0", "mlp.2")}
LAYER_RENAMES = {
    "hyperset": [
        *HYPERSET_RENAMES,
        *layer_renames({"attn.ln1": "attention.qkv_norms.0"}),
        *TIME_NETWORK_RENAMES,
        *SHARED_STEP_RENAMES,
    ],
    "transformer": transformer_renames(("attn.query", "attn.key", "attn.value"), **TRANSFORMER),
    "shared_qkv_transformer": transformer_renames(("attn.qkv",), **TRANSFORMER),
    "crate": CRATE_RENAMES,
    "energy_transformer": energy_transformer_renames(rf"{LAYER}\.norm", rf"{LAYER}\.block"),
}


def sudoku_config(options: Options, state_dict: StateDict) -> tuple[HyperSETConfig, Renames]:
    """The config of a Sudoku solver and the renames of its tensors."""
    layout = next((name for name, pattern in LAYOUTS.items() if has(state_dict, pattern)), None)
    kind = options.choice("model_type", MODEL_TYPES, hint=f" (the weights look like {layout!r})" if layout else "")
    options.check_layout("model_type", (layout,) if layout else ())
    if "model_type" in options.missing:
        kind = layout or kind
    options.refuse(VARIANT_OPTIONS, "The Sudoku model")
    tokens = find(state_dict, r"tok_emb\.weight", 2)
    width = options.measured("n_embd", tokens.shape[1])
    learned = options.measured("pos_emb", "learnable" if "pos_emb" in state_dict else "sincos") == "learnable"
    if learned:
        cells = options.measured("block_size", find(state_dict, "pos_emb", 2).shape[1])
    else:
        cells = options.count("block_size", 81)
    config = depth(options, state_dict, "blocks") | {
        "hidden_size": width,
        "vocab_size": options.measured("vocab_size", tokens.shape[0]),
        "max_position_embeddings": cells,
        "position_embedding_type": "learned" if learned else "sinusoidal_2d",
        "embedding_dropout": 0.1,
        "num_labels": options.measured("num_classes", find(state_dict, r"head\.weight").shape[0]),
        "norm_type": "rmsnorm",
        "classifier_bias": False,
        "layer_type": MODEL_TYPES[kind],
        "hidden_act": "relu",
        **layer_config(options, state_dict, kind, width),
    }
    options.check()
    return HyperSETConfig(**config), AROUND_RENAMES + LAYER_RENAMES[MODEL_TYPES[kind]]


def layer_config(options: Options, state_dict: StateDict, kind: str, width: int) -> dict[str, Any]:
    """What the config says of the layer alone."""
    if kind == "hyper-set":
        hidden = find(state_dict, rf"{LAYER}\.mlp\.weight").shape[0]
        gain = rf"{LAYER}\.attn\.ln1\.weight"
        condition = options.choice("input_cond", (True, False), default=True)
        return {
            "num_attention_heads": heads_of_gain(options, "n_head", state_dict, width, gain),
            "intermediate_size": multiple_of_width(options, hidden, width),
            "shared_qkv_norm": True,
            # The step sizes are learned under every rule, whatever its name says.
            "update_rule": UPDATE_RULE_NAMES[options.choice("adaptive_mode", UPDATE_RULE_NAMES)],
            "step_size_time_dim": time_width(options, state_dict),
            "step_size_time_network": "mlp",
            "step_size_condition": "initial" if condition else "current",
            "step_size_token_norm": False,
        }
    # The baselines read none of the options about step sizes.
    if kind == "et":
        return energy_transformer_config(options, state_dict, "n_head", rf"{LAYER}\.block")
    heads = {"num_attention_heads": options.count("n_head")}
    if kind == "crate":
        return heads | {"sublayer_norm_type": "layernorm"}
    hidden = find(state_dict, rf"{LAYER}\.mlp\.0\.weight").shape[0]
    return heads | {"intermediate_size": multiple_of_width(options, hidden, width)}

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The authors' models of masked images, as grids of VQ codes."""

from typing import Any

from ..configuration_hyperset import HyperSETConfig
from .layers import SHARED_STEP_RENAMES, heads_of_gain, multiple_of_width, transformer_renames
from .options import PHI_NAMES, UPDATE_RULE_NAMES, Options
from .weights import UNUSED, Renames, StateDict, count_layers, find, has


# Pixels of a side of what one code stands for.
CODE_SIZE = 16
# The rules with learned step sizes. The others take the fixed ones, though their checkpoints hold the step-size network too.
LEARNED_STEP_RULES = ("gradient_descent", "momentum")

LAYER = r"transformer\.layers\.(\d+)"
AROUND_RENAMES = [
    (r"tok_emb\.weight", "hyperset.embeddings.token_embeddings.weight"),
    (r"lm_head\.0\.weight", "hyperset.norm.weight"),
    (r"lm_head\.1\.(\w+)", r"decoder.\1"),
]
HYPERSET_RENAMES = [
    (r"transformer\.qkv\.weight", "hyperset.layers.0.attention.bases.weight"),
    (r"transformer\.ln1\.weight", "hyperset.layers.0.attention.qkv_norms.0.weight"),
    (r"transformer\.mlp\.weight", "hyperset.layers.0.feedforward.directions.weight"),
    (r"transformer\.ln2\.weight", "hyperset.layers.0.feedforward.norm.weight"),
]
STEP_RENAMES = [(rf"transformer\.{pattern}", name) for pattern, name in SHARED_STEP_RENAMES]
UNUSED_STEP_RENAMES = [(r"transformer\.time_mlp\..*", UNUSED)]
TRANSFORMER_RENAMES = transformer_renames(
    ("0.fn.query", "0.fn.key", "0.fn.value"),
    output="0.fn.proj",
    norms=("0.norm", "1.norm"),
    mlp=("1.fn.net.0", "1.fn.net.2"),
    layer=LAYER,
)


def masked_image_config(options: Options, state_dict: StateDict) -> tuple[HyperSETConfig, Renames]:
    """The config of a model of VQ codes and the renames of its tensors."""
    layout = "transformer" if has(state_dict, rf"{LAYER}\..*") else "hyper-set"
    kind = options.choice("model", ("hyper-set", "transformer"), hint=f" (the weights look like {layout!r})")
    options.check_layout("model", (layout,))
    kind = layout if "model" in options.missing else kind
    options.refuse(("attention", "ff", "r", "alpha", "stepsize"), "The masked image model")
    image_size = options.count("img_size", 256)
    if image_size % CODE_SIZE:
        raise ValueError(f"The option 'img_size' must be a multiple of {CODE_SIZE}, got {image_size}.")
    tokens = find(state_dict, r"tok_emb\.weight", 2)
    width = options.measured("n_embd", tokens.shape[1])
    options.measured("codebook_size", tokens.shape[0] - 1)
    config: dict[str, Any] = {
        "num_iterations": options.count("n_recur"),
        "hidden_size": width,
        "vocab_size": tokens.shape[0],
        "max_position_embeddings": (image_size // CODE_SIZE) ** 2,
        "position_embedding_type": "sinusoidal_2d",
        "norm_type": "rmsnorm",
        "hidden_act": "relu",
    }
    if kind == "transformer":
        options.refuse(("phi_func",), "The Transformer")
        options.choice("adaptive_mode", UPDATE_RULE_NAMES, default="gd_with_learnable_step_size")  # read by no branch
        hidden = find(state_dict, rf"{LAYER}\.1\.fn\.net\.0\.weight").shape[0]
        config |= {
            "layer_type": "transformer",
            "num_hidden_layers": options.measured("n_layer", count_layers(state_dict, r"transformer\.layers")),
            "num_attention_heads": options.count("head"),
            "intermediate_size": multiple_of_width(options, hidden, width),
        }
        renames = TRANSFORMER_RENAMES
    else:
        config |= hyperset_config(options, state_dict, width, config["max_position_embeddings"])
        steps = STEP_RENAMES if config["step_size_type"] == "learned" else UNUSED_STEP_RENAMES
        renames = HYPERSET_RENAMES + steps
    options.check()
    return HyperSETConfig(**config), AROUND_RENAMES + renames


def hyperset_config(options: Options, state_dict: StateDict, width: int, num_tokens: int) -> dict[str, Any]:
    """What the config of a Hyper-SET model says of its layer, the only one whatever `n_layer` says."""
    hidden = find(state_dict, r"transformer\.mlp\.weight").shape[0]
    rule = UPDATE_RULE_NAMES[options.choice("adaptive_mode", UPDATE_RULE_NAMES)]
    learned = rule in LEARNED_STEP_RULES
    config: dict[str, Any] = {
        "num_attention_heads": heads_of_gain(options, "head", state_dict, width, r"transformer\.ln1\.weight"),
        "intermediate_size": multiple_of_width(options, hidden, width),
        "shared_qkv_norm": True,
        "update_rule": rule,
        "step_size_type": "learned" if learned else "fixed",
        "step_size_attention": 0.5,
        "step_size_feedforward": 0.1,
        "step_size_time_dim": width,
        "step_size_time_network": "none",
        "step_size_condition": "initial",
        "step_size_token_norm": False,
        "step_size_sum_norm": True,
    }
    if options.get("phi_func") is not None:
        phi = PHI_NAMES[options.choice("phi_func", PHI_NAMES)]
        config |= {"attention_energy": "linear", "attention_phi": phi, "attention_beta": num_tokens**-0.5}
        config |= {"feedforward_energy": "gated", "feedforward_phi": phi}
    return config

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the tasks share: the names of a layer's tensors, and what a layer's weights say of its config."""

from typing import Any

from .options import Options
from .weights import Renames, StateDict, count_layers, find


LAYER = r"(?:enc|blocks)\.(\d+)"
# What all Hyper-SET layers have; images and Sudoku add the norms of theirs.
HYPERSET_RENAMES = [
    (rf"{LAYER}\.attn\.qkv\.weight", r"hyperset.layers.\1.attention.bases.weight"),
    (rf"{LAYER}\.mlp\.weight", r"hyperset.layers.\1.feedforward.directions.weight"),
    (rf"{LAYER}\.ln2\.weight", r"hyperset.layers.\1.feedforward.norm.weight"),
]
# The first module of the authors' time network is the code, which has no weights. Where each layer has its own end of the
# step-size network, the names lack the first index.
TIME_NETWORK_RENAMES = [
    (rf"time_mlp\.(?:0\.)?{theirs}\.(weight|bias)", rf"hyperset.time_embedding.network.{theirs - 1}.\1")
    for theirs in range(1, 7)
]
SHARED_STEP_RENAMES = [
    (r"ln_inp\.weight", "hyperset.step_sizes.0.token_norm.weight"),
    (r"time_mlp\.1\.1\.(\w+)", r"hyperset.step_sizes.0.projection.\1"),
    (r"time_mlp\.1\.0\.weight", "hyperset.step_sizes.0.sum_norm.weight"),
    (r"time_mlp\.1\.2\.(\w+)", r"hyperset.step_sizes.0.projection.\1"),
]
CRATE_RENAMES = [
    (rf"{LAYER}\.attn\.norm\.(\w+)", r"hyperset.layers.\1.attention_norm.\2"),
    (rf"{LAYER}\.attn\.fn\.qkv\.weight", r"hyperset.layers.\1.attention.qkv_projs.0.weight"),
    (rf"{LAYER}\.attn\.fn\.to_out\.0\.(\w+)", r"hyperset.layers.\1.attention.output_proj.\2"),
    (rf"{LAYER}\.ff\.norm\.(\w+)", r"hyperset.layers.\1.coding_norm.\2"),
    (rf"{LAYER}\.ff\.fn\.weight", r"hyperset.layers.\1.dictionary.weight"),
]
# Options of some Hyper-SET models, which no other model reads.
VARIANT_OPTIONS = ("attention", "ff", "r", "alpha", "phi_func", "stepsize")


def transformer_renames(
    attention_norm: str, mlp_norm: str, roles: tuple[str, ...], output: str, up: str, down: str
) -> Renames:
    """The renames of a Transformer's layers, from patterns; `roles` are those of Q, K and V, or the one of all three."""
    layer = r"hyperset.layers.\1"
    return [
        (attention_norm + r"\.(\w+)", rf"{layer}.attention_norm.\2"),
        *((role + r"\.weight", rf"{layer}.attention.qkv_projs.{i}.weight") for i, role in enumerate(roles)),
        (output + r"\.weight", rf"{layer}.attention.output_proj.weight"),
        (mlp_norm + r"\.(\w+)", rf"{layer}.mlp_norm.\2"),
        (up + r"\.weight", rf"{layer}.up_proj.weight"),
        (down + r"\.weight", rf"{layer}.down_proj.weight"),
    ]


def energy_transformer_renames(norm: str, block: str) -> Renames:
    """The renames of an Energy Transformer's layers: patterns of its norm and of its block."""
    layer = r"hyperset.layers.\1"
    return [
        (norm + r"\.gamma", rf"{layer}.norm.weight"),
        (norm + r"\.bias", rf"{layer}.norm.bias"),
        (block + r"\.hn\.proj\.weight", rf"{layer}.memories.weight"),
        (block + r"\.attn\.wq", rf"{layer}.attention.q_proj.weight"),
        (block + r"\.attn\.wk", rf"{layer}.attention.k_proj.weight"),
    ]


def depth(options: Options, state_dict: StateDict, prefix: str) -> dict[str, Any]:
    """Number of layers, counted, and of iterations, which only the adapters of a LoRA model tell."""
    iterations = len({name for name in state_dict if name.startswith("deltaW_attention_A.")})
    return {
        "num_hidden_layers": options.measured("n_layer", count_layers(state_dict, prefix)),
        "num_iterations": options.measured("n_recur", iterations) if iterations else options.count("n_recur"),
    }


def heads_of_gain(options: Options, name: str, state_dict: StateDict, width: int, pattern: str) -> int:
    """Number of heads, from the gain of one head's RMSNorm."""
    return options.measured(name, width // len(find(state_dict, pattern)))


def multiple_of_width(options: Options, hidden: int, width: int) -> int:
    """`hidden`, which the option `multiplier` gives as a multiple of the width."""
    options.measured("multiplier", hidden / width if hidden % width else hidden // width)
    return hidden


def time_width(options: Options, state_dict: StateDict) -> int:
    """Width of the time code, under either of its names."""
    width = find(state_dict, r"time_mlp\.(?:0\.)?1\.weight", 2).shape[1]
    return options.measured("time_embed", options.measured("time_emb", width))


def energy_transformer_config(options: Options, state_dict: StateDict, heads: str, block: str) -> dict[str, Any]:
    """Heads, and memories: as many as the weights have, whatever the options about an MLP say."""
    return {
        "num_attention_heads": options.measured(heads, find(state_dict, block + r"\.attn\.wq", 3).shape[0]),
        "intermediate_size": find(state_dict, block + r"\.hn\.proj\.weight", 2).shape[0],
    }

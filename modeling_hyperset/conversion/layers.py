# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the tasks share: the names of a layer's tensors, and what a layer's weights say of its config."""

import re
from collections.abc import Iterable
from typing import Any

from .options import Options
from .weights import Renames, StateDict, count_layers, find


LAYER = r"(?:enc|blocks)\.(\d+)"


def layer_renames(modules: dict[str, str], layer: str = LAYER, ours: str = "hyperset.layers") -> Renames:
    """The renames of the weights and biases in every layer, from the authors' names of its modules to ours."""
    return [(rf"{layer}\.{re.escape(theirs)}\.(\w+)", rf"{ours}.\1.{name}.\2") for theirs, name in modules.items()]


# What all Hyper-SET layers have; images and Sudoku add the norms of theirs.
HYPERSET_RENAMES = layer_renames(
    {"attn.qkv": "attention.bases", "mlp": "feedforward.directions", "ln2": "feedforward.norm"}
)
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
CRATE_RENAMES = layer_renames(
    {
        "attn.norm": "attention_norm",
        "attn.fn.qkv": "attention.qkv_projs.0",
        "attn.fn.to_out.0": "attention.output_proj",
        "ff.norm": "coding_norm",
        "ff.fn": "dictionary",
    }
)
# Options of some Hyper-SET models, which no other model reads.
VARIANT_OPTIONS = ("attention", "ff", "r", "alpha", "phi_func", "stepsize")


def transformer_renames(
    roles: Iterable[str], output: str, norms: tuple[str, str], mlp: tuple[str, str], layer: str = LAYER
) -> Renames:
    """The renames of a Transformer's layers. `roles` are those of Q, K and V, or the one of all three."""
    modules = {role: f"attention.qkv_projs.{index}" for index, role in enumerate(roles)}
    modules |= {output: "attention.output_proj"}
    modules |= dict(zip((*norms, *mlp), ("attention_norm", "mlp_norm", "up_proj", "down_proj"), strict=True))
    return layer_renames(modules, layer)


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

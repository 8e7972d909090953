# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
The tokenizer of the authors' masked-image models: a VQGAN in the layout of taming-transformers, as a `VQModel` of diffusers.

Both are the same network. They number the levels of the decoder in opposite directions, and attention is a 1 × 1 convolution in
one and a Linear in the other. docs/guides/checkpoints.md has the layout.
"""

import re
from collections.abc import Mapping
from typing import Any

from .options import is_number
from .weights import StateDict, check_tensors


# Tensors of the training alone: the discriminator and the perceptual loss.
DROPPED = r"loss\..*"
# Modules by their names there and here, within a level, the middle, the encoder or the decoder.
RESNET = {"norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2", "nin_shortcut": "conv_shortcut"}
ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
MIDDLE = {"block_1": "resnets.0", "attn_1": "attentions.0", "block_2": "resnets.1"}
ENDS = {"conv_in": "conv_in", "norm_out": "conv_norm_out", "conv_out": "conv_out"}
# Options of a level's blocks. `ddconfig` may say others, which the program ignores too.
COUNTS = ("z_channels", "resolution", "in_channels", "out_ch", "ch", "num_res_blocks")


def vqgan_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """
    `embed_dim`, `n_embed` and all of `ddconfig` of a `model.yaml`, checked.

    Raises:
        `ValueError`: the config lacks some, or they are not those of a VQGAN; the message lists all.
    """
    node: Any = config
    for name in ("model", "params"):
        node = node.get(name) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping):
        raise ValueError(
            "The config of the VQGAN must have `model.params`, as the model.yaml of taming-transformers does."
        )
    detail = node.get("ddconfig")
    detail = detail if isinstance(detail, Mapping) else {}
    options: dict[str, Any] = {"embed_dim": node.get("embed_dim"), "n_embed": node.get("n_embed")}
    options |= {name: detail.get(name) for name in (*COUNTS, "ch_mult", "attn_resolutions")}
    wrong = []
    for name, value in options.items():
        numbers = list(value) if isinstance(value, (list, tuple)) else [value]
        is_list = name in ("ch_mult", "attn_resolutions")
        fits = all(is_number(number, int) and number >= 1 for number in numbers) and (numbers or name != "ch_mult")
        if is_list != isinstance(value, (list, tuple)) or not fits:
            wrong.append(
                f"`{name}` must be {'a list of whole numbers' if is_list else 'a whole number'}, got {value!r}"
            )
    for name, wanted in {"double_z": False, "resamp_with_conv": True}.items():
        if detail.get(name, wanted) is not wanted:
            wrong.append(f"`{name}` must be {wanted}, got {detail[name]!r}: a `VQModel` has no other")
    if node.get("remap") is not None:
        wrong.append(f"`remap` must be null, got {node['remap']!r}: a `VQModel` does not number its codes anew")
    if not wrong and options["ch_mult"][0] != 1:
        wrong.append(
            f"`ch_mult` must start with 1, got {options['ch_mult']}: a `VQModel` has no narrower first convolution"
        )
    if not wrong and options["resolution"] % 2 ** (len(options["ch_mult"]) - 1):
        wrong.append(f"`resolution` must halve {len(options['ch_mult']) - 1} times, got {options['resolution']}")
    if wrong:
        raise ValueError(f"The config of the VQGAN does not fit: {'; '.join(wrong)}.")
    return options


def renames(levels: int) -> list[tuple[str, str]]:
    """Pairs of (pattern of taming's whole name, diffusers' name)."""
    found = [(r"(quantize\.embedding\.weight|(?:post_)?quant_conv\.\w+)", r"\1")]
    for part, theirs, ours in (("encoder", "down", "down_blocks"), ("decoder", "up", "up_blocks")):
        found += [(rf"{part}\.{name}\.(\w+)", rf"{part}.{new}.\1") for name, new in ENDS.items()]
        places = {rf"mid\.{name}": f"mid_block.{new}" for name, new in MIDDLE.items()}
        for level in range(levels):
            block = f"{ours}.{level if part == 'encoder' else levels - 1 - level}"
            places |= {rf"{theirs}\.{level}\.block\.(\d+)": rf"{block}.resnets.\1"}
            places |= {rf"{theirs}\.{level}\.attn\.(\d+)": rf"{block}.attentions.\1"}
            resampling = rf"{part}\.{theirs}\.{level}\.{theirs}sample\.conv\.(\w+)"
            found.append((resampling, rf"{part}.{block}.{theirs}samplers.0.conv.\1"))
        for place, new_place in places.items():
            for name, new in (ATTENTION if "att" in place else RESNET).items():
                last = 2 if "(" in place else 1
                found.append((rf"{part}\.{place}\.{name}\.(weight|bias)", rf"{part}.{new_place}.{new}.\{last}"))
    return found


def convert_vqgan(state_dict: StateDict, config: Mapping[str, Any]) -> tuple[dict[str, Any], StateDict]:
    """
    The arguments and the weights of the `VQModel` of diffusers that is a given VQGAN.

    Args:
        state_dict: The VQGAN's tensors, in the layout of taming-transformers, with or without those of its `loss`.
        config: Its `model.yaml`.

    Raises:
        `ValueError`: options that are missing or that a `VQModel` does not have, tensors without a place, or tensors and
            options that contradict each other; the message names both.
    """
    options = vqgan_options(config)
    kept = {name: tensor for name, tensor in state_dict.items() if not re.fullmatch(DROPPED, name)}
    check_tensors(kept)
    levels, table = len(options["ch_mult"]), renames(len(options["ch_mult"]))
    renamed, unknown = {}, []
    for name, tensor in kept.items():
        new = next((match.expand(new) for pattern, new in table if (match := re.fullmatch(pattern, name))), None)
        if new is None:
            unknown.append(name)
            continue
        if re.search(r"attentions\.\d+\.to_\w+(\.0)?\.weight", new) and tensor.ndim == 4:
            tensor = tensor.flatten(1)  # (out, in, 1, 1): a convolution of one pixel is a Linear
        renamed[new] = tensor
    if unknown:
        raise ValueError(f"The VQGAN holds tensors that a `VQModel` has no place for: {', '.join(sorted(unknown))}.")
    widths = [options["ch"] * factor for factor in options["ch_mult"]]
    attends = {}
    for part, theirs in (("encoder", "down"), ("decoder", "up")):
        has = [any(name.startswith(f"{part}.{theirs}.{level}.attn.") for name in kept) for level in range(levels)]
        said = [options["resolution"] // 2**level in options["attn_resolutions"] for level in range(levels)]
        if has != said:
            raise ValueError(
                f"`attn_resolutions` {options['attn_resolutions']} at `resolution` {options['resolution']} puts attention into "
                f"the levels {[i for i, yes in enumerate(said) if yes]} of the {part}. Its weights have it in "
                f"{[i for i, yes in enumerate(has) if yes]}."
            )
        attends[part] = has
    arguments = {
        "in_channels": options["in_channels"],
        "out_channels": options["out_ch"],
        "down_block_types": ["AttnDownEncoderBlock2D" if yes else "DownEncoderBlock2D" for yes in attends["encoder"]],
        "up_block_types": ["AttnUpDecoderBlock2D" if yes else "UpDecoderBlock2D" for yes in attends["decoder"][::-1]],
        "block_out_channels": widths,
        "layers_per_block": options["num_res_blocks"],
        "latent_channels": options["z_channels"],
        "sample_size": options["resolution"],
        "num_vq_embeddings": options["n_embed"],
        "vq_embed_dim": options["embed_dim"],
        "norm_num_groups": 32,
    }
    return arguments, renamed

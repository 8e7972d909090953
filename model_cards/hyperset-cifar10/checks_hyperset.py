# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Checks of the arguments of a call. Each raises a `ValueError` that names the argument, what came and what was expected.

Shapes and dtypes are checked everywhere. Values (of pixels, embeddings, ids, labels) are only read on the CPU, because reading
them on an accelerator would wait for it. There, torch's own kernels stop at ids and labels out of range, and a mask is checked
without a wait. No values are read while torch.compile or torch.export traces, or in the transforms of `torch.func`.
"""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils import is_tracing

from .configuration_hyperset import HyperSETConfig
from .modes_hyperset import in_transform


INTEGER_DTYPES = (torch.int64, torch.int32)


def is_traced(tensor: torch.Tensor) -> bool:
    """Whether `tensor` has no values to read: while tracing, in a transform, or on the meta device."""
    return torch.compiler.is_compiling() or is_tracing(tensor) or in_transform() or tensor.is_meta


def can_read_values(tensor: torch.Tensor) -> bool:
    """Whether the values of `tensor` can be read without waiting for a device."""
    return tensor.device.type == "cpu" and not is_traced(tensor) and tensor.numel() > 0


def has_no_padding(mask: torch.Tensor) -> bool:
    """Whether a boolean mask is known to hide nothing. `False` where that cannot be read without a wait."""
    return can_read_values(mask) and bool(mask.all())


def check_tensors(**arguments: torch.Tensor | None) -> None:
    """Each of the `arguments` is a tensor or `None`."""
    for name, value in arguments.items():
        if value is not None and not isinstance(value, torch.Tensor):
            raise ValueError(f"`{name}` must be a tensor, got {type(value).__name__}.")


def check_num_iterations(num_iterations: int, most: int | None = None) -> None:
    """`num_iterations` is an integer of at least 1, and at most `most`, the number of depth-wise adapters."""
    if isinstance(num_iterations, bool) or not isinstance(num_iterations, int) or num_iterations < 1:
        raise ValueError(f"`num_iterations` must be an integer of at least 1, got {num_iterations!r}.")
    if most is not None and num_iterations > most:
        raise ValueError(
            f"`num_iterations` must be at most {most}, got {num_iterations}: only {most} have LoRA adapters."
        )


def check_exporter(model: torch.nn.Module) -> None:
    """
    Raises:
        `ValueError`: TorchScript's ONNX exporter traces a model with RMSNorms. It has no operator for them.
    """
    if not torch.jit.is_tracing() or torch.compiler.is_compiling() or not torch.onnx.is_in_onnx_export():
        return
    if any(isinstance(module, torch.nn.RMSNorm) for module in model.modules()):
        raise ValueError(
            "TorchScript's ONNX exporter (`dynamo=False`) has no operator for RMSNorm: export with `dynamo=True`, as "
            "`scripts/export_onnx.py` does."
        )


def check_energy_tolerance(tolerance: Any, config: HyperSETConfig) -> None:
    """`tolerance` is a finite number of at least 0, and the layer has an energy."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf:
        raise ValueError(f"`energy_tolerance` must be a finite number of at least 0, or None, got {tolerance!r}.")
    if not config.has_energies:
        raise ValueError(
            f"`energy_tolerance` must be None, got {tolerance}: layer_type={config.layer_type!r} has no energy."
        )


def check_can_stop(hidden_states: torch.Tensor, **asked_for: bool) -> None:
    """
    Raises:
        `ValueError`: an output `asked_for` needs every sample after every iteration, but samples stop at different iterations;
            or the iterations are traced, so that the energies have no values to decide with.
    """
    if names := [name for name, wanted in asked_for.items() if wanted]:
        raise ValueError(
            f"`energy_tolerance` cannot be used with {' and '.join(f'`{name}`' for name in names)}, because samples stop at "
            "different iterations: pass `energy_tolerance=False`, or do not ask for them."
        )
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or hidden_states.is_meta:
        raise ValueError("`energy_tolerance` must be False in an exported or traced model and on the meta device.")


def check_inputs(
    config: HyperSETConfig,
    num_embeddings: int | None,
    input_ids: torch.Tensor | None,
    pixel_values: torch.Tensor | None,
    inputs_embeds: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    bool_masked_pos: torch.Tensor | None,
    interpolate_pos_encoding: bool,
    num_past: int = 0,
    mask_length: int | None = None,
) -> torch.Tensor | None:
    """
    The inputs of a call fit the config in kind, shape and values. Token ids come after `num_past` tokens of a cache, and
    `attention_mask` covers those too, or has `mask_length` columns. Returns the mask as booleans.
    """
    check_tensors(input_ids=input_ids, pixel_values=pixel_values, inputs_embeds=inputs_embeds)
    check_tensors(attention_mask=attention_mask, bool_masked_pos=bool_masked_pos)
    check_one_input(config, input_ids, pixel_values, inputs_embeds)
    if pixel_values is not None:
        check_pixel_values(pixel_values, config, any_size=interpolate_pos_encoding)
        batch_size, _, height, width = pixel_values.shape
        num_patches = (height // config.patch_size) * (width // config.patch_size)
        if bool_masked_pos is not None:
            check_shape("bool_masked_pos", bool_masked_pos, (batch_size, num_patches), "(batch_size, num_patches)")
        return check_mask(attention_mask, (batch_size, num_patches + int(config.has_cls_token)))
    for name, given in (("bool_masked_pos", bool_masked_pos), ("interpolate_pos_encoding", interpolate_pos_encoding)):
        if given is not None and given is not False:
            raise ValueError(f"`{name}` is for images; this model takes token ids.")
    if input_ids is not None:
        check_ids(input_ids, num_embeddings)  # type: ignore[arg-type]
        check_length("input_ids", input_ids.shape[1], config, num_past)
        return check_mask(attention_mask, (input_ids.shape[0], mask_length or num_past + input_ids.shape[1]))
    assert inputs_embeds is not None
    check_embeds(inputs_embeds, config.hidden_size)
    check_length("inputs_embeds", inputs_embeds.shape[1], config, num_past)
    return check_mask(attention_mask, (inputs_embeds.shape[0], mask_length or num_past + inputs_embeds.shape[1]))


def check_one_input(config: HyperSETConfig, input_ids, pixel_values, inputs_embeds) -> None:
    """There is exactly one input, of the kind that the config needs."""
    inputs = {"input_ids": input_ids, "pixel_values": pixel_values, "inputs_embeds": inputs_embeds}
    given = [name for name, tensor in inputs.items() if tensor is not None]
    wanted = ("input_ids", "inputs_embeds") if config.takes_token_ids else ("pixel_values",)
    if len(given) != 1 or given[0] not in wanted:
        kind = f"vocab_size={config.vocab_size}"
        raise ValueError(
            f"Pass exactly one of {' and '.join(f'`{name}`' for name in wanted)} to a model with {kind}, got "
            f"{' and '.join(f'`{name}`' for name in given) or 'none'}."
        )


def check_pixel_values(pixel_values: torch.Tensor, config: HyperSETConfig, any_size: bool) -> None:
    """Floating-point images with the config's channels and size, or with `any_size` any multiple of the patch size."""
    if pixel_values.ndim != 4 or pixel_values.shape[1] != config.num_channels:
        raise ValueError(
            f"`pixel_values` must have shape (batch_size, {config.num_channels}, height, width), got "
            f"{tuple(pixel_values.shape)}."
        )
    if not pixel_values.is_floating_point():
        raise ValueError(f"`pixel_values` must be floating point, got {pixel_values.dtype}: use an image processor.")
    size = tuple(pixel_values.shape[-2:])
    if any_size:
        if any(side < config.patch_size or side % config.patch_size for side in size):
            raise ValueError(f"`pixel_values` sides must be divisible by patch_size={config.patch_size}, got {size}.")
    elif size != config.image_height_width:
        raise ValueError(
            f"`pixel_values` must be images of {config.image_height_width}, got {size}. Pass "
            "`interpolate_pos_encoding=True` for another size."
        )
    check_finite("pixel_values", pixel_values)


def check_length(name: str, length: int, config: HyperSETConfig, num_past: int = 0) -> None:
    """There is a position for each token. In a grid there is also a token for each position."""
    longest = config.max_position_embeddings
    if config.position_embedding_type == "rotary":  # any number of positions
        return
    if config.position_embedding_type == "sinusoidal_2d" and length != longest:
        raise ValueError(
            f"`{name}` must hold the whole grid of max_position_embeddings={longest} tokens for "
            f"position_embedding_type='sinusoidal_2d', got a sequence of {length}."
        )
    if num_past + length > longest:
        after = f" after the {num_past} of `past_key_values`" if num_past else ""
        raise ValueError(f"`{name}` must have at most max_position_embeddings={longest} tokens, got {length}{after}.")


def check_ids(input_ids: torch.Tensor, vocab_size: int) -> None:
    """Integers of shape `(batch_size, seq_len)` in [0, vocab_size)."""
    if input_ids.ndim != 2 or input_ids.shape[1] < 1:
        raise ValueError(f"`input_ids` must have shape (batch_size, seq_len), got {tuple(input_ids.shape)}.")
    if input_ids.dtype not in INTEGER_DTYPES:
        raise ValueError(f"`input_ids` must be integers, got {input_ids.dtype}.")
    check_range("input_ids", input_ids, vocab_size, "vocab_size")


def check_embeds(inputs_embeds: torch.Tensor, width: int) -> None:
    """Floating-point embeddings of shape `(batch_size, seq_len, width)`."""
    if inputs_embeds.ndim != 3 or inputs_embeds.shape[1] < 1 or inputs_embeds.shape[2] != width:
        raise ValueError(
            f"`inputs_embeds` must have shape (batch_size, seq_len, {width}), got {tuple(inputs_embeds.shape)}."
        )
    if not inputs_embeds.is_floating_point():
        raise ValueError(f"`inputs_embeds` must be floating point, got {inputs_embeds.dtype}.")
    check_finite("inputs_embeds", inputs_embeds)


def check_position_ids(position_ids: torch.Tensor, shape: Sequence[int], config: HyperSETConfig) -> None:
    """Integers of shape `(batch_size, seq_len)` or `(1, seq_len)`, in the table of positions if there is one."""
    if tuple(position_ids.shape) not in {tuple(shape), (1, shape[1])} or position_ids.dtype not in INTEGER_DTYPES:
        raise ValueError(
            f"`position_ids` must be integers of shape (batch_size, seq_len) = {tuple(shape)}, got "
            f"{position_ids.dtype} of {tuple(position_ids.shape)}."
        )
    if config.position_embedding_type != "rotary":
        check_range("position_ids", position_ids, config.max_position_embeddings, "max_position_embeddings")


def check_shape(name: str, tensor: torch.Tensor, shape: Sequence[int], sizes: str) -> None:
    """The tensor has this shape; `sizes` names what it consists of."""
    if tensor.shape != shape:
        raise ValueError(f"`{name}` must have shape {sizes} = {tuple(shape)}, got {tuple(tensor.shape)}.")


def check_finite(name: str, tensor: torch.Tensor) -> None:
    """There is no NaN or infinity. In training one would spread over the whole batch."""
    if can_read_values(tensor) and not bool(torch.isfinite(tensor).all()):
        samples = (~torch.isfinite(tensor.detach().flatten(1))).any(dim=1).nonzero().flatten().tolist()
        raise ValueError(f"`{name}` must be finite, got NaN or infinity in samples {samples[:8]} of {len(tensor)}.")


def check_range(name: str, tensor: torch.Tensor, bound: int, bound_name: str, ignore: int | None = None) -> None:
    """Every value of an integer tensor lies in [0, bound), or is `ignore`."""
    if not can_read_values(tensor):
        return
    if ignore is not None:
        tensor = tensor.masked_fill(tensor == ignore, 0)
    low, high = (int(value) for value in torch.aminmax(tensor))
    if low < 0 or high >= bound:
        raise ValueError(f"`{name}` must lie in [0, {bound_name}={bound}), got values from {low} to {high}.")


def check_mask(attention_mask: torch.Tensor | None, shape: Sequence[int]) -> torch.Tensor | None:
    """1 for each token and 0 for padding. Returned as booleans."""
    if attention_mask is None:
        return None
    check_shape("attention_mask", attention_mask, shape, "(batch_size, seq_len)")
    # Additive masks are errors: their 0 means the opposite.
    if attention_mask.dtype != torch.bool and not is_traced(attention_mask) and attention_mask.numel():
        message = "`attention_mask` must hold 1 for tokens and 0 for padding, got other values."
        valid = ((attention_mask == 0) | (attention_mask == 1)).all()
        if can_read_values(attention_mask):
            if not valid:
                raise ValueError(message)
        elif attention_mask.device.type in ("cpu", "cuda"):  # other devices do not have this operator
            torch._assert_async(valid, message)  # does not wait: it stops the device later
    return attention_mask.bool()


def flatten_grid(name: str, tensor: torch.Tensor, grid: Sequence[int] | None) -> torch.Tensor:
    """`(batch_size, rows, columns)` → `(batch_size, rows · columns)`. The rows and columns must be `grid`, if given."""
    if tensor.ndim not in (2, 3):
        raise ValueError(
            f"`{name}` must have shape (batch_size, rows, columns) or (batch_size, rows * columns), got "
            f"{tuple(tensor.shape)}."
        )
    if tensor.ndim == 3 and grid is not None and tuple(tensor.shape[1:]) != tuple(grid):
        raise ValueError(f"`{name}` must be a grid of {tuple(grid)}, got {tuple(tensor.shape[1:])}.")
    return tensor.flatten(1)


def check_sample_labels(labels: torch.Tensor, batch_size: int, config: HyperSETConfig) -> None:
    """One label for each sample, of the kind that `problem_type` names. Without it, their dtype decides the kind."""
    num_labels: int = config.num_labels  # type: ignore[assignment]
    problem_type: str | None = config.problem_type
    shapes: list[tuple[int, ...]]
    if problem_type is None:
        integers = labels.dtype in INTEGER_DTYPES
        multi_or_single = "single_label_classification" if integers else "multi_label_classification"
        problem_type = "regression" if num_labels == 1 else multi_or_single
    if problem_type == "single_label_classification":
        shapes = [(batch_size,)]
    elif problem_type == "regression" and num_labels == 1:
        shapes = [(batch_size,), (batch_size, 1)]
    else:
        shapes = [(batch_size, num_labels)]
    if tuple(labels.shape) not in shapes:
        raise ValueError(
            f"`labels` must have shape {' or '.join(map(str, shapes))} for {problem_type} with "
            f"num_labels={num_labels}, got {tuple(labels.shape)}."
        )
    if problem_type == "single_label_classification":
        if labels.dtype not in INTEGER_DTYPES:
            raise ValueError(f"`labels` must be integers for single_label_classification, got {labels.dtype}.")
        check_range("labels", labels, num_labels, "num_labels")
    elif not labels.is_floating_point():
        raise ValueError(f"`labels` must be floating point for {problem_type}, got {labels.dtype}.")


def check_token_labels(labels: torch.Tensor, shape: Sequence[int], num_classes: int, bound_name: str) -> None:
    """One integer for each token, in [0, num_classes), or -100 for tokens without a label."""
    if labels.shape != shape:
        raise ValueError(f"`labels` must have the shape of the tokens, {tuple(shape)}, got {tuple(labels.shape)}.")
    if labels.dtype not in INTEGER_DTYPES:
        raise ValueError(f"`labels` must be integers, got {labels.dtype}.")
    check_range("labels", labels, num_classes, bound_name, ignore=-100)


def check_shards(name_or_path: str | os.PathLike | None, subfolder: str | None) -> None:
    """
    The index of a checkpoint in a local folder only names files in that folder, without a path. (For the Hub, its client checks
    this. Links are allowed, because the Hub's cache consists of them.)
    """
    folder = Path(name_or_path or "", subfolder or "")
    if not name_or_path or not folder.is_dir():
        return
    for path in folder.glob("*.index*.json"):
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            shards = {str(shard) for shard in index["weight_map"].values()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} must be JSON with a `weight_map` from weights to files: {error!r}.") from error
        if outside := sorted(name for name in shards if name != os.path.basename(name) or name in ("", ".", "..")):
            raise ValueError(f"The `weight_map` of {path} must name files in its folder, got {', '.join(outside)}.")

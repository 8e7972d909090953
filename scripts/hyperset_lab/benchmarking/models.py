# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What `benchmark.py` measures: models of one task and width, their inputs, and attention alone."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from modeling_hyperset import HyperSETForImageClassification, HyperSETForSequenceClassification
from modeling_hyperset.attention_hyperset import bi_softmax_eager, bi_softmax_fused
from modeling_hyperset.presets import preset_config
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    PreTrainedModel,
    ViTConfig,
    ViTForImageClassification,
)


@dataclass(frozen=True)
class Setting:
    """The size of one line."""

    batch_size: int
    num_tokens: int  # of a sample, with [CLS]
    num_iterations: int  # of the one layer


@dataclass
class Subject:
    """A model, or an attention, as something to call."""

    forward: Callable[[], torch.Tensor]  # gives what is differentiated
    parameters: list[torch.Tensor]  # by what it is differentiated
    num_parameters: int | None = None
    flops: int | None = None
    module: torch.nn.Module | None = None


# Names of presets and of the fields that a line sets otherwise. The Transformer is what all are relative to.
IMAGE_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "transformer": ("imagenet-small-transformer", {}),
    "hyperset": ("imagenet-small", {}),
    "hyperset-fixed": ("imagenet-small-fixed-step", {}),
    "hyperset-whole": ("imagenet-small", {"prune_last_iteration": False}),
    "hyperset-eager": ("imagenet-small", {"prune_last_iteration": False, "attn_implementation": "eager"}),
    "crate": ("imagenet-small-crate", {}),
    "crate_t": ("imagenet-small-crate-t", {}),
    "energy_transformer": ("imagenet-small-energy-transformer", {}),
}
TEXT_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "transformer": ("yelp-small-transformer", {}),
    "hyperset": ("yelp-small", {}),
    "hyperset-fixed": ("yelp-small", {"step_size_type": "fixed"}),
    "crate": ("yelp-small-crate", {}),
    "energy_transformer": ("yelp-small-energy-transformer", {}),
}
# What a user would take instead, from transformers.
OTHERS = {"image": ("vit",), "text": ("albert",)}
ATTENTIONS = ("sdpa-self-attention", "bi-softmax-fused", "bi-softmax-eager")


def make_model(task: str, name: str, setting: Setting) -> PreTrainedModel:
    """A model with random weights, as wide and as deep as the preset with that setting."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
    sizes["num_hidden_layers"] = setting.num_iterations
    if task == "text" and name == "albert":
        length = max(512, setting.num_tokens)
        fields = {"vocab_size": 30522, "max_position_embeddings": length, "num_labels": 5, **sizes}
        return AlbertForSequenceClassification(AlbertConfig(**fields))
    if name == "vit":
        fields = {"image_size": image_size(setting), "patch_size": 14, "num_labels": 1000, **sizes}
        return ViTForImageClassification(ViTConfig(**fields))
    preset, fields = (IMAGE_MODELS if task == "image" else TEXT_MODELS)[name]
    fields = {"num_iterations": setting.num_iterations} | fields
    implementation = fields.pop("attn_implementation", None)
    if task == "image":
        config = preset_config(preset, image_size=image_size(setting), **fields)
        return HyperSETForImageClassification._from_config(config, attn_implementation=implementation)
    config = preset_config(preset, max_position_embeddings=max(512, setting.num_tokens), **fields)
    return HyperSETForSequenceClassification._from_config(config, attn_implementation=implementation)


def image_size(setting: Setting) -> int:
    """Pixels of a square image of so many tokens in 14-pixel patches, with [CLS]."""
    side = round((setting.num_tokens - 1) ** 0.5)
    if side < 1 or side**2 + 1 != setting.num_tokens:
        raise ValueError(
            f"`--num_tokens` must be a square number plus one ([CLS]) for images, as 257, got {setting.num_tokens}."
        )
    return 14 * side


def make_inputs(task: str, setting: Setting, device: torch.device) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (setting.batch_size,), generator=generator)
    if task == "image":
        size = image_size(setting)
        inputs = {"pixel_values": torch.randn(setting.batch_size, 3, size, size, generator=generator)}
    else:
        shape = (setting.batch_size, setting.num_tokens)
        inputs = {"input_ids": torch.randint(1000, 30000, shape, generator=generator)}
    return {name: value.to(device) for name, value in (inputs | {"labels": labels}).items()}


def count_flops(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> int:
    """Of the forward pass of one sample, by torch's counter, which knows our kernels but not those of SDPA on a CPU."""
    chosen = model.config._attn_implementation
    if chosen == "sdpa":
        model.set_attn_implementation("eager")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.eval()(**{name: value[:1] for name, value in inputs.items()})
    model.set_attn_implementation(chosen)
    return counter.get_total_flops()


def model_subject(task: str, name: str, setting: Setting, options: argparse.Namespace) -> Subject:
    """A model of a line, with the device, dtype, compilation and checkpointing that `options` say."""
    device = torch.device(options.device)
    model = make_model(task, name, setting)
    torch.nn.Module.to(model, device)
    inputs = make_inputs(task, setting, device)
    flops = count_flops(model, inputs)
    if options.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    call: Callable[..., Any] = model
    if options.compile:
        # Models of one class share code: without room for all of them, torch would run the later ones uncompiled.
        torch._dynamo.config.recompile_limit = 1000
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        settings: dict[str, Any] = {"mode": options.compile_mode, "dynamic": False}
        if options.compile == "model":
            call = torch.compile(model, **settings)
        elif hasattr(model, "compile_repeated_blocks"):
            cast(Any, model).compile_repeated_blocks(**settings)
        else:
            raise ValueError(f"`--compile blocks` is for models of this package, and {name!r} is none: leave it out.")
    dtype = getattr(torch, options.dtype)

    def forward():
        if options.compile_mode != "default":
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            return call(**inputs).loss

    return Subject(forward, list(model.parameters()), model.num_parameters(), flops, model)


def attention_subject(name: str, setting: Setting, options: argparse.Namespace) -> Subject:
    """Attention alone, of width 512 in 8 heads: bi-softmax, or self-attention by SDPA of the same shape."""
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    generator = torch.Generator().manual_seed(0)
    shape = (setting.batch_size, 8, setting.num_tokens, 64)
    tokens = F.rms_norm(torch.randn(shape, generator=generator), shape[-1:]).to(device, dtype).requires_grad_()
    gain = torch.full(shape[-1:], 64**-0.5, device=device, requires_grad=True)
    functions = {
        "sdpa-self-attention": lambda: F.scaled_dot_product_attention(tokens, tokens, tokens),
        "bi-softmax-fused": lambda: bi_softmax_fused(tokens, gain),
        "bi-softmax-eager": lambda: bi_softmax_eager((tokens * gain).to(dtype), tokens, tokens, 1.0)[0],
    }
    function = torch.compile(functions[name]) if options.compile else functions[name]
    return Subject(lambda: function().float().sum(), [tokens, gain] if "bi" in name else [tokens])


def subject_of(name: str, setting: Setting, options: argparse.Namespace) -> Subject:
    """The model, or the attention, of a line."""
    if options.task == "attention":
        return attention_subject(name, setting, options)
    return model_subject(options.task, name, setting, options)


def passes(subject: Subject, is_forward: bool) -> None:
    """One forward pass without gradients, or one with the backward pass after it."""
    if subject.module is not None:
        subject.module.train(not is_forward)
    if is_forward:
        with torch.no_grad():
            subject.forward()
        return
    subject.forward().backward()
    for parameter in subject.parameters:
        parameter.grad = None

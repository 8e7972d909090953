# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Bi-softmax attention as operators of torch. They never hold the scores of all pairs of tokens. On a CPU they work in blocks, on
a GPU they use Triton. `torch.compile` puts them into its graph unchanged. They only have first derivatives.

`attention_cpu_hyperset.py` explains the formulas.
"""

import importlib.util
import re
import zlib

import torch
from torch.utils.flop_counter import register_flop_formula

from .attention_cpu_hyperset import BLOCKED, Kernels, wide_dtype


HAS_TRITON = importlib.util.find_spec("triton") is not None  # the kernels for a GPU need it
LARGEST_HEAD_DIM = 256  # of the kernels for a GPU

# The code of a checkpoint and the package may both be loaded. So each has its own operators, under a name that torch accepts.
NAMESPACE = re.sub(r"[^0-9A-Za-z_]", "_", __name__) + f"_{zlib.crc32(__name__.encode()):x}"


def runs_on(tensor: torch.Tensor) -> bool:
    """Whether there is an implementation for the device, the dtype and the last dimension of `tensor`."""
    if tensor.device.type == "cuda":
        return HAS_TRITON and tensor.dtype != torch.float64 and tensor.shape[-1] <= LARGEST_HEAD_DIM
    return tensor.device.type in ("cpu", "meta")


def kernels(tensor: torch.Tensor) -> Kernels:
    """The implementation for the device of `tensor`."""
    if tensor.device.type != "cuda":
        return BLOCKED
    from .attention_triton_hyperset import TRITON  # imported only for a GPU, because it is slow

    return TRITON


def plain(tensor: torch.Tensor) -> torch.autocast:
    """Autocast off: it would go on inside an operator, but the kernels choose their dtypes themselves."""
    return torch.autocast(tensor.device.type, enabled=False)


@torch.library.custom_op(f"{NAMESPACE}::bi_softmax", mutates_args=())
def bi_softmax(
    tokens: torch.Tensor, gain: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """y and r."""
    with plain(tokens):
        return kernels(tokens).forward(tokens, gain, mask)


@torch.library.custom_op(f"{NAMESPACE}::bi_softmax_backward", mutates_args=())
def bi_softmax_backward(
    grad_output: torch.Tensor,
    tokens: torch.Tensor,
    gain: torch.Tensor,
    mask: torch.Tensor | None,
    normaliser: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """dz and dgain."""
    with plain(tokens):
        return kernels(tokens).backward(grad_output, tokens, gain, mask, normaliser)


@torch.library.custom_op(f"{NAMESPACE}::normaliser", mutates_args=())
def normaliser(tokens: torch.Tensor, gain: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """r of shape (batch_size, num_heads, seq_len)."""
    with plain(tokens):
        return kernels(tokens).normaliser_forward(tokens, gain, mask)


@torch.library.custom_op(f"{NAMESPACE}::normaliser_backward", mutates_args=())
def normaliser_backward(
    grad_normaliser: torch.Tensor,
    tokens: torch.Tensor,
    gain: torch.Tensor,
    mask: torch.Tensor | None,
    normaliser: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """dz and dgain."""
    with plain(tokens):
        return kernels(tokens).normaliser_backward(grad_normaliser, tokens, gain, mask, normaliser)


def new_like(tokens: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(tokens, memory_format=torch.contiguous_format)


def normaliser_like(tokens: torch.Tensor) -> torch.Tensor:
    return tokens.new_empty(tokens.shape[:-1], dtype=wide_dtype(tokens))


@bi_softmax.register_fake
def _(tokens, gain, mask):
    return new_like(tokens), normaliser_like(tokens)


@bi_softmax_backward.register_fake
def _(grad_output, tokens, gain, mask, normaliser):
    return new_like(tokens), torch.empty_like(gain)


@normaliser.register_fake
def _(tokens, gain, mask):
    return normaliser_like(tokens)


@normaliser_backward.register_fake
def _(grad_normaliser, tokens, gain, mask, normaliser):
    return new_like(tokens), torch.empty_like(gain)


def keep_bi_softmax(ctx, inputs, output):
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*inputs, output[1])


def keep_normaliser(ctx, inputs, output):
    ctx.save_for_backward(*inputs, output)


def backward_of_bi_softmax(ctx, grad_output, _):
    return *bi_softmax_backward(grad_output, *ctx.saved_tensors), None


def backward_of_normaliser(ctx, grad_normaliser):
    return *normaliser_backward(grad_normaliser, *ctx.saved_tensors), None


# For FLOP counters: the matrix products, with two operations for each pair of factors.


@register_flop_formula(getattr(torch.ops, NAMESPACE).bi_softmax)
def _(tokens_shape, *_, out_shape=None, **__) -> int:
    return 2 * flops_of_product(tokens_shape)  # S, y


@register_flop_formula(getattr(torch.ops, NAMESPACE).bi_softmax_backward)
def _(_, tokens_shape, *__, out_shape=None, **___) -> int:
    return 4 * flops_of_product(tokens_shape)  # S, G, (P + Q) dy, M z


@register_flop_formula(getattr(torch.ops, NAMESPACE).normaliser)
def _(tokens_shape, *_, out_shape=None, **__) -> int:
    return flops_of_product(tokens_shape)  # S


@register_flop_formula(getattr(torch.ops, NAMESPACE).normaliser_backward)
def _(_, tokens_shape, *__, out_shape=None, **___) -> int:
    return 2 * flops_of_product(tokens_shape)  # S, M z


def flops_of_product(tokens_shape) -> int:
    """The FLOPs of one matrix product for each sample and head: z zᵀ, or scores times z."""
    batch_size, num_heads, seq_len, head_dim = tokens_shape
    return 2 * batch_size * num_heads * seq_len**2 * head_dim


bi_softmax.register_autograd(backward_of_bi_softmax, setup_context=keep_bi_softmax)
normaliser.register_autograd(backward_of_normaliser, setup_context=keep_normaliser)

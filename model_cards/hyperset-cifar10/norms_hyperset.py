# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
RMSNorm with torch's own kernels of other norms. On a CPU torch has no kernel for it, and makes ten passes over memory.

With σ = 1 / √(mean(x²) + eps), and all means over the channels of a token:

    y = σ x ⊙ gain,    dx = σ (dy ⊙ gain − x σ mean(dy ⊙ gain ⊙ x σ))

y is batch norm at evaluation, with tokens in the place of channels, means of zero and variances mean(x²). dx is the backward
pass of layer norm with means of zero, plus σ mean(dy ⊙ gain), which layer norm subtracts.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .modes_hyperset import is_autocast, takes_own_operators


# The fewest elements for which calling more operators pays.
SMALLEST = 2**14


def has_kernels(tokens: torch.Tensor) -> bool:
    """Whether the kernels of other norms serve `tokens` better than torch's RMSNorm. `torch.compile` fuses the latter."""
    # First, because an export does not know the number of elements.
    if torch.compiler.is_compiling() or not takes_own_operators():
        return False
    known = tokens.device.type == "cpu" and tokens.dtype in (torch.float32, torch.bfloat16)
    return known and tokens.numel() >= SMALLEST


class RMSNormFunction(torch.autograd.Function):
    """y of `tokens` (num_tokens, width) and `gain` (width,) or `None`. It can be differentiated twice."""

    @staticmethod
    def forward(ctx, tokens, gain, eps):
        # Norms in float32: rounded ones would scale a whole token.
        mean_square = torch.linalg.vector_norm(tokens, dim=-1, dtype=torch.float32).square_().div_(tokens.shape[-1])
        ctx.save_for_backward(tokens, gain, mean_square)
        ctx.eps = eps
        output = torch.batch_norm(
            tokens.unsqueeze(0), None, None, torch.zeros_like(mean_square), mean_square, False, 0.0, eps, False
        )[0]
        return output if gain is None else output.mul_(gain.to(output.dtype))

    @staticmethod
    def backward(ctx, grad_output):
        tokens, gain, mean_square = ctx.saved_tensors
        needs_tokens, needs_gain, _ = ctx.needs_input_grad
        if torch.is_grad_enabled():  # this gradient will be differentiated again
            wanted = [
                tensor for tensor, needed in zip((tokens, gain), ctx.needs_input_grad[:2], strict=True) if needed
            ]
            output = plain_rms_norm(tokens, gain, ctx.eps)
            gradients = list(torch.autograd.grad(output, wanted, grad_output, create_graph=True))
            return gradients.pop(0) if needs_tokens else None, gradients.pop() if needs_gain else None, None
        with torch.autocast(tokens.device.type, enabled=False):
            grad_tokens, grad_gain = RMSNormFunction.gradients(
                grad_output, tokens, gain, mean_square, ctx.eps, needs_gain
            )
        return grad_tokens, grad_gain, None

    @staticmethod
    def gradients(grad_output, tokens, gain, mean_square, eps, needs_gain):
        width = tokens.shape[-1]
        scale = (mean_square + eps).rsqrt_().unsqueeze(-1)
        wide_gain = scale.new_ones(width) if gain is None else gain.detach().to(scale.dtype)
        grad_tokens, grad_gain, _ = torch.ops.aten.native_layer_norm_backward(
            grad_output.contiguous(), tokens, [width], torch.zeros_like(scale), scale, wide_gain, None,
            [True, needs_gain, False],
        )  # fmt: skip
        mean = grad_output @ (wide_gain / width).to(grad_output.dtype)
        grad_tokens.add_(mean.unsqueeze(-1).mul_(scale))
        return grad_tokens, grad_gain.to(gain.dtype) if needs_gain else None


def plain_rms_norm(tokens: torch.Tensor, gain: torch.Tensor | None, eps: float) -> torch.Tensor:
    """The reference of [`rms_norm`]."""
    return F.rms_norm(tokens, tokens.shape[-1:], None if gain is None else gain.to(tokens.dtype), eps)


def rms_norm(
    tokens: torch.Tensor, gain: torch.Tensor | None = None, eps: float | None = None, is_plain: bool = False
) -> torch.Tensor:
    """
    RMSNorm over the last dimension, in the dtype of `tokens`, autocast or not.

    Args:
        tokens (`torch.Tensor` of shape `(…, width)`): What to norm.
        gain (`torch.Tensor` of shape `(width,)`, *optional*): The gain.
        eps (`float`, *optional*):
            Added to the mean square. If not given, the machine epsilon of the dtype, but of float32 for half precision.
        is_plain (`bool`): Whether to take torch's RMSNorm everywhere, for callers that magnify its rounding.

    Returns:
        `torch.Tensor` of the same shape and dtype.
    """
    eps = torch.finfo(torch.promote_types(tokens.dtype, torch.float32)).eps if eps is None else eps
    device = tokens.device.type
    if is_autocast(device):  # it may cast to float32 and back
        with torch.autocast(device, enabled=False):
            return rms_norm(tokens, gain, eps, is_plain)
    if is_plain or not has_kernels(tokens):
        return plain_rms_norm(tokens, gain, eps)
    flat = tokens.reshape(-1, tokens.shape[-1])
    return RMSNormFunction.apply(flat.contiguous(), gain, eps).view(tokens.shape)


class HyperSETLayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` over the last dimension, also of tokens that are wider than the weights, as energies are computed."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dtype = torch.promote_types(self.weight.dtype, x.dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        return F.layer_norm(x, self.normalized_shape, self.weight.to(dtype), bias, self.eps)


class HyperSETRMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` over the last dimension by [`rms_norm`]."""

    def __init__(self, width: int, eps: float | None = None, is_plain: bool = False):
        super().__init__(width, eps=eps)
        self.is_plain = is_plain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, self.weight, self.eps, self.is_plain)

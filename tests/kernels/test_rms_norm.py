# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""RMSNorm by the kernels of other norms equals torch's, forward and backward, and where those kernels must not run."""

import pytest
import torch
from torch.func import jvp, vmap

from modeling_hyperset import norms_hyperset
from modeling_hyperset.norms_hyperset import HyperSETRMSNorm, has_kernels, plain_rms_norm, rms_norm


SHAPES = [(1, 1), (1, 7), (5, 7), (2, 3, 64), (0, 8), (3, 1, 9, 16), (2, 400)]
EPS = torch.finfo(torch.float32).eps  # the default
TOLERANCES = {torch.float32: 3e-6, torch.bfloat16: 0.02}


@pytest.fixture(autouse=True)
def small_tokens_too(monkeypatch):
    monkeypatch.setattr(norms_hyperset, "SMALLEST", 1)


def operands(shape, dtype, has_gain):
    tokens = (3 * torch.randn(shape) + 1).to(dtype)
    if tokens.numel() > shape[-1]:
        tokens[(0,) * (len(shape) - 1)] = 0.0  # as at padding
        tokens[(-1,) * (len(shape) - 1)] *= 0.03
    return tokens.requires_grad_(), torch.randn(shape[-1]).requires_grad_() if has_gain else None


@pytest.mark.parametrize("has_gain", [True, False])
@pytest.mark.parametrize("eps", [1e-6, None])
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_torch(shape, dtype, eps, has_gain):
    tokens, gain = operands(shape, dtype, has_gain)
    assert has_kernels(tokens) == (tokens.numel() > 0)
    cotangent = torch.randn(shape).to(dtype)
    inputs = (tokens, gain) if has_gain else (tokens,)
    output = rms_norm(tokens, gain, eps)
    assert output.dtype == dtype and output.shape == tokens.shape
    wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = plain_rms_norm(wide[0], wide[1] if has_gain else None, eps or EPS)
    actual = (output, *torch.autograd.grad(output, inputs, cotangent))
    for value, wanted in zip(
        actual, (expected, *torch.autograd.grad(expected, wide, cotangent.double())), strict=True
    ):
        scale = max(1.0, wanted.abs().max().item()) if wanted.numel() else 1.0
        torch.testing.assert_close(value.double(), wanted, rtol=0, atol=TOLERANCES[dtype] * scale)


@pytest.mark.parametrize("layout", ["transposed", "expanded", "cut"])
def test_any_layout(layout):
    tokens = torch.randn(4, 6, 8)
    tokens = {"transposed": tokens.mT, "expanded": tokens[:1].expand(3, 6, 8), "cut": tokens[..., 1:6]}[layout]
    gain = torch.randn(tokens.shape[-1])
    torch.testing.assert_close(rms_norm(tokens, gain), plain_rms_norm(tokens, gain, EPS))


def test_the_gradient_has_a_gradient():
    tokens, gain = operands((4, 8), torch.float32, True)

    def second(norm):
        (gradient,) = torch.autograd.grad(norm(tokens, gain, 1e-6).square().sum(), tokens, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), (tokens, gain))

    torch.testing.assert_close(second(rms_norm), second(plain_rms_norm))


def test_the_gain_alone_has_a_gradient_with_a_graph():
    tokens, gain = torch.randn(4, 8), torch.randn(8, requires_grad=True)
    (gradient,) = torch.autograd.grad(rms_norm(tokens, gain, 1e-6).sum(), gain, create_graph=True)
    (wanted,) = torch.autograd.grad(plain_rms_norm(tokens, gain, 1e-6).sum(), gain)
    torch.testing.assert_close(gradient, wanted)


def test_a_backward_pass_within_autocast_keeps_its_precision():
    tokens, cotangent = torch.randn(64, 32, requires_grad=True), torch.randn(64, 32) + 3
    (wanted,) = torch.autograd.grad(rms_norm(tokens, eps=1e-6), tokens, cotangent)
    with torch.autocast("cpu", torch.bfloat16):
        (gradient,) = torch.autograd.grad(rms_norm(tokens, eps=1e-6), tokens, cotangent)
    torch.testing.assert_close(gradient, wanted)


def test_transforms_take_the_plain_norm():
    tokens, gain = torch.randn(4, 8), torch.randn(8)
    _, tangent = jvp(lambda tokens: rms_norm(tokens, gain), (tokens,), (torch.ones_like(tokens),))
    _, wanted = jvp(
        lambda tokens: plain_rms_norm(tokens, gain, EPS),
        (tokens,),
        (torch.ones_like(tokens),),
    )
    torch.testing.assert_close(tangent, wanted)
    torch.testing.assert_close(vmap(lambda row: rms_norm(row, gain))(tokens), plain_rms_norm(tokens, gain, EPS))


def test_autocast_leaves_the_dtype_alone():
    norm = HyperSETRMSNorm(8, eps=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(torch.randn(2, 8)).dtype == torch.float32
        assert norm(torch.randn(2, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16

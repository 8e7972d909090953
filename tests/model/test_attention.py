# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Every implementation of bi-softmax attention equals the plain reference, forward and backward."""

import pytest
import torch

from modeling_hyperset.attention_hyperset import BI_SOFTMAX, bi_softmax_eager


FAST = [name for name in BI_SOFTMAX if name != "eager"]
# One token, sizes that are no multiple of a block or of eight, several heads.
SHAPES = [(1, 1, 1, 1), (2, 3, 1, 24), (2, 3, 17, 24), (1, 2, 130, 64), (3, 1, 5, 7), (1, 1, 300, 10)]
TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 0.02, torch.bfloat16: 0.1}


def roles(shape, dtype, shared_gain, scale=1.0):
    """Queries, keys and values as the layer makes them: unit RMS times gains around `scale`."""
    tokens = torch.nn.functional.rms_norm(torch.randn(shape), shape[-1:])
    gains = scale * (1 + 0.3 * torch.randn(3, shape[-1]))
    return [(tokens * gains[0 if shared_gain else role]).to(dtype).requires_grad_() for role in range(3)]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("shared_gain", [False, True], ids=["three-gains", "one-gain"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", FAST)
def test_equals_reference(name, shape, shared_gain, masked, dtype):
    inputs = roles(shape, dtype, shared_gain)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    mask = None
    if masked:
        mask = torch.rand(shape[0], shape[2]) > 0.4
        mask[0] = False  # a sample that is all padding
    scaling = shape[-1] ** -0.5
    output, _ = BI_SOFTMAX[name](*inputs, scaling, mask)
    expected, _ = bi_softmax_eager(*exact, scaling, mask)
    cotangent = torch.randn(shape, dtype=torch.float64)
    gradients = torch.autograd.grad(output, inputs, cotangent.to(dtype))
    expected_gradients = torch.autograd.grad(expected, exact, cotangent)

    tolerance = TOLERANCES[dtype]
    for actual, wanted in zip((output, *gradients), (expected, *expected_gradients), strict=True):
        assert actual.dtype == dtype
        torch.testing.assert_close(actual.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", BI_SOFTMAX)
def test_padding_changes_nothing(name):
    query, key, value = roles((1, 2, 6, 8), torch.float32, False)
    alone, _ = BI_SOFTMAX[name](query, key, value, 0.3)
    garbage = [torch.cat((tensor, 100 * torch.randn(1, 2, 3, 8)), dim=2) for tensor in (query, key, value)]
    mask = torch.tensor([[True] * 6 + [False] * 3])
    padded, _ = BI_SOFTMAX[name](*garbage, 0.3, mask)
    torch.testing.assert_close(padded[:, :, :6], alone, rtol=1e-5, atol=1e-5)
    assert (padded[:, :, 6:] == 0).all()


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_equals_reference_at_extreme_gains(name, dtype):
    """Scores of many hundreds, where exp of a score or of a normaliser alone would overflow or vanish."""
    inputs = roles((2, 2, 40, 16), dtype, False, scale=12.0)
    output, _ = BI_SOFTMAX[name](*inputs, 0.25)
    expected, _ = bi_softmax_eager(*(tensor.double() for tensor in inputs), 0.25)
    tolerance = 1e-9 if dtype == torch.float64 else 2e-3
    torch.testing.assert_close(output.double(), expected, rtol=tolerance, atol=tolerance * 12)
    assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(output.sum(), inputs))


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_what_training_keeps_grows_linearly(masked):
    """What autograd saves for the backward pass: with the square of the sequence for the reference, linearly for SDPA."""

    def saved_bytes(attention, seq_len):
        sizes = {}

        def keep(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        query, key, value = roles((1, 2, seq_len, 16), torch.float32, False)
        mask = torch.arange(seq_len).expand(1, -1) < seq_len // 2 if masked else None
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output, _ = attention(query, key, value, 0.25, mask)
        del output
        return sum(sizes.values())

    ratio = {name: saved_bytes(function, 2048) / saved_bytes(function, 1024) for name, function in BI_SOFTMAX.items()}
    assert ratio["eager"] > 3.5 and ratio["sdpa"] < 2.2

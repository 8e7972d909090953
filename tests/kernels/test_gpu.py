# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""On a GPU: the same numbers as on a CPU, half precision that trains, errors rather than device asserts."""

import copy

import pytest
import torch

from modeling_hyperset.attention_hyperset import bi_softmax_eager, bi_softmax_fused
from support.builders import HEADS, make_inputs, make_model


pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device (or CUDA_VISIBLE_DEVICES hides it)"),
]


@pytest.fixture(autouse=True)
def exact_matmul():
    """float32 products in float32, as on the CPU."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def to_gpu(inputs: dict) -> dict:
    return {name: value.cuda() for name, value in inputs.items()}


@pytest.mark.parametrize("case", HEADS)
@pytest.mark.parametrize("attn_implementation", ["fused", "eager", "sdpa"])
def test_equals_cpu(case, attn_implementation):
    model, inputs = make_model(case), make_inputs(case, labels=True)
    other = copy.deepcopy(model).cuda()
    other.set_attn_implementation(attn_implementation)
    loss, other_loss = model(**inputs).loss, other(**to_gpu(inputs)).loss
    torch.testing.assert_close(other_loss.cpu(), loss, rtol=1e-4, atol=1e-4)
    loss.backward()
    other_loss.backward()
    for (name, parameter), twin in zip(model.named_parameters(), other.parameters(), strict=True):
        if parameter.grad is not None:
            scale = parameter.grad.abs().max().item()
            torch.testing.assert_close(twin.grad.cpu(), parameter.grad, rtol=1e-3, atol=1e-3 * scale, msg=name)


@pytest.mark.parametrize("case", HEADS)
@pytest.mark.parametrize("attn_implementation", ["fused", "eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_trains_without_nan(case, attn_implementation, dtype):
    model = make_model(case).cuda().train()
    model.set_attn_implementation(attn_implementation)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler(enabled=dtype == torch.float16)
    inputs = to_gpu(make_inputs(case, labels=True))
    losses = []
    for _ in range(20):
        with torch.autocast("cuda", dtype=dtype):
            loss = model(**inputs).loss
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize(
    "shape", [(2, 3, 1, 24), (2, 3, 70, 24), (1, 2, 300, 64), (1, 1, 129, 130), (1, 2, 257, 256)], ids=str
)
def test_triton_kernels_equal_the_reference(shape, masked, dtype):
    """As `test_fused_attention.py` holds them in Triton's interpreter, here compiled, and in bfloat16 too."""
    tokens = torch.nn.functional.rms_norm(torch.randn(shape), shape[-1:]).to(dtype).cuda().requires_grad_()
    gain = (shape[-1] ** -0.5 * (1 + 0.5 * torch.randn(shape[-1]))).cuda().requires_grad_()
    mask = torch.rand(shape[0], shape[2], device="cuda") > 0.4 if masked else None
    cotangent = torch.randn(shape).to(dtype).cuda()
    exact = [tensor.detach().double().requires_grad_() for tensor in (tokens, gain)]
    wanted, _ = bi_softmax_eager(exact[0] * exact[1], exact[0], exact[0], 1.0, mask)
    expected = wanted, *torch.autograd.grad(wanted, exact, cotangent.double())
    output = bi_softmax_fused(tokens, gain, mask)
    tolerance = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}[dtype]
    for value, want in zip((output, *torch.autograd.grad(output, (tokens, gain), cotangent)), expected, strict=True):
        scale = max(1.0, want.abs().max().item())
        torch.testing.assert_close(value.double(), want, rtol=tolerance, atol=tolerance * scale)


def test_cuda_graphs():
    torch.compiler.reset()
    model, inputs = make_model("image-classification").cuda(), to_gpu(make_inputs("image-classification"))
    compiled = torch.compile(model, mode="reduce-overhead", fullgraph=True)
    with torch.no_grad():
        expected = model(**inputs).logits
        for _ in range(4):
            torch.compiler.cudagraph_mark_step_begin()
            torch.testing.assert_close(compiled(**inputs).logits, expected, rtol=1e-3, atol=1e-3)


def test_compile_with_inductor():
    torch.compiler.reset()
    model, inputs = make_model("image-classification").cuda(), to_gpu(make_inputs("image-classification"))
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True)(**inputs).logits
        torch.testing.assert_close(compiled, model(**inputs).logits, rtol=1e-3, atol=1e-3)


def test_bad_ids_and_labels_are_errors_not_device_asserts():
    model = make_model("token-classification").cuda()
    with pytest.raises(ValueError, match="input_ids"):
        model(input_ids=torch.tensor([[20]]).cuda())
    with pytest.raises(ValueError, match="labels"):
        model(input_ids=torch.tensor([[1]]).cuda(), labels=torch.tensor([[5]]).cuda())
    torch.cuda.synchronize()
    assert torch.isfinite(model(input_ids=torch.tensor([[1]]).cuda()).logits).all()

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""On a GPU: the same numbers as on a CPU, half precision that trains, errors rather than device asserts."""

import copy

import pytest
import torch
from builders import HEADS, make_inputs, make_model


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

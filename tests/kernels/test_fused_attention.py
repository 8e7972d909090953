# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Our kernels equal the plain reference, forward and backward: in blocks on a processor, in Triton in its interpreter."""

import json
import os
import subprocess
import sys
import types
import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from modeling_hyperset import HyperSETForImageClassification, attention_cpu_hyperset, attention_op_hyperset
from modeling_hyperset.attention_hyperset import bi_softmax_eager, bi_softmax_fused, implementation_of
from support.builders import make_config, make_inputs, make_model


# One token, sizes that are no multiple of a block or of eight, several heads.
SHAPES = [(1, 1, 1, 1), (2, 3, 1, 24), (2, 3, 17, 24), (1, 2, 130, 64), (3, 1, 5, 7), (1, 1, 300, 10)]
TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 0.02, torch.bfloat16: 0.1}


def operands(shape, dtype, scale=1.0):
    """Tokens of unit RMS, and the product of two gains and the scaling, of either sign."""
    tokens = torch.nn.functional.rms_norm(torch.randn(shape), shape[-1:]).to(dtype).requires_grad_()
    gain = scale * shape[-1] ** -0.5 * (1 + 0.5 * torch.randn(shape[-1]))
    gain = gain.to(torch.promote_types(dtype, torch.float32)).requires_grad_()
    return tokens, gain


def some_padding(shape):
    """A sample that is all padding, if there are several, and others with padding here and there; their first is a token."""
    mask = torch.rand(shape[0], shape[2]) > 0.4
    mask[0], mask[-1, 0] = False, True
    return mask


def reference(tokens, gain, mask, cotangent):
    """y, dz and dgain of the plain reference in double precision."""
    tokens, gain = (tensor.detach().double().requires_grad_() for tensor in (tokens, gain))
    output, _ = bi_softmax_eager(tokens * gain, tokens, tokens, 1.0, mask)
    return output, *torch.autograd.grad(output, (tokens, gain), cotangent.double())


def assert_close(actual, expected, tolerance):
    for value, wanted in zip(actual, expected, strict=True):
        scale = max(1.0, wanted.abs().max().item())
        torch.testing.assert_close(value.double(), wanted.double(), rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("block", [None, 100], ids=["one-block", "blocks-of-rows"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_reference(shape, block, masked, dtype, monkeypatch):
    if block is not None:
        monkeypatch.setattr(attention_cpu_hyperset, "SCORES_PER_THREAD", block)
    tokens, gain = operands(shape, dtype)
    mask = some_padding(shape) if masked else None
    cotangent = torch.randn(shape).to(dtype)
    output = bi_softmax_fused(tokens, gain, mask)
    assert output.dtype == dtype
    actual = output, *torch.autograd.grad(output, (tokens, gain), cotangent)
    assert_close(actual, reference(tokens, gain, mask, cotangent), TOLERANCES[dtype])


@pytest.mark.parametrize("scale", [1.0, 2.5], ids=["wide", "at-themselves"])
@pytest.mark.parametrize("block", [2**18, 100], ids=["one-block", "blocks-of-rows"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_of_bfloat16_round_as_the_reference_does(shape, block, scale, monkeypatch):
    """The errors are at most twice those of the plain reference in bfloat16, also where tokens mostly attend to themselves."""
    monkeypatch.setattr(attention_cpu_hyperset, "SCORES_PER_THREAD", block)
    monkeypatch.setattr(attention_cpu_hyperset, "MULTIPLIES_BFLOAT16", True)
    tokens, gain = operands(shape, torch.bfloat16, scale)
    mask, cotangent = some_padding(shape), torch.randn(shape).bfloat16()
    expected = reference(tokens, gain, mask, cotangent)

    def errors(output):
        actual = output, *torch.autograd.grad(output, (tokens, gain), cotangent.to(output.dtype))
        return [(value.double() - wanted).abs().max().item() for value, wanted in zip(actual, expected, strict=True)]

    with torch.autocast("cpu", torch.bfloat16):
        plain = errors(bi_softmax_eager(tokens * gain, tokens, tokens, 1.0, mask)[0])
    for error, allowed, wanted in zip(errors(bi_softmax_fused(tokens, gain, mask)), plain, expected, strict=True):
        assert error <= 2 * allowed + 0.01 * max(1.0, wanted.abs().max().item())


@pytest.mark.parametrize("scale", [9.0, 100.0])
def test_large_scores_are_not_rounded(scale, monkeypatch):
    tokens, gain = operands((2, 2, 90, 16), torch.bfloat16, scale)
    cotangent = torch.randn(tokens.shape).bfloat16()
    results = []
    for multiplies in (True, False):
        monkeypatch.setattr(attention_cpu_hyperset, "MULTIPLIES_BFLOAT16", multiplies)
        output = bi_softmax_fused(tokens, gain)
        results.append((output, *torch.autograd.grad(output, (tokens, gain), cotangent)))
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize("scale", [9.0, 100.0, -100.0])
@pytest.mark.parametrize("block", [2**18, 100], ids=["one-block", "blocks-of-rows"])
def test_equals_reference_at_extreme_gains(scale, block, monkeypatch):
    """Scores of up to thousands, where exp of a score overflows and the two softmaxes need an exponential each."""
    monkeypatch.setattr(attention_cpu_hyperset, "SCORES_PER_THREAD", block)
    tokens, gain = operands((2, 2, 90, 16), torch.float64, scale)
    mask, cotangent = some_padding(tokens.shape), torch.randn(tokens.shape, dtype=torch.float64)
    output = bi_softmax_fused(tokens, gain, mask)
    actual = output, *torch.autograd.grad(output, (tokens, gain), cotangent)
    assert_close(actual, reference(tokens, gain, mask, cotangent), 1e-9)
    single = bi_softmax_fused(tokens.float(), gain.float(), mask)
    assert torch.isfinite(single).all()
    assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(single.sum(), (tokens, gain)))


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("block", [2**18, 100], ids=["one-block", "blocks-of-rows"])
def test_some_rows_alone(block, masked, scale, monkeypatch):
    monkeypatch.setattr(attention_cpu_hyperset, "SCORES_PER_THREAD", block)
    tokens, gain = operands((3, 2, 70, 8), torch.float64, scale)
    mask = torch.ones(3, 70, dtype=torch.bool) if masked else None
    if masked:
        mask[:, 1:] = torch.rand(3, 69) > 0.4
    cotangent = torch.zeros(tokens.shape, dtype=torch.float64)
    cotangent[:, :, :1] = torch.randn(3, 2, 1, 8)
    output = bi_softmax_fused(tokens, gain, mask, rows=lambda tensor: tensor[..., :1, :])
    gradients = torch.autograd.grad(output, (tokens, gain), cotangent[:, :, :1])
    expected = reference(tokens, gain, mask, cotangent)
    assert_close((output, *gradients), (expected[0][:, :, :1], *expected[1:]), 1e-9)


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_operators_are_what_torch_wants(masked):
    """Schema, fake tensors, autograd registration and AOT dispatch of each operator."""
    tokens, gain = operands((2, 2, 9, 8), torch.float32)
    mask = some_padding(tokens.shape) if masked else None
    normaliser = attention_op_hyperset.normaliser(tokens, gain, mask).detach()
    torch.library.opcheck(attention_op_hyperset.bi_softmax, (tokens, gain, mask))
    torch.library.opcheck(attention_op_hyperset.normaliser, (tokens, gain, mask))
    tokens, gain = tokens.detach(), gain.detach()
    arguments = (tokens, gain, mask, normaliser)
    torch.library.opcheck(attention_op_hyperset.bi_softmax_backward, (torch.randn_like(tokens), *arguments))
    torch.library.opcheck(attention_op_hyperset.normaliser_backward, (torch.randn(2, 2, 9), *arguments))


def test_what_training_keeps_grows_linearly():
    def saved_bytes(seq_len):
        sizes = {}

        def keep(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        tokens, gain = operands((1, 2, seq_len, 16), torch.float32)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = bi_softmax_fused(tokens, gain)
        del output
        return sum(sizes.values())

    assert saved_bytes(2048) / saved_bytes(1024) < 2.1


def test_second_derivatives_are_an_error():
    tokens, gain = operands((1, 1, 4, 8), torch.float32)
    output = bi_softmax_fused(tokens, gain)
    (gradient,) = torch.autograd.grad(output.square().sum(), tokens, create_graph=True)
    with pytest.raises((RuntimeError, NotImplementedError)):
        gradient.sum().backward()


@pytest.mark.parametrize("fields", [{}, {"pooling": "mean"}], ids=str)
def test_transforms_of_torch_func_are_exact(fields):
    """The kernels have no rules for derivatives forward, of each sample and second ones: the reference takes their place."""
    model = make_model("image-classification", **fields).double()
    images = torch.randn(3, 3, 12, 12, dtype=torch.float64)
    tangent = torch.randn_like(images)

    def loss(parameters, image):
        return functional_call(model, parameters, (image[None],)).logits.square().sum()

    parameters = dict(model.named_parameters())
    of_each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, images)
    for index, image in enumerate(images):
        wanted = torch.autograd.grad(loss(parameters, image), list(parameters.values()))
        torch.testing.assert_close([gradient[index] for gradient in of_each.values()], list(wanted))

    step = 1e-6 * tangent
    numeric = (model(images + step).logits - model(images - step).logits) / 2e-6
    _, derivative = torch.func.jvp(lambda images: model(images).logits, (images,), (tangent,))
    torch.testing.assert_close(derivative, numeric, rtol=1e-6, atol=1e-8)
    with forward_ad.dual_level(), torch.no_grad():
        logits = model(forward_ad.make_dual(images, tangent)).logits
        torch.testing.assert_close(forward_ad.unpack_dual(logits).tangent, derivative)

    def product(images):  # of the Hessian and the tangent
        return torch.func.jvp(
            torch.func.grad(lambda images: model(images).logits.square().sum()), (images,), (tangent,)
        )

    gradients = [
        torch.func.grad(lambda images: model(images).logits.square().sum())(images + s * step) for s in (1, -1)
    ]
    torch.testing.assert_close(product(images)[1], (gradients[0] - gradients[1]) / 2e-6, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_code_of_a_checkpoint_runs_beside_the_package(tmp_path):
    """Both define operators, each its own."""
    config = make_config()
    model = HyperSETForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    check = """
import sys, torch
from modeling_hyperset import HyperSETForImageClassification
from transformers import dynamic_module_utils

ours = HyperSETForImageClassification.from_pretrained(sys.argv[1])
name = "modeling_hyperset.HyperSETForImageClassification"
theirs = dynamic_module_utils.get_class_from_dynamic_module(name, sys.argv[1]).from_pretrained(sys.argv[1])
assert type(ours) is not type(theirs) and theirs.config._attn_implementation == "fused"
images = torch.randn(2, 3, 12, 12)
for _ in range(2):
    losses = [model(images).logits.square().sum() for model in (ours, theirs)]
    for loss in losses:
        loss.backward()
assert torch.equal(*losses)
"""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", check, str(tmp_path)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert make_inputs("images")["pixel_values"].shape[1:] == (3, 12, 12)


# Triton decides when a kernel is defined whether it is interpreted, so the interpreter has a process of its own. It multiplies
# no bfloat16: that is for `tests/kernels/test_gpu.py`.
TRITON_CHECK = """
import json, sys
import torch
from modeling_hyperset import attention_cpu_hyperset as blocked, attention_launch_hyperset as triton_kernels
from modeling_hyperset.attention_op_hyperset import query_of

torch.manual_seed(0)
errors = {}
for dtype, shape, masked, scale in [
    (torch.float32, (2, 2, 1, 24), False, 1), (torch.float32, (2, 3, 70, 24), True, 1),
    (torch.float32, (1, 2, 130, 64), False, 1), (torch.float32, (3, 1, 5, 7), True, 1),
    (torch.float32, (1, 1, 66, 16), True, 60), ("tf32", (1, 1, 66, 16), True, 60), (torch.float16, (2, 1, 70, 24), True, 1),
    (torch.float16, (1, 1, 3, 130), False, 1), ("tf32", (1, 2, 70, 16), True, -20),
    ("tf32", (1, 1, 66, 16), False, 1),
]:
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"  # the interpreter multiplies in float32 all the same
    dtype = torch.float32 if dtype == "tf32" else dtype
    tokens = torch.nn.functional.rms_norm(torch.randn(shape), shape[-1:]).to(dtype)
    if scale != 1:  # r of far and near tokens lie so far apart that each softmax needs an exponential of its own
        tokens = tokens * torch.linspace(0.1, 1, shape[2])[:, None]
    gain = scale * shape[-1] ** -0.5 * (1 + 0.5 * torch.randn(shape[-1]))
    mask = None
    if masked:
        mask = torch.rand(shape[0], shape[2]) > 0.4
        mask[0, 1:], mask[-1, :2] = shape[0] == 1, True
        if shape[0] > 2:
            mask[0] = False
    cotangent, of_normaliser = torch.randn(shape).to(dtype), torch.randn(shape[:-1])
    exact = tokens.double(), gain.double(), mask

    def run(kernels, cast, arguments):
        output, normaliser = kernels.forward(*arguments)
        return [
            output,
            *kernels.backward(cast(cotangent), *arguments, normaliser),
            kernels.normaliser_forward(*arguments).nan_to_num(posinf=0.0),
            *kernels.normaliser_backward(cast(of_normaliser), *arguments, normaliser),
        ]

    actual = run(triton_kernels.TRITON, lambda tensor: tensor, (tokens, gain, mask))
    expected = run(blocked.BLOCKED, torch.Tensor.double, exact)
    worst = max(
        float((value.double() - wanted).abs().max() / wanted.abs().max().clamp(min=1))
        for value, wanted in zip(actual, expected, strict=True)
    )
    limit = 5e-5 * abs(scale) if dtype == torch.float32 else 0.01
    errors[f"{dtype} {shape} masked={masked} scale={scale} {torch.backends.cuda.matmul.allow_tf32}"] = [worst, limit]

# One row alone, as a classifier's last iteration has it, rounds its scores as the kernel does.
for scale in (1.0, 8.0, 64.0):
    tokens = torch.nn.functional.rms_norm(torch.randn(1, 1, 40, 64), (64,)).half()
    gain = scale / 8 * (1 + 0.3 * torch.randn(64))
    output, normaliser = triton_kernels.TRITON.forward(tokens, gain, None)
    scores = query_of(tokens[..., :1, :], gain, "cuda") @ tokens.float().mT
    row = (scores.softmax(-1) + (scores - normaliser[..., None, :]).exp()) @ tokens.float()
    errors[f"one row, gain {scale}"] = [float((row - output[..., :1, :].float()).norm() / row.norm()), 5e-4]
print(json.dumps(errors))
"""


@pytest.mark.slow
def test_triton_kernels_in_the_interpreter():
    pytest.importorskip("triton", reason="Triton is not installed")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-W", "ignore", "-c", TRITON_CHECK]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    errors = json.loads(finished.stdout)
    assert len(errors) == 13
    assert not {case: error for case, error in errors.items() if not error[0] <= error[1]}


@pytest.mark.parametrize(("device", "products"), [("meta", (2, 4)), ("cuda", (3, 8))])
def test_flops_are_those_of_the_kernels(device, products):
    """On a GPU the scores are computed once for the normalisers and again for the output, and so in the backward pass."""
    with FakeTensorMode():
        tokens, gain = torch.empty(2, 3, 10, 8, device=device), torch.empty(8, device=device)
        with FlopCounterMode(display=False) as forward:
            output, normaliser = attention_op_hyperset.bi_softmax(tokens, gain, None)
        with FlopCounterMode(display=False) as backward:  # by name: autograd of a GPU's tensors needs a GPU
            attention_op_hyperset.bi_softmax_backward(output, tokens, gain, None, normaliser)
    product = 2 * 2 * 3 * 10 * 10 * 8
    assert (forward.get_total_flops(), backward.get_total_flops()) == tuple(product * number for number in products)


@pytest.fixture
def launching():
    pytest.importorskip("triton", reason="Triton is not installed")
    from modeling_hyperset import attention_launch_hyperset

    attention_launch_hyperset.TAKEN.clear()
    yield attention_launch_hyperset
    attention_launch_hyperset.TAKEN.clear()


@pytest.mark.parametrize("stages_that_fit", [3, 1, 0])
def test_a_device_takes_the_first_tile_that_it_holds(launching, stages_that_fit, monkeypatch):
    tried = []

    def start(self, kernel, tile, operands, constants):
        tried.append(tile)
        if tile.num_stages > stages_that_fit:
            raise launching.triton.OutOfResources(200000, 101376, "shared memory")

    monkeypatch.setattr(launching.Launch, "start", start)
    tokens, gain = torch.zeros(1, 2, 5, 64, dtype=torch.bfloat16), torch.ones(64)
    if not stages_that_fit:
        with pytest.raises(RuntimeError, match="attn_implementation"):
            launching.normaliser_forward(tokens, gain, None)
    else:
        for _ in range(2):
            launching.normaliser_forward(tokens, gain, None)
        stages = [3, 2, 1][: 4 - stages_that_fit]
        assert [tile.num_stages for tile in tried] == [*stages, stages[-1]]  # the second call tries no larger one
    assert len({tile.rows for tile in tried}) == 1  # the rows of the grid and of what it writes


def test_tiles_for_every_head(launching):
    for channels in (16, 32, 64, 128, 256):
        for element_size, is_exact in ((2, True), (4, True), (4, False)):
            for is_backward in (False, True):
                tiles = launching.tiles_of(channels, element_size, is_exact, is_backward)
                assert len(set(tiles)) == len(tiles) and len({tile.rows for tile in tiles}) == 1
                assert min(min(tile.rows, tile.columns) for tile in tiles) >= 16  # as products on tensor cores need
                if element_size == 2 and channels > 64:
                    assert tiles[0].num_stages >= 2


@pytest.mark.parametrize(
    ("capability", "has_triton", "message"),
    [
        ((7, 5), True, "compute capability 7.5"),
        ((8, 6), False, "pip install triton"),
        ((8, 6), True, "could not be built or started.*C compiler"),
    ],
)
def test_the_reference_runs_where_the_kernels_do_not(capability, has_triton, message, monkeypatch):
    """One warning that says why; also where torch.compile asks first."""
    if torch.cuda.is_available():
        pytest.skip("the last case needs a machine without a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Tesla T4")
    monkeypatch.setattr(attention_op_hyperset, "HAS_TRITON", has_triton)
    attention_op_hyperset.tried_on_gpu.cache_clear()
    tokens = types.SimpleNamespace(device=torch.device("cuda", 0), dtype=torch.bfloat16, shape=(1, 1, 4, 8))

    def which(tensor):
        return 2 * tensor if attention_op_hyperset.runs_on_gpu(0) else 3 * tensor

    torch.compiler.reset()
    with pytest.warns(UserWarning, match=message) as seen:
        compiled = torch.compile(which, fullgraph=True, backend="eager")
        assert compiled(torch.ones(1)).item() == 3
    assert len([warning for warning in seen if "plain reference" in str(warning.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert implementation_of(make_config(), tokens, False) == "eager"
    attention_op_hyperset.tried_on_gpu.cache_clear()

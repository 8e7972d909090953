# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Each energy's direction is minus the gradient of its value; its value is what the paper says."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from modeling_hyperset import HyperSETModel
from modeling_hyperset.energies_hyperset import ATTENTION_ENERGIES, FEEDFORWARD_ENERGIES, PHI
from support.builders import make_config


def on_sphere(*shape: int, seed: int) -> torch.Tensor:
    """Random tokens of norm √(last dimension), in float64."""
    tokens = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return F.rms_norm(tokens, shape[-1:]).requires_grad_()


def random_mask(batch_size: int, seq_len: int, seed: int) -> torch.Tensor:
    """A mask that may hide any token, even all of a sample."""
    return torch.rand(batch_size, seq_len, generator=torch.Generator().manual_seed(seed)) > 0.4


shapes = st.tuples(*(st.integers(1, high) for high in (3, 3, 9, 12)))
seeds = st.integers(0, 2**31)


BIDIRECTIONAL = [("bi_softmax", None), ("sigmoid", None), *(("linear", phi) for phi in PHI)]
ATTENTION = [*BIDIRECTIONAL, ("causal_softmax", None), *(("causal_linear", phi) for phi in PHI)]
FEEDFORWARD = [("relu", None), ("softmax", None), *(("gated", phi) for phi in PHI)]


def test_every_energy_is_tested():
    assert {name for name, _ in ATTENTION} == set(ATTENTION_ENERGIES)
    assert {name for name, _ in FEEDFORWARD} == set(FEEDFORWARD_ENERGIES)


@pytest.mark.parametrize(("name", "phi"), ATTENTION)
@settings(max_examples=40)
@given(shape=shapes, beta=st.floats(0.01, 3.0), masked=st.booleans(), seed=seeds)
def test_attention_direction_is_minus_gradient(name, phi, shape, beta, masked, seed):
    energy = ATTENTION_ENERGIES[name](make_config(attention_phi=phi or "sigmoid"), beta=beta)
    tokens = on_sphere(*shape, seed=seed)
    mask = random_mask(shape[0], shape[2], seed) if masked else None
    fixed = {"context": tokens.detach()} if energy.is_causal else {}  # what does not move
    (gradient,) = torch.autograd.grad(energy.value(tokens, mask, **fixed).sum(), tokens)
    direction, _ = energy.direction(tokens, tokens, tokens, mask)
    torch.testing.assert_close(direction, -gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ATTENTION_ENERGIES)
def test_beta_of_the_config(name):
    tokens = on_sphere(2, 3, 7, 8, seed=0)
    energies = [
        ATTENTION_ENERGIES[name](make_config(hidden_size=32, num_attention_heads=4, **fields), beta=beta)
        for fields, beta in (
            ({}, None),
            ({"attention_beta": 8**-0.5}, None),
            ({"attention_beta": 0.3}, None),
            ({}, 0.3),
        )
    ]
    values = [energy.value(tokens) for energy in energies]
    assert torch.equal(values[0], values[1]) and torch.equal(values[2], values[3])
    assert not torch.allclose(values[0], values[2])


@pytest.mark.parametrize(("name", "phi"), FEEDFORWARD)
@settings(max_examples=40)
@given(shape=shapes, masked=st.booleans(), seed=seeds)
def test_feedforward_direction_is_minus_gradient(name, phi, shape, masked, seed):
    # ReLU: the value is that of the ReLU energy also where a layer applies GELU, which the docstring says.
    energy = FEEDFORWARD_ENERGIES[name](make_config(hidden_act="relu", feedforward_phi=phi or "sigmoid"))
    projections = on_sphere(shape[0], shape[2], shape[3], seed=seed)
    mask = random_mask(shape[0], shape[2], seed) if masked else torch.ones(shape[0], shape[2], dtype=torch.bool)
    (gradient,) = torch.autograd.grad(energy.value(projections, mask).sum(), projections)
    direction = energy.direction(projections) * mask.unsqueeze(-1)
    torch.testing.assert_close(direction, -gradient, rtol=1e-9, atol=1e-9)


def test_gelu_applies_gelu_and_reports_the_relu_energy():
    relu, gelu = (FEEDFORWARD_ENERGIES["relu"](make_config(hidden_act=act)) for act in ("relu", "gelu"))
    projections = on_sphere(2, 5, 12, seed=0)
    torch.testing.assert_close(gelu.direction(projections), F.gelu(projections))
    torch.testing.assert_close(gelu.value(projections), relu.value(projections))


@given(shape=shapes, seed=seeds)
def test_bi_softmax_value_is_equation_3(shape, seed):
    """Eq. 3 with β = 1/√p written as loops over heads and tokens."""
    batch_size, num_heads, seq_len, head_dim = shape
    tokens = on_sphere(*shape, seed=seed).detach()
    energy = ATTENTION_ENERGIES["bi_softmax"](make_config(), beta=head_dim**-0.5)
    for sample in range(batch_size):
        expected = 0.0
        for head in range(num_heads):
            for i in range(seq_len):
                z = tokens[sample, head]
                expected += math.sqrt(head_dim) * math.log(
                    sum(math.exp(z[i] @ z[j] / math.sqrt(head_dim)) for j in range(seq_len))
                )
        assert energy.value(tokens)[sample].item() == pytest.approx(expected, rel=1e-9)


def test_relu_value_is_equation_5():
    projections = torch.tensor([[[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]]])
    energy = FEEDFORWARD_ENERGIES["relu"](make_config())
    assert energy.value(projections).item() == -0.5 * (1 + 9 + 0.25)
    assert energy.value(projections, torch.tensor([[True, False]])).item() == -0.5 * (1 + 9)


@given(shape=shapes, seed=seeds)
def test_weights_times_value_is_minus_direction(shape, seed):
    energy = ATTENTION_ENERGIES["bi_softmax"](make_config())
    query, key, value = (on_sphere(*shape, seed=seed + offset) for offset in range(3))
    direction, weights = energy.direction(query, key, value, output_weights=True)
    torch.testing.assert_close(weights @ value, -direction)
    torch.testing.assert_close(weights.sum(dim=(-1, -2)), torch.full(shape[:2], 2.0 * shape[2], dtype=torch.float64))


@pytest.mark.parametrize("side", ["attention", "feedforward", "both"])
@pytest.mark.parametrize(("attention", "attention_phi"), BIDIRECTIONAL)
@pytest.mark.parametrize(("feedforward", "feedforward_phi"), FEEDFORWARD)
@settings(max_examples=2)
@given(case_seed=seeds)
def test_energy_falls_under_small_fixed_steps(attention, attention_phi, feedforward, feedforward_phi, side, case_seed):
    """
    Each step alone makes its own energy fall, and both together their sum, in every iteration. The conditions: W and D
    orthogonal, one head and M = d, so that a step in x is the same step in the projections; gains of one; ReLU itself where
    the feedforward energy is the ReLU one; float64. (In a causal energy each token descends while the others stand still. They
    do not, so their sum may rise.)
    """
    torch.manual_seed(case_seed)
    config = make_config(
        hidden_act="relu",
        shared_qkv_norm=True,
        step_size_type="fixed",
        step_size_attention=0.0 if side == "feedforward" else 1e-3,
        step_size_feedforward=0.0 if side == "attention" else 1e-3,
        num_iterations=8,
        num_attention_heads=1,
        attention_energy=attention,
        attention_phi=attention_phi or "sigmoid",
        feedforward_energy=feedforward,
        feedforward_phi=feedforward_phi or "sigmoid",
    )
    model = HyperSETModel(config).double()
    for projection in (model.layers[0].attention.bases, model.layers[0].feedforward.directions):
        torch.nn.init.orthogonal_(projection.weight)
    with torch.no_grad():
        outputs = model(pixel_values=torch.randn(2, 3, 12, 12, dtype=torch.float64), output_energies=True)
    energies = torch.stack(outputs.energies)
    energy = {"attention": energies[..., 0], "feedforward": energies[..., 1], "both": energies.sum(dim=-1)}[side]
    assert (energy[1:] < energy[:-1]).all()

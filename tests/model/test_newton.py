# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The Intrinsic Optimizers' attentions are update rules: momentum, Nesterov's, and the light Newton step with its domain."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_hyperset import HyperSETModel
from modeling_hyperset.analysis import largest_eigenvalues, newton_domain
from modeling_hyperset.causal_energies_hyperset import CausalSoftmaxAttentionEnergy
from modeling_hyperset.layers_hyperset import HyperSETAttention
from modeling_hyperset.order_hyperset import Order
from modeling_hyperset.steps_hyperset import UPDATE_RULES
from support.builders import make_config, make_inputs, make_model, wake


def free_energy(z: torch.Tensor, values: torch.Tensor, temperature: float) -> torch.Tensor:
    """F(z) = −T log Σ_j exp(−‖z − u_j‖²/2T) of one token."""
    return -temperature * (-(z - values).square().sum(dim=-1) / (2 * temperature)).logsumexp(dim=0)


def one_token(seed: int, temperature: float, spread: float):
    """A token, values, the weights p, and the gradient and the Hessian of its free energy by autograd."""
    generator = torch.Generator().manual_seed(seed)
    z, values = torch.randn(4, generator=generator).double(), spread * torch.randn(9, 4, generator=generator).double()
    weights = (-(z - values).square().sum(dim=-1) / (2 * temperature)).softmax(dim=0)
    gradient = torch.func.grad(free_energy)(z, values, temperature)
    return z, values, weights, gradient, torch.func.hessian(free_energy)(z, values, temperature)


def light_newton(direction, weights, values, beta):
    return UPDATE_RULES["newton"]().precondition(direction, weights, values, beta)


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), temperature=st.floats(0.3, 5), spread=st.floats(0.2, 2))
def test_newton_is_the_cut_series_of_the_inverse_hessian(seed, temperature, spread):
    """By the covariance written out, by the Hessian of autograd, and within its domain nearer to Newton's step than g is."""
    one, values, weights, gradient, hessian = one_token(seed, temperature, spread)
    mean = weights @ values
    covariance = torch.einsum("j,jd,je->de", weights, values - mean, values - mean)
    identity = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(hessian, identity - covariance / temperature)
    torch.testing.assert_close(gradient, one - mean)
    found = light_newton(gradient[None], weights[None], values, 1 / temperature)[0]
    torch.testing.assert_close(found, gradient + covariance @ gradient / temperature)
    torch.testing.assert_close(found, (2 * identity - hessian) @ gradient)
    largest = largest_eigenvalues(weights[None], values, 1 / temperature)[0]
    torch.testing.assert_close(largest, 1 - torch.linalg.eigvalsh(hessian)[0])
    if largest < 0.99:
        newton = torch.linalg.solve(hessian, gradient)
        assert (found - newton).norm() <= largest * (gradient - newton).norm() + 1e-9


def test_beyond_its_domain_the_series_diverges():
    """Two far values with equal weights: C/T has the eigenvalue 4, and the token sits on a ridge, not in a valley."""
    values = torch.tensor([[2.0, 0.0], [-2.0, 0.0]], dtype=torch.float64)
    weights = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    assert largest_eigenvalues(weights, values, 1.0).item() == pytest.approx(4)
    hessian = torch.func.hessian(free_energy)(torch.zeros(2, dtype=torch.float64), values, 1.0)
    assert torch.linalg.eigvalsh(hessian)[0].item() == pytest.approx(-3)


def test_weights_are_divided_by_their_sums():
    direction, values, weights = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 6, 4), torch.rand(2, 3, 5, 6)
    once = light_newton(direction, weights / weights.sum(-1, keepdim=True), values, 0.5)
    torch.testing.assert_close(light_newton(direction, 3 * weights, values, 0.5), once)
    torch.testing.assert_close(light_newton(direction, 0 * weights, values, 0.5), direction)


@pytest.mark.parametrize("fields", [{}, {"attention_energy": "sigmoid"}, {"attention_energy": "causal_softmax"},
                                    {"sublayer_norm_type": "layernorm"}], ids=str)  # fmt: skip
def test_newton_in_the_layer(fields):
    """Head by head, the plain direction times I + C/T, with the gains that the layer has learned."""
    plain, light = (
        wake(HyperSETAttention(make_config(update_rule=rule, attn_implementation="eager", **fields))).double()
        for rule in ("gradient_descent", "newton")
    )
    light.load_state_dict(plain.state_dict())
    x = torch.randn(2, 7, 32, dtype=torch.float64)
    *roles, values = plain.roles(x, None)
    direction, weights = plain.energy.direction(*roles, values, None, True)
    weights = weights / weights.sum(dim=-1, keepdim=True)
    centred = values.unsqueeze(2) - (weights @ values).unsqueeze(3)  # of each token
    covariance = torch.einsum("bhij,bhijd,bhije->bhide", weights, centred, centred)
    direction = direction + plain.energy.beta * (covariance @ direction.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(light(x)[0], plain.bases.back(direction.transpose(1, 2).flatten(2)))
    assert not torch.allclose(light(x)[0], plain(x)[0])


@pytest.mark.parametrize("case", ["images", "causal-lm"])
def test_newton_domain(case):
    model, inputs = make_model(case, update_rule="newton"), make_inputs(case)
    if case == "causal-lm":
        inputs["attention_mask"] = (torch.arange(16) < torch.tensor([[16], [9]])).long()
    found = newton_domain(model, **inputs)
    length = 10 if case == "images" else 16
    assert found.shape == (3, 2, 4, length) and not model.training
    if case == "causal-lm":
        assert found[:, 1, :, 9:].isnan().all() and found[:, :, :, :9].isfinite().all()
        assert found[:, 0, :, 0].abs().max() < 1e-6  # the first token sees itself alone
        found = found[:, :1]
    with (
        torch.no_grad()
    ):  # once more for one token: the sixth of the first sample, in the first head of the first iteration
        outputs = model(**inputs, output_attentions=True, output_hidden_states=True)
        base = getattr(model, "hyperset", model)
        order = Order(is_causal=case == "causal-lm")
        values = base.layers[0].attention.roles(outputs.hidden_states[0][:1], order)[2][0, 0]
        weights = outputs.attentions[0][0, 0, 5]
        values, weights = values[: len(weights)], weights / weights.sum()
        covariance = torch.cov(values.T, correction=0, aweights=weights)
    expected = torch.linalg.eigvalsh(covariance)[-1] / 8**0.5
    torch.testing.assert_close(found[0, 0, 0, 5], expected.double(), rtol=1e-4, atol=1e-5)
    assert found.min() >= -1e-6 and found.max() > 0.1
    with pytest.raises(ValueError, match="attention energy with weights, got 'hyperset' and 'linear'"):
        newton_domain(make_model("images", attention_energy="linear"), **make_inputs("images"))
    with pytest.raises(ValueError, match="layer_type='hyperset'"):
        newton_domain(make_model("images", layer_type="cem"), **make_inputs("images"))


@pytest.mark.parametrize("energy", ["linear", "causal_linear"])
def test_newton_needs_weights(energy):
    config = make_config(update_rule="newton", attention_energy=energy, pooling="mean")
    with pytest.raises(ValueError, match="`update_rule` 'newton' needs an attention energy with weights"):
        HyperSETModel(config)


@pytest.mark.parametrize("rule", ["momentum", "nesterov"])
def test_momentum_and_nesterov_attention_are_update_rules(rule):
    """
    The textbook's methods on the gradient of a softmax energy, by autograd, move the tokens as the rules do. Momentum:
    v ← 0.9 v − η ∇F(x), x ← x + v. Nesterov's evaluates the gradient ahead, at y = x + 0.9 v. The rule's tokens are these y.
    """
    energy, eta = CausalSoftmaxAttentionEnergy(make_config(attention_energy="causal_softmax")), 0.05
    x = torch.randn(1, 2, 6, 8, dtype=torch.float64)
    tokens, state, made, v = x, (), UPDATE_RULES[rule](), torch.zeros_like(x)
    for t in range(1, 6):
        direction, _ = energy.direction(tokens, tokens, tokens)
        move, state = made.move(direction, state, t)
        tokens = tokens + eta * move
        at = (x if rule == "momentum" else x + 0.9 * v).requires_grad_()
        (gradient,) = torch.autograd.grad(energy.value(at, context=at.detach()).sum(), at)
        v = 0.9 * v - eta * gradient
        x = x.detach() + v
        torch.testing.assert_close(tokens, x if rule == "momentum" else x + 0.9 * v)

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Table 17's norms: RMSNorm or LayerNorm, on the projections or (Pre-Norm) on the tokens before them."""

import pytest
import torch
from torch.nn import functional as F

from modeling_hyperset.analysis import analyze
from support.builders import make_config, make_inputs, make_model


ROWS = [(norm_type, pre_norm) for norm_type in (None, "layernorm") for pre_norm in (False, True)]


def make_one_step(norm_type, pre_norm, **fields):
    """One iteration with fixed step sizes, in float64: its tokens before and after, its layer, the energies after."""
    steps = {"step_size_type": "fixed", "step_size_attention": 0.3, "step_size_feedforward": 0.2, "hidden_act": "relu"}
    fields = {"num_iterations": 1, "sublayer_norm_type": norm_type, "pre_norm": pre_norm} | steps | fields
    model = make_model("images", **fields).double()
    inputs = {name: value.double() for name, value in make_inputs("images").items()}
    outputs = model(**inputs, output_hidden_states=True, output_energies=True)
    return *outputs.hidden_states, model.layers[0], outputs.energies[0]


@pytest.mark.parametrize(("norm_type", "pre_norm"), ROWS)
@pytest.mark.parametrize("shared", [False, True])
def test_one_iteration_by_hand(norm_type, pre_norm, shared):
    """Written once more with torch's own norms, gains and biases with them."""
    x, after, layer, _ = make_one_step(norm_type, pre_norm, shared_qkv_norm=shared)
    p = layer.attention.head_dim

    def normed(tokens, module):
        kind = F.layer_norm if norm_type else F.rms_norm
        affine = [module.weight, module.bias] if norm_type else [module.weight]
        return kind(tokens, tokens.shape[-1:], *affine, eps=module.eps)

    w, d = layer.attention.bases.weight, layer.feedforward.directions.weight
    z = (normed(x, layer.attention.token_norm) if pre_norm else x) @ w.T
    z = z.unflatten(-1, (-1, p)).transpose(1, 2)
    roles = [normed(z, norm) for norm in layer.attention.qkv_norms] or [z]
    q, k, v = roles if len(roles) == 3 else roles * 3
    s = q @ k.mT / p**0.5
    y = (s.softmax(dim=-1) + s.softmax(dim=-2)) @ v
    x = x - 0.3 * y.transpose(1, 2).flatten(2) @ w
    h = normed(x, layer.feedforward.token_norm) @ d.T if pre_norm else normed(x @ d.T, layer.feedforward.norm)
    torch.testing.assert_close(after, x + 0.2 * F.relu(h) @ d)


@pytest.mark.parametrize(("norm_type", "pre_norm"), ROWS)
def test_energies_are_those_of_what_the_layer_sees(norm_type, pre_norm):
    """On the projections, their norms without gain and bias; with Pre-Norm, W and D of the normalised tokens."""
    _, x, layer, energies = make_one_step(norm_type, pre_norm)
    attention, feedforward = layer.attention, layer.feedforward
    norm = F.layer_norm if norm_type else F.rms_norm
    z = attention.token_norm(x) @ attention.bases.weight.T
    z = z.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
    h = feedforward.token_norm(x) @ feedforward.directions.weight.T
    if not pre_norm:
        eps = 1e-5 if norm_type else None
        z, h = (norm(tensor, tensor.shape[-1:], eps=eps) for tensor in (z, h))
        for sphere in (z, h):
            torch.testing.assert_close(
                sphere.norm(dim=-1), torch.full_like(sphere[..., 0], sphere.shape[-1] ** 0.5), rtol=1e-4, atol=0
            )
    expected = attention.energy.value(z), feedforward.energy.value(h)
    torch.testing.assert_close(energies, torch.stack(expected, dim=-1))


@pytest.mark.parametrize("norm_type", [None, "layernorm"])
def test_pre_norm_follows_the_gradient_of_the_normalised_tokens(norm_type):
    """direction = −∂E/∂g with g = norm(x), for any gains: no sphere lies between g and the energy."""
    x, _, layer, _ = make_one_step(norm_type, True)
    for side in (layer.attention, layer.feedforward):
        g = side.token_norm(x).detach().requires_grad_()
        direction = side(x)
        side.token_norm = torch.nn.Identity()
        (gradient,) = torch.autograd.grad(side.value(g).sum(), g)
        torch.testing.assert_close(direction[0] if isinstance(direction, tuple) else direction, -gradient)


@pytest.mark.parametrize(("norm_type", "pre_norm"), ROWS)
def test_the_analysis_measures_the_energies_of_the_layer(norm_type, pre_norm):
    model, inputs = make_model("images", sublayer_norm_type=norm_type, pre_norm=pre_norm), make_inputs("images")
    energies = torch.stack(model(**inputs, output_energies=True).energies).double().mean(dim=1)
    analysis = analyze(model, inputs, progress=False)
    measured = torch.stack([analysis.mean(f"{side}_energy") for side in ("attention", "feedforward")], dim=-1)
    torch.testing.assert_close(measured, energies, rtol=1e-5, atol=1e-5)
    assert (analysis.mean("full_rank") >= analysis.mean("effective_rank")).all()


def test_implementations_agree_where_there_are_others_and_are_refused_where_not():
    for name in ("eager", "sdpa", "fused"):
        model = make_model("images", pre_norm=True, sublayer_norm_type="layernorm")
        model.set_attn_implementation(name)
        inputs = make_inputs("images", batch_size=1)
        weights = model(**inputs, output_attentions=True).last_hidden_state
        torch.testing.assert_close(model(**inputs).last_hidden_state, weights, rtol=1e-4, atol=1e-4)
    model = make_model("images", sublayer_norm_type="layernorm")
    assert model.config._attn_implementation == "eager"
    with pytest.raises(ValueError, match="attn_implementation"):
        model.set_attn_implementation("fused")


@pytest.mark.parametrize(("norm_type", "pre_norm"), ROWS)
def test_a_classifier_that_prunes_its_last_iteration_reads_the_same(norm_type, pre_norm):
    model = make_model("image-classification", sublayer_norm_type=norm_type, pre_norm=pre_norm)
    inputs = make_inputs("image-classification")
    whole = model(**inputs, output_hidden_states=True).logits
    torch.testing.assert_close(model(**inputs).logits, whole, rtol=1e-4, atol=1e-4)


def test_pre_norm_is_for_hyperset():
    with pytest.raises(ValueError, match="`pre_norm` must be False for layer_type='crate'"):
        make_config(layer_type="crate", pre_norm=True)

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The siblings CEM, NRGPT and YuriiFormer: each descends what it says, and is the Transformer that it is said to be."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from modeling_hyperset import HyperSETConfig, HyperSETModel
from modeling_hyperset.baselines_hyperset import SoftmaxAttention, TransformerLayer
from modeling_hyperset.cem_hyperset import CEMFeedforward, CEMInteraction, CEMLayer, Preconditioner
from modeling_hyperset.layers_hyperset import LAYERS
from modeling_hyperset.nrgpt_hyperset import NRGPTAttention, NRGPTFeedforward, NRGPTLayer
from modeling_hyperset.order_hyperset import HyperSETRotaryEmbedding, Order
from modeling_hyperset.yuriiformer_hyperset import YuriiFormerLayer
from support.builders import make_config, make_inputs, make_model, wake


IDS = torch.arange(14).view(2, 7)


def tokens(*shape, grad=False):
    return torch.randn(*(shape or (2, 7, 32)), dtype=torch.float64).requires_grad_(grad)


def order_of(causal: bool, rotary: bool, mask: torch.Tensor | None) -> Order | None:
    turns = None
    if rotary:
        config = make_config(vocab_size=20, position_embedding_type="rotary")
        turns = HyperSETRotaryEmbedding(config)(tokens(0), torch.arange(7)[None])
    return Order(is_causal=causal, rotary=turns, key_mask=mask) if causal or rotary else None


ATTENTIONS = {
    **{
        kind: (CEMInteraction, {"layer_type": "cem", "interaction_diagonal": kind})
        for kind in ("none", "head", "full")
    },
    "nrgpt": (NRGPTAttention, {"layer_type": "nrgpt"}),
    "beta": (NRGPTAttention, {"layer_type": "nrgpt", "attention_beta": 0.7}),
}


@pytest.mark.parametrize("kind", ATTENTIONS)
@settings(max_examples=6)
@given(causal=st.booleans(), rotary=st.booleans(), masked=st.booleans(), weights=st.booleans())
def test_attention_direction_is_minus_gradient(kind, causal, rotary, masked, weights):
    """With respect to the tokens that move, while the context is held fixed."""
    attention_class, fields = ATTENTIONS[kind]
    attention = wake(attention_class(make_config(**fields, attn_implementation="sdpa"))).double()
    mask = torch.arange(7).expand(2, -1) < torch.tensor([[7], [4]]) if masked else None
    order = order_of(causal, rotary, mask)
    moving, context = tokens(grad=True), tokens()
    values = attention.token_values(moving, context, mask, order)
    keep = torch.ones(2, 7, dtype=torch.bool) if mask is None else mask
    (gradient,) = torch.autograd.grad(values[keep].sum(), moving)
    direction, found = attention.direction(moving, attention.remember(context, order), mask, order, weights)
    torch.testing.assert_close(direction[keep], -gradient[keep], rtol=1e-8, atol=1e-8)
    assert (found is not None) == weights and gradient[keep].abs().max() > 1e-3


@pytest.mark.parametrize("act", ["gelu", "relu"])
@settings(max_examples=4)
@given(scale=st.floats(0.1, 30))
def test_feedforward_directions_are_minus_gradients(act, scale):
    config = make_config(layer_type="cem", hidden_act=act)
    cem, nrgpt = (wake(kind(config)).double() for kind in (CEMFeedforward, NRGPTFeedforward))
    moving, gate = scale * tokens(), tokens(2, 7, config.intermediate_size)
    moving.requires_grad_()
    for values, direction in (
        (cem.token_values(moving, gate), cem.direction(moving, gate)),
        (nrgpt.token_values(moving), nrgpt(moving)),
    ):
        (gradient,) = torch.autograd.grad(values.sum(), moving)
        torch.testing.assert_close(direction, -gradient, rtol=1e-8, atol=1e-8)
    z = (scale * tokens(50)).requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(cem.antiderivative(z).sum(), z)[0], cem.activation(z))


@pytest.mark.parametrize("causal", [False, True])
def test_plain_cem_is_tied_multi_head_attention(causal):
    """One step, P = I, no diagonal: W_V = W_K and W_O = W_Qᵀ."""
    config = make_config(layer_type="cem", attn_implementation="eager")
    cem, attention = wake(CEMInteraction(config)).double(), SoftmaxAttention(config, shared_qkv=False).double()
    with torch.no_grad():
        for projection, weight in zip(
            (*attention.qkv_projs, attention.output_proj),
            (cem.q_proj.weight, cem.k_proj.weight, cem.k_proj.weight, cem.q_proj.weight.T),
            strict=True,
        ):
            projection.weight.copy_(weight)
    x, order = tokens(), order_of(causal, False, None)
    moved, weights = cem(x, None, True, order)
    expected, expected_weights = attention(cem.norm(x), None, True, order)
    torch.testing.assert_close(moved, x + expected)
    torch.testing.assert_close(weights, expected_weights)


def test_inner_steps_hold_keys_and_gate():
    config = make_config(layer_type="cem", inner_steps=3, preconditioner_rank=2)
    layer, x = wake(CEMLayer(config)).double(), tokens()
    attention, feedforward, y = layer.attention, layer.feedforward, x
    keys = attention.keys(attention.norm(x), None)
    for _ in range(3):
        y = y + attention.preconditioner(attention.direction(attention.norm(y), keys)[0])
    gate = feedforward.gate_proj(feedforward.norm(y))
    for _ in range(3):
        y = y + feedforward.preconditioner(feedforward.direction(feedforward.norm(y), gate))
    torch.testing.assert_close(layer.move(x, None, False, None), y)
    model = make_model("causal-lm", layer_type="cem", inner_steps=3)
    assert len(model(IDS, use_cache=True).past_key_values.layers) == model.config.num_iterations


@pytest.mark.parametrize("rank", [0, 3, 32])
def test_preconditioners_start_as_the_identity_and_stay_positive(rank):
    """And every parameter gets a gradient at the start."""
    model = HyperSETModel(make_config(layer_type="cem", preconditioner_rank=rank)).double()
    made = [module for module in model.modules() if isinstance(module, Preconditioner)]
    assert len(made) == 2
    for one in made:
        identity = torch.eye(32, dtype=torch.float64)
        torch.testing.assert_close(one(identity), identity, rtol=0, atol=1e-6)
        one(tokens(5, 32)).square().sum().backward()
        assert all(parameter.grad.abs().sum(dim=-1).all() for parameter in one.parameters())
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in one.parameters():
                parameter.copy_(3 * torch.randn_like(parameter))
        assert torch.linalg.eigvalsh(one(identity)).min() > 0


def test_nrgpt_follows_the_gradient_through_its_projection():
    layer, x = wake(NRGPTLayer(make_config(layer_type="nrgpt"))).double(), tokens()
    y = F.layer_norm(x, (32,), eps=1e-5).requires_grad_()
    interactions = layer.attention.interactions.weight.unflatten(0, (4, 32)).mT  # H of each head
    scores = torch.einsum("bid,hde,bje->bhij", y, interactions, y.detach()) / math.sqrt(32)
    energy = -math.sqrt(32) * scores.logsumexp(dim=-1).sum()
    memories = F.gelu(y @ layer.feedforward.memories.weight.T)
    energy = energy - layer.feedforward_scale.weight * memories.square().sum()
    torch.testing.assert_close(layer.energies(x).sum(), energy.squeeze())
    (gradient,) = torch.autograd.grad(energy, y)
    torch.testing.assert_close(layer.move(x, None, False, None), x - gradient @ layer.projection.weight.T)


# YuriiFormer


@pytest.mark.parametrize("norm_type", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize("method", ["nesterov", "polyak", "gradient_descent"])
def test_yuriiformer_without_velocity_is_the_transformer(method, norm_type):
    """μ = β = 0 and γ = 1, without a norm of the velocity, whatever the velocity was."""
    fields = {
        "velocity_method": method,
        "velocity_norm": method == "gradient_descent",
    }  # which has no velocity to norm
    config = make_config(layer_type="yuriiformer", norm_type=norm_type, hidden_act="relu", **fields)
    layer = wake(YuriiFormerLayer(config)).double()
    with torch.no_grad():
        for step in layer.steps if method != "gradient_descent" else ():
            step.decay.fill_(-math.inf)
            step.step_size.fill_(math.log(math.e - 1))
            if method == "nesterov":
                step.look_ahead.fill_(-math.inf)
    plain = TransformerLayer(config).double()
    plain.load_state_dict(layer.state_dict(), strict=False)
    x = tokens()
    torch.testing.assert_close(layer(x, None, None, tokens())[0], plain(x)[0])


@pytest.mark.parametrize("splitting", ["lie_trotter", "euler"])
@pytest.mark.parametrize("method", ["nesterov", "polyak"])
@pytest.mark.parametrize("start", ["zeros", "embeddings"])
def test_yuriiformer_by_hand(start, method, splitting):
    """Two layers, two iterations each: the velocity goes on through all of them, from its own start."""
    fields = {"velocity_start": start, "velocity_method": method, "velocity_splitting": splitting}
    model = make_model("images", layer_type="yuriiformer", num_hidden_layers=2, num_iterations=2, **fields)
    inputs = make_inputs("images")
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states
        x = states[0]
        v = torch.zeros_like(x) if start == "zeros" else model.velocity_embeddings(**inputs)
        first, second = model.layers
        for layer, after in zip((first, first, second, second), states[1:], strict=True):
            oracles = [
                lambda y, layer=layer: layer.attention(layer.attention_norm(y))[0],
                lambda y, layer=layer: layer.down_proj(F.gelu(layer.up_proj(layer.mlp_norm(y)))),
            ]
            if splitting == "euler":
                oracles = [lambda y, oracles=oracles: oracles[0](y) + oracles[1](y)]
            for step, oracle in zip(layer.steps, oracles, strict=True):
                mu = step.look_ahead.sigmoid() if method == "nesterov" else 0.0
                v = step.norm(step.decay.sigmoid() * v + F.softplus(step.step_size) * oracle(x + mu * v))
                x = x + v
            torch.testing.assert_close(after, x)


def test_yuriiformer_starts_with_the_papers_scalars():
    model = HyperSETModel(make_config(layer_type="yuriiformer", vocab_size=20))
    scalars = {name: value for name, value in model.named_parameters() if value.numel() == 1}
    assert len(scalars) == 6 and not any(value.any() for value in scalars.values())


def test_embeddings_of_the_velocity():
    """They take part, grow with the vocabulary, need ids, and cost what the docs say."""
    model = make_model(
        "causal-lm", layer_type="yuriiformer", velocity_start="embeddings", position_embedding_type="learned"
    )
    own = model.hyperset.velocity_embeddings
    plain = make_model("causal-lm", layer_type="yuriiformer", position_embedding_type="learned")
    assert model.num_parameters() - plain.num_parameters() == (20 + 16) * 32
    before = model(IDS).logits
    with pytest.raises(ValueError, match="`inputs_embeds` must be None with velocity_start='embeddings'"):
        model(inputs_embeds=model.get_input_embeddings()(IDS))
    model.resize_token_embeddings(23)
    assert own.token_embeddings.weight.shape == (23, 32)
    torch.testing.assert_close(model(IDS).logits[..., :20], before)
    assert model(IDS + 9).logits.shape[-1] == 23
    with torch.no_grad():
        own.token_embeddings.weight[3] += 1
    assert not torch.allclose(model(IDS).logits[..., :20], before)


# Their fields


FIELDS = {
    "velocity_method": ("yuriiformer", "polyak"),
    "velocity_splitting": ("yuriiformer", "euler"),
    "velocity_norm": ("yuriiformer", False),
    "velocity_start": ("yuriiformer", "embeddings"),
    "inner_steps": ("cem", 2),
    "interaction_diagonal": ("cem", "head"),
    "preconditioner_rank": ("cem", 4),
}


@pytest.mark.parametrize("field", [{"velocity_norm": False}, {"velocity_start": "embeddings"}], ids=str)
def test_plain_descent_has_no_velocity(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        make_config(layer_type="yuriiformer", velocity_method="gradient_descent", **field)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_for_its_layer_alone(name):
    owner, value = FIELDS[name]
    assert getattr(HyperSETConfig(layer_type=owner, **{name: value}), name) == value
    for layer_type in LAYERS:
        if layer_type != owner:
            with pytest.raises(ValueError, match=f"`{name}` must be .*only '{owner}' reads"):
                HyperSETConfig(layer_type=layer_type, **{name: value})


def test_values_of_their_fields_that_do_not_go_together():
    with pytest.raises(ValueError, match="`preconditioner_rank` must be at most hidden_size=32"):
        make_config(layer_type="cem", preconditioner_rank=33)
    with pytest.raises(ValueError, match="`velocity_start` must be 'zeros'"):
        make_config(layer_type="yuriiformer", velocity_method="gradient_descent", velocity_start="embeddings")


@pytest.mark.parametrize("layer_type", ["cem", "nrgpt"])
def test_energies_and_adaptive_depth_of_padded_tokens(layer_type):
    """Where all tokens are seen: each row of a padded batch has the energies, depth and tokens that it has alone."""
    model = make_model("tokens", layer_type=layer_type, num_iterations=4).double()
    mask = torch.arange(7).expand(2, -1) < torch.tensor([[7], [4]])
    for options in ({}, {"energy_tolerance": 0.05}):
        both = model(IDS, attention_mask=mask.long(), output_energies=not options, **options)
        for row, length in enumerate((7, 4)):
            alone = model(IDS[row : row + 1, :length], output_energies=not options, **options)
            torch.testing.assert_close(both.last_hidden_state[row, :length], alone.last_hidden_state[0])
            if options:
                assert both.num_iterations_used[row] == alone.num_iterations_used[0]
            else:
                torch.testing.assert_close([one[row] for one in both.energies], [one[0] for one in alone.energies])

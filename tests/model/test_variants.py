# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Every variant of the paper trains, saves, pads and compiles like the default; LoRA, update rules and baselines by hand."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from modeling_hyperset import HyperSETForImageClassification, HyperSETForSequenceClassification, HyperSETModel
from modeling_hyperset.configuration_hyperset import HAVE_ENERGIES
from modeling_hyperset.energies_hyperset import (
    ATTENTION_ENERGIES,
    FEEDFORWARD_ENERGIES,
    PHI,
    AttentionEnergy,
    FeedforwardEnergy,
    register_attention_energy,
    register_feedforward_energy,
)
from modeling_hyperset.layers_hyperset import LAYERS
from modeling_hyperset.steps_hyperset import UPDATE_RULES, UpdateRule, register_update_rule
from support.builders import make_config, make_inputs, make_model
from transformers import AutoModel, AutoModelForSequenceClassification


BASELINES = [name for name in LAYERS if name != "hyperset"]
VARIANTS = {
    **{f"attention-{name}": {"attention_energy": name} for name in ATTENTION_ENERGIES if name != "linear"},
    **{f"attention-linear-{phi}": {"attention_energy": "linear", "attention_phi": phi} for phi in PHI},
    **{f"feedforward-{name}": {"feedforward_energy": name} for name in FEEDFORWARD_ENERGIES if name != "gated"},
    **{f"feedforward-gated-{phi}": {"feedforward_energy": "gated", "feedforward_phi": phi} for phi in PHI},
    **{f"rule-{name}": {"update_rule": name} for name in UPDATE_RULES},
    "lora": {"lora_rank": 2},
    "lora-two-layers": {"lora_rank": 2, "num_hidden_layers": 2},
    **{name: {"layer_type": name} for name in BASELINES},
    "pre-norm": {"pre_norm": True},
    "layernorm": {"sublayer_norm_type": "layernorm"},
    "transformer-rmsnorm": {"layer_type": "transformer", "norm_type": "rmsnorm"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variant(name, tmp_path):
    """Save and load bit-exact, a padded batch equals its rows alone, checkpointed gradients, finite in bfloat16."""
    model = make_model("sequence-classification", **VARIANTS[name])
    input_ids = torch.randint(0, 20, (2, 10))
    attention_mask = torch.ones(2, 10)
    attention_mask[1, 4:] = 0
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": torch.tensor([1, 3])}
    outputs = model(**inputs)
    torch.testing.assert_close(outputs.logits[1:], model(input_ids=input_ids[1:, :4]).logits, rtol=1e-3, atol=1e-3)

    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(loaded) is HyperSETForSequenceClassification and torch.equal(loaded(**inputs).logits, outputs.logits)

    gradients = []
    for checkpointing in (None, {"use_reentrant": False}, {"use_reentrant": True}):
        model.train().zero_grad()
        if checkpointing:
            model.gradient_checkpointing_enable(checkpointing)
        model(**inputs).loss.backward()
        gradients.append({key: parameter.grad.clone() for key, parameter in model.named_parameters()})
    assert [key for key, gradient in gradients[0].items() if not torch.isfinite(gradient).all()] == []
    for key, gradient in gradients[0].items():
        for other in gradients[1:]:
            torch.testing.assert_close(other[key], gradient, msg=key)

    model.gradient_checkpointing_disable()
    half = model.to(torch.bfloat16)
    half.zero_grad()
    half(**inputs).loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in half.parameters())


pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing_.*able` is deprecated")


@pytest.mark.skipif(torch.__version__.startswith("2.6."), reason="torch 2.6 traces no model of transformers 5 whole")
@pytest.mark.parametrize(
    "name",
    [
        "attention-linear-sigmoid",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("rule-adam", "lora", "transformer", "energy_transformer", "yuriiformer", "cem", "nrgpt")
        ),
    ],
)
def test_variants_compile_whole(name):
    torch.compiler.reset()
    model = make_model("sequence-classification", **({"num_iterations": 2} | VARIANTS[name]))
    inputs = make_inputs("tokens")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize("layer_type", LAYERS)
def test_attention_implementations_agree(layer_type):
    model, inputs = make_model("images", layer_type=layer_type), make_inputs("images")
    model.set_attn_implementation("eager")
    expected = model(**inputs).last_hidden_state
    default, *others = LAYERS[layer_type].attn_implementations(model.config)
    for name in {default, *others}:
        model.set_attn_implementation(name)
        torch.testing.assert_close(model(**inputs).last_hidden_state, expected, rtol=1e-4, atol=1e-4)
    if default != "fused":
        with pytest.raises(ValueError, match="attn_implementation"):
            HyperSETModel._from_config(make_config(layer_type=layer_type), attn_implementation="fused")
    assert HyperSETModel(make_config(layer_type=layer_type)).config._attn_implementation == default


# Update rules


def reference_moves(rule: str, directions: list[torch.Tensor]) -> list[torch.Tensor]:
    """The moves of a rule, written once more from the reference's formulas."""
    b = v = m = torch.zeros_like(directions[0])
    moves = []
    for t, g in enumerate(directions, start=1):
        if rule in ("gradient_descent", "newton"):  # what Newton's rule adds is in test_siblings.py
            moves.append(g)
        elif rule in ("momentum", "nesterov"):
            b = 0.9 * b + g
            moves.append(b if rule == "momentum" else g + 0.9 * b)
        elif rule in ("rmsprop", "rmsprop_momentum"):
            v = 0.8 * v + 0.2 * g**2
            b = 0.9 * b + g / (v.sqrt() + 1e-6)
            moves.append(g / (v.sqrt() + 1e-6) if rule == "rmsprop" else b)
        else:
            m, v = 0.9 * m + 0.1 * g, 0.96 * v + 0.04 * g**2
            moves.append(m / (1 - 0.9**t) / ((v / (1 - 0.96**t)).sqrt() + 1e-6))
    return moves


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_update_rule(rule):
    directions = [torch.randn(2, 3, 4) for _ in range(5)]
    state, made = (), UPDATE_RULES[rule]()
    for t, (direction, expected) in enumerate(
        zip(directions, reference_moves(rule, directions), strict=True), start=1
    ):
        move, state = made.move(direction, state, t)
        torch.testing.assert_close(move, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_update_rule_in_half_precision(rule, scale, dtype):
    """Where the square of a direction is below or above what half precision holds."""
    directions = [(scale * torch.randn(2, 3, 4)).to(dtype) for _ in range(5)]
    state, made = (), UPDATE_RULES[rule]()
    for t, direction in enumerate(directions, start=1):
        move, state = made.move(direction, state, t)
    expected = reference_moves(rule, [direction.double() for direction in directions])[-1]
    assert move.dtype == dtype
    torch.testing.assert_close(move.double(), expected, rtol=0.01, atol=0.01 * expected.abs().max().item())


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_state_starts_afresh_in_every_call_and_layer(rule):
    model, inputs = make_model("images", update_rule=rule, num_hidden_layers=2), make_inputs("images")
    with torch.no_grad():
        first = model(**inputs, output_hidden_states=True)
        assert torch.equal(model(**inputs).last_hidden_state, first.last_hidden_state)
        # The second layer by itself, from where the first one left, does what it did behind it.
        states, hidden = first.hidden_states, first.hidden_states[3]
        times = model.time_embedding(3, hidden.device, hidden.dtype)
        carried = ()
        for t in range(1, 4):
            hidden, _, *carried = model.layers[1](
                hidden, states[0], times[t - 1], *carried, step_size=model.step_sizes[0], iteration=t
            )
            torch.testing.assert_close(hidden, states[3 + t])


# Depth-wise LoRA


def test_lora_changes_both_directions():
    """An iteration with adapters is one of a plain layer whose weights are the effective ones."""
    model = make_model("images", lora_rank=2, lora_alpha=6, hidden_act="relu").double()
    pixel_values = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    states = model(pixel_values=pixel_values, output_hidden_states=True).hidden_states
    times = model.time_embedding(3, states[0].device, torch.float64)
    w, d = model.layers[0].attention.bases.weight.clone(), model.layers[0].feedforward.directions.weight.clone()
    for t in range(1, 4):
        lora = model.lora
        with torch.no_grad():
            model.layers[0].attention.bases.weight.copy_(w + 3 * lora.bases_b[t - 1] @ lora.bases_a[t - 1])
            model.layers[0].feedforward.directions.weight.copy_(
                d + 3 * lora.directions_b[t - 1] @ lora.directions_a[t - 1]
            )
        after, *_ = model.layers[0](states[t - 1], states[0], times[t - 1], step_size=model.step_sizes[0], iteration=t)
        torch.testing.assert_close(after, states[t])


def test_lora_is_merged_where_it_can_be():
    model = make_model("image-classification", lora_rank=2, num_iterations=1, num_hidden_layers=3)
    inputs = make_inputs("images")
    expected = model(**inputs).logits
    model.merge_adapters()
    assert model.hyperset.lora is None and model.config.lora_rank == 0
    torch.testing.assert_close(model(**inputs).logits, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="no adapters"):
        model.merge_adapters()
    with pytest.raises(ValueError, match="one iteration per layer"):
        make_model("images", lora_rank=2).merge_adapters()


def test_lora_has_as_many_adapters_as_iterations():
    model, inputs = make_model("images", lora_rank=2), make_inputs("images")
    assert len(model(**inputs, num_iterations=2, output_hidden_states=True).hidden_states) == 3
    with pytest.raises(ValueError, match=r"num_iterations.*at most 3, got 4"):
        model(**inputs, num_iterations=4)


def test_lora_on_a_frozen_base(tmp_path):
    base = make_model("image-classification")
    base.save_pretrained(tmp_path)
    model = HyperSETForImageClassification.from_pretrained(tmp_path, lora_rank=2, lora_init="zeros")
    inputs = make_inputs("image-classification", labels=True)
    torch.testing.assert_close(model(**inputs).logits, base(**inputs).logits, rtol=0, atol=0)
    assert model.hyperset.lora.scaling == 4.0  # the paper's, unless `lora_alpha` says otherwise
    model.train_adapters_only()
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    lora = {f"hyperset.lora.{name}" for name in ("bases_a", "bases_b", "directions_a", "directions_b")}
    assert trainable == lora | {"classifier.weight", "classifier.bias"}
    model(**inputs).loss.backward()
    assert model.hyperset.lora.bases_b.grad.any() and model.hyperset.lora.directions_b.grad.any()
    model.train().gradient_checkpointing_enable({"use_reentrant": True})
    wanted = model.hyperset.lora.bases_b.grad.clone()
    model.zero_grad()
    model(**inputs).loss.backward()
    torch.testing.assert_close(model.hyperset.lora.bases_b.grad, wanted)
    with pytest.raises(ValueError, match="lora_rank=0"):
        base.train_adapters_only()
    for alpha in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="lora_alpha"):
            make_config(lora_rank=2, lora_alpha=alpha)


# Linear attention


PEAK = """
import re
from pathlib import Path
import torch
from modeling_hyperset import HyperSETConfig
from modeling_hyperset.energies_hyperset import LinearAttentionEnergy

torch.set_num_threads(1)
energy = LinearAttentionEnergy(HyperSETConfig(hidden_size=64, num_attention_heads=1, attention_energy="linear"))

def measure(seq_len):
    tokens = torch.randn(1, 1, seq_len, 64)
    energy.direction(tokens, tokens, tokens)
    energy.value(tokens)
    # Of this program alone, where resource.getrusage starts from what its parent held.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

start = measure(64)
print(*(measure(seq_len) - start for seq_len in (65536, 131072)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory where Linux tells it")
def test_linear_attention_needs_linear_memory():
    """Peak memory of value and direction, one head of 64: doubling N = 65,536 takes at most 2.5 times as much."""
    printed = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout
    peaks = [int(word) for word in printed.split()]
    assert 0 < peaks[1] <= 2.5 * peaks[0]
    assert peaks[0] < 16 * 65536 * 64 * 4  # a few tensors of the input's size; the scores would be 1,024


def test_linear_attention_has_no_weights():
    outputs = make_model("images", attention_energy="linear")(**make_inputs("images"), output_attentions=True)
    assert outputs.attentions == ()


def test_sigmoid_attention_weights():
    model = make_model("images", attention_energy="sigmoid")
    weights = model(**make_inputs("images"), output_attentions=True).attentions[0]
    assert weights.shape == (2, 4, 10, 10) and (weights >= 0).all() and (weights <= 0.25).all()


# Baselines


@pytest.mark.parametrize("layer_type", BASELINES)
def test_baselines_share_everything_but_the_layer(layer_type):
    model = AutoModel.from_config(make_config(layer_type=layer_type))
    assert type(model) is HyperSETModel and len(model.step_sizes) == 0 and model.time_embedding is None
    outputs = model(**make_inputs("images"), num_iterations=5, output_hidden_states=True, output_attentions=True)
    assert len(outputs.hidden_states) == 6 and len(outputs.attentions) == 5
    assert all(weights.shape == (2, 4, 10, 10) for weights in outputs.attentions)
    assert not model.config.patch_embedding_norm
    expansion = 1 if "crate" in layer_type else 4
    assert model.config.intermediate_size == expansion * 32
    with pytest.raises(ValueError, match="lora_rank"):
        make_config(layer_type=layer_type, lora_rank=2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "fields",
    [*({"layer_type": name} for name in HAVE_ENERGIES), {"pre_norm": True, "sublayer_norm_type": "layernorm"}],
    ids=str,
)
def test_energies_of_a_model_in_half_precision(fields, dtype):
    """They are computed in float32 at least, with weights that are not."""
    model = make_model("images", **fields).to(dtype)
    inputs = {name: tensor.to(dtype) for name, tensor in make_inputs("images").items()}
    with torch.no_grad():
        energies = torch.stack(model(**inputs, output_energies=True).energies)
        wide = {name: tensor.float() for name, tensor in inputs.items()}
        wanted = torch.stack(model.float()(**wide, output_energies=True).energies)
    assert energies.dtype == torch.float32
    torch.testing.assert_close(energies, wanted, rtol=0.05, atol=0.05 * wanted.abs().max().item())


@pytest.mark.parametrize("layer_type", [name for name in BASELINES if name not in HAVE_ENERGIES])
def test_baselines_without_an_energy_say_so(layer_type):
    with pytest.raises(ValueError, match="output_energies"):
        make_model("images", layer_type=layer_type)(**make_inputs("images"), output_energies=True)


@pytest.mark.parametrize("masked", [False, True])
def test_energy_transformer_descends_its_energy(masked):
    """Its move is minus the gradient of its energy with respect to the normalised tokens."""
    model = make_model("images", layer_type="energy_transformer").double()
    layer = model.layers[0]
    tokens = layer.norm(torch.randn(2, 7, 32, dtype=torch.float64)).detach().requires_grad_()
    mask = torch.arange(7).expand(2, -1) < torch.tensor([[7], [3]]) if masked else None
    hopfield = -0.5 * F.relu(layer.memories(tokens)).square().sum(dim=-1)
    hopfield = hopfield if mask is None else hopfield.masked_fill(~mask, 0.0)
    energy = layer.attention.value(tokens, mask) + hopfield.sum(dim=-1)
    layer.norm = torch.nn.Identity()
    torch.testing.assert_close(layer.energies(tokens, mask).sum(dim=-1), energy)
    (gradient,) = torch.autograd.grad(energy.sum(), tokens)
    direction, _ = layer.attention(tokens, mask)
    direction = direction + F.relu(layer.memories(tokens)) @ layer.memories.weight
    keep = torch.ones(2, 7, 1, dtype=torch.bool) if mask is None else mask.unsqueeze(-1)
    torch.testing.assert_close(direction * keep, -gradient * keep)


def one_step(layer_type: str, **fields):
    """The tokens before and after one iteration of a baseline, and its layer."""
    model = make_model("images", layer_type=layer_type, num_iterations=1, **fields)
    with torch.no_grad():
        before, after = model(**make_inputs("images"), output_hidden_states=True).hidden_states
    return before, after, model.layers[0]


def heads(tensor):
    return tensor.unflatten(-1, (4, 8)).transpose(1, 2)


def softmax_attention(query, key, value):
    weights = (heads(query) @ heads(key).transpose(-1, -2) / 8**0.5).softmax(dim=-1)
    return (weights @ heads(value)).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("layer_type", ["transformer", "shared_qkv_transformer"])
@pytest.mark.parametrize("norm_type", ["layernorm", "rmsnorm"])
def test_transformer_by_hand(layer_type, norm_type):
    x, after, layer = one_step(layer_type, norm_type=norm_type)
    weights = [projection.weight for projection in layer.attention.qkv_projs]
    wq, wk, wv = weights if len(weights) == 3 else weights * 3
    y = layer.attention_norm(x)
    x = x + softmax_attention(y @ wq.T, y @ wk.T, y @ wv.T) @ layer.attention.output_proj.weight.T
    x = x + F.relu(layer.mlp_norm(x) @ layer.up_proj.weight.T) @ layer.down_proj.weight.T
    torch.testing.assert_close(after, x)


@pytest.mark.parametrize("layer_type", ["transformer", "crate"])
def test_the_norm_of_the_sublayers_may_differ_from_the_last(layer_type):
    model = make_model("images", layer_type=layer_type, norm_type="rmsnorm", sublayer_norm_type="layernorm")
    assert isinstance(model.norm, torch.nn.RMSNorm) and isinstance(model.layers[0].attention_norm, torch.nn.LayerNorm)


@pytest.mark.parametrize("layer_type", ["crate", "crate_t"])
def test_crate_by_hand(layer_type):
    x, after, layer = one_step(layer_type)
    u = layer.attention.qkv_projs[0].weight
    z = layer.attention_norm(x) @ u.T
    z = softmax_attention(z, z, z)
    attended = z @ u.T if layer_type == "crate_t" else layer.attention.output_proj(z)
    y, c = layer.coding_norm(x + attended), layer.dictionary.weight
    torch.testing.assert_close(after, F.relu(y + 0.1 * (F.linear(y, c.T) - F.linear(F.linear(y, c), c.T)) - 0.1 * 0.1))


def test_energy_transformer_by_hand():
    x, after, layer = one_step("energy_transformer")
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    g = (layer.norm.weight * (x - mean) / (variance + 1e-5).sqrt() + layer.norm.bias).requires_grad_()
    scores = heads(g @ layer.attention.q_proj.weight.T) @ heads(g @ layer.attention.k_proj.weight.T).transpose(-1, -2)
    energy = -(8**0.5) * torch.logsumexp(scores / 8**0.5, dim=-1).sum()
    energy = energy - 0.5 * F.relu(g @ layer.memories.weight.T).square().sum()
    (gradient,) = torch.autograd.grad(energy, g)
    torch.testing.assert_close(after, x - gradient)
    torch.testing.assert_close(layer.energies(x).sum(), energy)


@pytest.mark.parametrize("layer_type", ["hyperset", "energy_transformer"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_energies_are_in_float32(layer_type, dtype):
    layer = HyperSETModel(make_config(layer_type=layer_type, hidden_size=384, num_attention_heads=6)).layers[0]
    tokens = torch.randn(1, 257, 384)
    expected = layer.energies(tokens)
    with torch.autocast("cpu", dtype=dtype):
        torch.testing.assert_close(layer.energies(tokens), expected)
    energies = layer.to(dtype).energies(tokens.to(dtype))
    assert energies.dtype == torch.float32
    torch.testing.assert_close(energies, expected, rtol=2e-3, atol=0)


@pytest.mark.parametrize(
    ("layer_type", "attn_implementation"),
    [
        (name, implementation)
        for name, layer in LAYERS.items()
        for implementation in layer.attn_implementations(make_config())
    ],
)
def test_all_padding_stays_finite_in_half_precision(layer_type, attn_implementation):
    model = make_model("sequence-classification", layer_type=layer_type, pooling="mean").half()
    model.set_attn_implementation(attn_implementation)
    mask = torch.ones(2, 16)
    mask[0] = 0
    logits = model(**make_inputs("tokens"), attention_mask=mask).logits
    logits.float().sum().backward()
    assert torch.isfinite(logits).all() and all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_registration_does_not_replace_what_is_there():
    with pytest.raises(ValueError, match="already"):

        @register_attention_energy("linear")
        class LinearAttentionEnergy(AttentionEnergy):
            pass

    with pytest.raises(ValueError, match="subclass of UpdateRule"):
        register_update_rule("mine")(AttentionEnergy)
    assert "mine" not in UPDATE_RULES


def test_a_feedforward_energy_and_a_rule_of_ones_own():
    """Registered from outside, they run through the model under their names."""
    try:

        @register_feedforward_energy("test-linear")
        class Linear(FeedforwardEnergy):
            def value(self, projections, mask=None):
                return -(projections if mask is None else projections * mask.unsqueeze(-1)).sum(dim=(1, 2))

            def direction(self, projections):
                return torch.ones_like(projections)

        @register_update_rule("test-sign")
        class Sign(UpdateRule):
            def move(self, direction, state, iteration):
                return direction.sign(), state

        model = make_model("images", feedforward_energy="test-linear", update_rule="test-sign")
        plain = make_model("images", feedforward_energy="test-linear")
        outputs = model(**make_inputs("images"), output_energies=True)
        assert torch.isfinite(outputs.last_hidden_state).all() and len(outputs.energies) == 3
        assert model.config.update_rule == "test-sign" and plain.config.update_rule == "gradient_descent"
    finally:
        FEEDFORWARD_ENERGIES.pop("test-linear", None)
        UPDATE_RULES.pop("test-sign", None)

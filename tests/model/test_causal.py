# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Causal models: text that is read piece by piece with a cache gives what the whole text gives, no token depends on a later one,
and the fast paths of causal attention equal the plain ones.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.cache_utils import DynamicCache, StaticCache
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from modeling_hyperset import (
    HyperSETConfig,
    HyperSETForCausalLM,
    HyperSETForMaskedImageModeling,
    HyperSETForMaskedLM,
    HyperSETModel,
)
from modeling_hyperset.causal_attention_hyperset import CHUNK, causal_linear, causal_softmax
from modeling_hyperset.configuration_hyperset import HAVE_ENERGIES
from modeling_hyperset.layers_hyperset import LAYERS
from modeling_hyperset.order_hyperset import HyperSETRotaryEmbedding, Order
from modeling_hyperset.steps_hyperset import UPDATE_RULES
from support.builders import SMALL, make_config, make_model, wake


ENERGIES = ["causal_softmax", "causal_linear"]
# Every kind of layer and what may differ within one.
KINDS: dict[str, dict] = {
    "causal_softmax": {},
    "causal_softmax-eager": {"attn_implementation": "eager"},
    "causal_linear": {"attention_energy": "causal_linear", "attention_phi": "softplus"},
    **{name: {"layer_type": name} for name in LAYERS if name != "hyperset"},
    "lora": {"lora_rank": 2},
    "pre_norm": {"pre_norm": True},
    "initial": {"step_size_condition": "initial", "step_size_per_layer": True},
    "fixed": {"step_size_type": "fixed", "attention_energy": "causal_linear", "attention_phi": "relu"},
    "yuriiformer-embeddings": {"layer_type": "yuriiformer", "velocity_start": "embeddings"},
    "cem-diagonals": {"layer_type": "cem", "inner_steps": 2, "interaction_diagonal": "full", "preconditioner_rank": 2},
    **{rule: {"update_rule": rule} for rule in UPDATE_RULES if rule != "gradient"},
    "momentum-linear": {"update_rule": "momentum", "attention_energy": "causal_linear"},
}
DIVIDES = {name for name, rule in UPDATE_RULES.items() if rule.divides_by_root}
POSITIONS = ["rotary", "learned", "sinusoidal"]


def has_energies(kind: str) -> bool:
    return KINDS[kind].get("layer_type", "hyperset") in HAVE_ENERGIES


def lm(**fields) -> HyperSETForCausalLM:
    return make_model("causal-lm", **{"max_position_embeddings": 32} | fields)


def padded(lengths: list[int], sides: list[bool], width: int) -> torch.Tensor:
    """A mask with as many ones in each row, at its end or at its start."""
    mask = torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length, is_left in zip(mask, lengths, sides, strict=True):
        row[slice(width - length, None) if is_left else slice(length)] = 1
    return mask


def read_in_pieces(model, ids, mask, pieces, cache=None, **options) -> torch.Tensor:
    """The logits of all tokens, from calls that take some tokens each."""
    cache, end, logits = DynamicCache() if cache is None else cache, 0, []
    for piece in ids.split(pieces, dim=1):
        end += piece.shape[1]
        inputs = {"input_ids": piece, "attention_mask": None if mask is None else mask[:, :end]}
        outputs = model(**inputs, past_key_values=cache, **options)
        assert outputs.past_key_values is cache and cache.get_seq_length() == end
        logits.append(outputs.logits)
    return torch.cat(logits, dim=1)


@st.composite
def texts(draw):
    """Ids, a mask or none, and the sizes of the pieces."""
    batch_size, width = draw(st.integers(1, 3)), draw(st.integers(2, 14))
    ids = torch.randint(0, 20, (batch_size, width), generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    mask = None
    if draw(st.booleans()):
        rows = range(batch_size)
        lengths, sides = [draw(st.integers(1, width)) for _ in rows], [draw(st.booleans()) for _ in rows]
        mask = padded(lengths, sides, width)
    pieces = []
    while sum(pieces) < width:
        pieces.append(draw(st.integers(1, min(4, width - sum(pieces)))))
    return ids, mask, pieces


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=3)
@given(text=texts(), layers=st.integers(1, 3), positions=st.sampled_from(POSITIONS), static=st.booleans())
def test_pieces_give_what_the_whole_text_gives(kind, text, layers, positions, static):
    ids, mask, pieces = text
    model = lm(num_hidden_layers=layers, num_iterations=2, position_embedding_type=positions, **KINDS[kind])
    tolerance = {"rtol": 1e-5, "atol": 1e-5}
    if kind in DIVIDES:  # they turn the rounding of a direction near zero into a move
        model, tolerance = model.double(), {"rtol": 1e-7, "atol": 1e-7}
    cache = StaticCache(model.config, max_cache_len=16) if static else None
    with torch.no_grad():
        whole = model(ids, attention_mask=mask, use_cache=False).logits
        actual = read_in_pieces(model, ids, mask, pieces, cache)
        seen = slice(None) if mask is None else mask.bool()
        torch.testing.assert_close(actual[seen], whole[seen], **tolerance)
        for row in range(len(ids)):  # a padded batch gives what its rows give alone
            tokens = slice(None) if mask is None else mask[row].bool()
            alone = model(ids[row : row + 1, tokens]).logits[0]
            torch.testing.assert_close(whole[row, tokens], alone, **tolerance)


@pytest.mark.parametrize(
    "kind", ["causal_softmax", "causal_linear", "energy_transformer", "momentum", "initial", "cem-diagonals", "nrgpt"]
)
@settings(max_examples=4)
@given(text=texts(), layers=st.integers(1, 2), positions=st.sampled_from(POSITIONS), tolerance=st.floats(0, 0.1))
def test_pieces_give_what_the_whole_text_gives_at_adaptive_depth(kind, text, layers, positions, tolerance):
    ids, mask, pieces = text
    fields = {"num_hidden_layers": layers, "num_iterations": 5, "position_embedding_type": positions}
    model = lm(**fields, **KINDS[kind]).double()  # rounding must not decide when a token stops
    with torch.no_grad():
        whole = model(ids, attention_mask=mask, energy_tolerance=tolerance)
        actual = read_in_pieces(model, ids, mask, pieces, energy_tolerance=tolerance)
        used, seen = whole.num_iterations_used, slice(None) if mask is None else mask.bool()
        assert used.shape == ids.shape and used[seen].min() >= 2 * layers and used.max() <= 5 * layers
        torch.testing.assert_close(actual[seen], whole.logits[seen], rtol=1e-7, atol=1e-7)


def test_a_token_stops_where_its_own_energy_has_stopped_falling():
    """Tokens of one text take different numbers of iterations: those that the energies of the whole depth say."""
    model, ids = lm(num_iterations=8).double(), torch.randint(0, 20, (1, 12))
    with torch.no_grad():
        states = model.hyperset(ids, output_hidden_states=True).hidden_states[1:]
        layer, order = model.hyperset.layers[0], Order(is_causal=True)
        energies = torch.stack([layer.token_energies(state, None, order)[0] for state in states])
        # The first to stop stop at the same energies. (After that the others see stopped tokens.)
        fall = (energies[0] - energies[1]).sum(-1) / energies[0].abs().sum(-1)
        tolerance = fall.sort().values[5:7].mean().item()
        used = model(ids, energy_tolerance=tolerance).num_iterations_used[0]
    assert torch.equal(used == 2, fall <= tolerance) and 0 < (used == 2).sum() < 12


@pytest.mark.parametrize("energy", ENERGIES)
def test_two_hundred_tokens(energy):
    """More than a chunk of the linear energy, in a prefill, in one call after it, and token by token."""
    model = lm(attention_energy=energy, position_embedding_type="rotary", num_iterations=2, attention_phi="relu")
    ids = torch.randint(0, 20, (2, CHUNK + 72))
    mask = padded([CHUNK + 72, CHUNK + 3], [True, True], CHUNK + 72)
    with torch.no_grad():
        whole = model(ids, attention_mask=mask).logits
        for pieces in ([CHUNK + 40, *[1] * 32], [3, CHUNK + 60, 9]):
            actual = read_in_pieces(model, ids, mask, pieces)
            torch.testing.assert_close(actual[mask.bool()], whole[mask.bool()], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "adaptive"),
    [(kind, adaptive) for kind in KINDS for adaptive in (False, True) if not adaptive or has_energies(kind)],
)
def test_no_token_depends_on_a_later_one(kind, adaptive):
    """Bit by bit."""
    model = lm(num_hidden_layers=2, position_embedding_type="rotary", **KINDS[kind])
    ids = torch.randint(0, 19, (2, 11))
    options = {"energy_tolerance": 0.01} if adaptive else {}
    with torch.no_grad():
        before = model(ids, **options).logits
        for position in (0, 4, 10):
            changed = ids.clone()
            changed[:, position] += 1
            after = model(changed, **options).logits
            assert torch.equal(after[:, :position], before[:, :position])
            assert not torch.allclose(after[:, position:], before[:, position:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["causal_softmax", "causal_linear", "transformer", "energy_transformer"])
def test_training_in_half_precision_is_finite(kind, dtype):
    model = lm(position_embedding_type="rotary", **KINDS[kind]).train().to(dtype)
    ids, mask = torch.randint(0, 20, (3, 17)), padded([17, 5, 1], [False, True, True], 17)
    loss = model(ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss
    loss.backward()
    assert loss.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


MASKS = {
    "whole": None,
    "left": padded([17, 4], [True, True], 17),
    "right": padded([17, 4], [False, False], 17),
    "both": padded([9, 4], [False, True], 17),
    "only padding": padded([17, 0], [False, False], 17),
    "holes": torch.tensor([[1, 0, 1] * 5 + [1, 1], [0, 1, 1] * 5 + [0, 0]]),
    "one token": padded([1, 0], [False, False], 1),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("head_dim", [7, 16])
def test_sdpa_is_the_plain_causal_attention(mask, head_dim, dtype):
    """Forward and backward. Rows of padding are dropped later."""
    width = 17 if mask is None else mask.shape[1]
    tokens = [torch.randn(2, 3, width, head_dim).to(dtype) for _ in range(3)]
    seen = torch.ones(2, width, dtype=torch.bool) if mask is None else mask.bool()
    order = Order(is_causal=True, key_mask=None if mask is None else seen)
    results = []
    for implementation in ("eager", "sdpa"):
        leaves = [tensor.clone().requires_grad_() for tensor in tokens]
        output = causal_softmax(*leaves, 0.3, order, implementation)[0].masked_fill(~seen[:, None, :, None], 0)
        results.append([output, *torch.autograd.grad(output.float().square().sum(), leaves)])
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    for plain, fast in zip(*results, strict=True):
        assert fast.isfinite().all()
        torch.testing.assert_close(fast, plain, rtol=tolerance, atol=tolerance)


@settings(max_examples=8)
@given(length=st.sampled_from([1, 2, 17, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5]), has_past=st.booleans())
def test_chunks_are_a_plain_loop(length, has_past):
    """Forward and backward of the linear form: y_i = (S + Σ_{j≤i} v_j k_jᵀ) q_i, and S after the last token."""
    query, key, value = (torch.randn(2, 1, length, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    past = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True) if has_past else None
    state, rows = torch.zeros(2, 1, 3, 3, dtype=torch.float64) if past is None else past, []
    for index in range(length):
        state = state + key[:, :, index, :, None] * value[:, :, index, None, :]
        rows.append((query[:, :, index, None, :] @ state)[..., 0, :])
    expected = [torch.stack(rows, dim=2), state]
    actual = causal_linear(query, key, value, past)
    leaves = [query, key, value] if past is None else [query, key, value, past]
    for got, wanted in zip(actual, expected, strict=True):
        torch.testing.assert_close(got, wanted)
    weights = torch.linspace(-1, 1, length, dtype=torch.float64)[:, None]
    gradients = [
        torch.autograd.grad((out * weights).sum() + last.sin().sum(), leaves) for out, last in (actual, expected)
    ]
    torch.testing.assert_close(*gradients)


ROPES = {
    "default": {},
    "linear": {"factor": 2.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 2.0, "original_max_position_embeddings": 16},
    "longrope": {
        "factor": 2.0,
        "short_factor": [1.0] * 4,
        "long_factor": [2.0] * 4,
        "original_max_position_embeddings": 16,
    },
    "llama3": {
        "factor": 2.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}


@pytest.mark.parametrize("rope_type", [name for name in ROPE_INIT_FUNCTIONS if name != "proportional"] + ["default"])
def test_every_kind_of_rotary_position(rope_type):
    """It runs, also past its length, with a cache, and depends on the order of tokens."""
    fields = {"rope_type": rope_type, "rope_theta": 100.0, **ROPES[rope_type]}
    model = lm(position_embedding_type="rotary", rope_parameters=fields)
    ids = torch.randint(0, 20, (2, 40))
    with torch.no_grad():
        whole = model(ids).logits
        assert whole.isfinite().all()
        if rope_type not in ("dynamic", "longrope"):  # they turn by the longest text that they have seen
            torch.testing.assert_close(read_in_pieces(model, ids, None, [20, 1, 19]), whole, rtol=1e-5, atol=1e-5)
        swapped = ids[:, [1, 0, *range(2, 40)]]
        assert not torch.allclose(model(swapped).logits[:, -1], whole[:, -1], atol=1e-4)


def test_rope_theta_reaches_the_frequencies():
    fields = {"position_embedding_type": "rotary", "vocab_size": 20}
    for config in (make_config(**fields, rope_theta=50.0), make_config(**fields)):
        assert config.rope_parameters["rope_type"] == "default"
        frequencies = HyperSETRotaryEmbedding(config).inv_freq
        theta = config.rope_parameters["rope_theta"]
        torch.testing.assert_close(frequencies, theta ** -(torch.arange(4) / 4))
    assert theta == 10_000.0


@pytest.mark.parametrize("energy", [*ENERGIES, "bi_softmax", "sigmoid", "linear"])
@settings(max_examples=4)
@given(masked=st.booleans(), start=st.integers(0, 1000))
def test_direction_through_the_rotation_is_minus_gradient(energy, masked, start):
    """The energy of R_i z_i, differentiated by z_i: the direction is turned back by R_iᵀ. Norms are left out."""
    config = make_config(vocab_size=20, position_embedding_type="rotary", attention_energy=energy)
    model = wake(HyperSETModel(config)).double().eval()
    attention = model.layers[0].attention
    positions = start + torch.arange(7)[None]
    mask = padded([7, 4], [False, True], 7).bool() if masked else None
    rotary = tuple(part[:, None] for part in model.rotary_emb(torch.zeros(0, dtype=torch.float64), positions))
    order = Order(is_causal=attention.energy.is_causal, rotary=rotary, key_mask=mask)
    tokens = torch.nn.functional.rms_norm(torch.randn(2, 4, 7, 8, dtype=torch.float64), (8,)).requires_grad_()
    turned = order.rotate(tokens)
    fixed = {"context": turned.detach()} if attention.energy.is_causal else {}
    (gradient,) = torch.autograd.grad(attention.energy.value(turned, mask, **fixed).sum(), tokens)
    direction = order.turn_back(attention.energy.direction(turned, turned, turned, mask)[0])
    torch.testing.assert_close(direction, -gradient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("energy", ["causal_softmax", "bi_softmax"])
def test_only_relative_positions_matter(energy):
    """Also with gains other than one. (In the linear energies Φ takes each channel of a turned token: there i and j matter.)"""
    model = wake(HyperSETModel(make_config(vocab_size=20, position_embedding_type="rotary", attention_energy=energy)))
    ids, positions = torch.randint(0, 20, (2, 9)), torch.tensor([[0, 1, 2, 3, 5, 8, 9, 10, 11]])
    with torch.no_grad():
        states = [
            model.eval()(ids, position_ids=positions + shift, use_cache=False if energy != "bi_softmax" else None)
            for shift in (0, 40)
        ]
        elsewhere = model(ids).last_hidden_state
    torch.testing.assert_close(*(state.last_hidden_state for state in states), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(states[0].last_hidden_state, elsewhere, atol=1e-3)


def filled(model, **options):
    return model(torch.randint(0, 20, (2, 6)), use_cache=True, **options).past_key_values


TOO_LONG = torch.zeros(1, 33, dtype=torch.long)
IDS = torch.zeros(2, 3, dtype=torch.long)
BAD_CALLS = {
    "another depth": ({}, lambda model: {"past_key_values": filled(model, num_iterations=2)}, "num_iterations"),
    "no cache": ({}, lambda model: {"past_key_values": [(IDS, IDS)]}, "past_key_values"),
    "energies with a filled cache": (
        {},
        lambda model: {"past_key_values": filled(model), "output_energies": True},
        "output_energies",
    ),
    "adaptive depth with a static cache": (
        {},
        lambda model: {"past_key_values": StaticCache(model.config, 8), "energy_tolerance": 0.1},
        "energy_tolerance",
    ),
    "a static cache that is full": (
        {},
        lambda model: {"past_key_values": filled(model, past_key_values=StaticCache(model.config, 8))},
        "past_key_values",
    ),
    "a mask beyond a static cache": (
        {},
        lambda model: {"past_key_values": StaticCache(model.config, 8), "attention_mask": torch.ones(2, 9)},
        "attention_mask",
    ),
    "a short mask": (
        {},
        lambda model: {"past_key_values": filled(model), "attention_mask": torch.ones(2, 3)},
        "attention_mask",
    ),
    "a long mask": ({}, lambda model: {"attention_mask": torch.ones(2, 4)}, "attention_mask"),
    "positions of another shape": ({}, lambda model: {"position_ids": torch.zeros(2, 4).long()}, "position_ids"),
    "positions that are no integers": ({}, lambda model: {"position_ids": torch.zeros(2, 3)}, "position_ids"),
    "positions beyond the table": ({}, lambda model: {"position_ids": torch.full((2, 3), 32)}, "position_ids"),
    "a text beyond the table": ({}, lambda model: {"input_ids": TOO_LONG}, "max_position_embeddings"),
    "a text beyond sinusoidal positions": (
        {"position_embedding_type": "sinusoidal"},
        lambda model: {"input_ids": TOO_LONG},
        "max_position_embeddings",
    ),
    "a text beyond the table with a cache": (
        {"max_position_embeddings": 8},
        lambda model: {"past_key_values": filled(model)},
        "max_position_embeddings",
    ),
    "labels and few logits": ({}, lambda model: {"labels": IDS, "logits_to_keep": 1}, "logits_to_keep"),
}


@pytest.mark.parametrize(
    ("energy", "case"),
    # States have no length: in a static cache they are those of a dynamic one. Their mask may cover the new tokens alone.
    [("causal_softmax", case) for case in BAD_CALLS]
    + [("causal_linear", case) for case in BAD_CALLS if "static" not in case and "short" not in case],
)
def test_a_bad_call_names_its_argument(case, energy):
    fields, make, name = BAD_CALLS[case]
    model = lm(**{"position_embedding_type": "learned", "attention_energy": energy} | fields)
    with pytest.raises(ValueError, match=f"`?{name}"):
        model(**({"input_ids": IDS} | make(model)))


def test_heads_and_energies_that_do_not_go_together():
    text, images = {"vocab_size": 20}, {}
    for model_class, fields, name in (
        (HyperSETForCausalLM, text | {"attention_energy": "bi_softmax"}, "attention_energy"),
        (HyperSETForMaskedLM, text | {"attention_energy": "causal_softmax"}, "attention_energy"),
        (HyperSETForMaskedImageModeling, images | {"attention_energy": "causal_linear"}, "pooling|attention_energy"),
        (
            HyperSETForMaskedImageModeling,
            images | {"pooling": "mean", "attention_energy": "causal_linear"},
            "attention_energy",
        ),
        (HyperSETModel, images | {"pooling": "cls", "attention_energy": "causal_softmax"}, "pooling"),
        (HyperSETForCausalLM, images | {"pooling": "mean", "attention_energy": "causal_softmax"}, "vocab_size"),
    ):
        with pytest.raises(ValueError, match=f"`({name})`"):
            model_class(HyperSETConfig(**SMALL, **({"image_size": 12, "patch_size": 4} | fields)))


@pytest.mark.parametrize("options", [{"use_cache": True}, {"past_key_values": DynamicCache()}])
def test_a_model_that_is_not_causal_has_no_cache(options):
    with pytest.raises(ValueError, match="`use_cache` and `past_key_values`"):
        make_model("tokens")(IDS, **options)


@pytest.mark.parametrize("energy", ENERGIES)
def test_text_beyond_its_length_with_rotary_positions(energy):
    model = lm(attention_energy=energy, position_embedding_type="rotary", max_position_embeddings=8)
    assert model(TOO_LONG).logits.isfinite().all()


@pytest.mark.parametrize("kind", [kind for kind in ("causal_softmax", *LAYERS) if kind != "hyperset"])
def test_recorded_weights_are_those_that_gradients_flow_through(kind):
    """With padding too: a copy that is masked afterwards would have no gradient."""
    model, mask = lm(**KINDS[kind], attn_implementation="eager"), padded([9, 5], [True, True], 9)
    outputs = model(input_ids=torch.arange(18).view(2, 9), attention_mask=mask, output_attentions=True)
    gradients = torch.autograd.grad(outputs.logits[:, -1].square().sum(), outputs.attentions)
    assert len(gradients) == model.config.num_iterations and all(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("kind", ["causal_softmax", "energy_transformer"])
def test_rows_of_padding_weigh_nothing(kind):
    """As without causality: padding has no energy, so it has no direction either."""
    model, mask = lm(**KINDS[kind], attn_implementation="eager"), padded([9, 5], [True, True], 9)
    ids = torch.arange(18).view(2, 9)
    for weights in model(input_ids=ids, attention_mask=mask, output_attentions=True).attentions:
        assert not weights.transpose(1, 2)[mask == 0].any()
        torch.testing.assert_close(weights.sum(dim=-1).transpose(1, 2)[mask == 1], torch.ones(int(mask.sum()), 4))


@pytest.mark.parametrize("energy", ["causal_softmax", "causal_linear"])
def test_a_cache_of_other_texts_is_refused(energy):
    model = lm(attention_energy=energy)
    cache = model(torch.arange(10).view(2, 5), use_cache=True).past_key_values
    with pytest.raises(ValueError, match="holds 2 texts, and this call has 1"):
        model(torch.tensor([[3]]), past_key_values=cache)


def test_a_draft_records_its_own_iterations():
    """The layers are shared; each has its hooks once."""
    model, ids = lm(num_iterations=4), torch.arange(5)[None]
    draft = model.at_depth(2)
    counts = [len(one(ids, output_hidden_states=True).hidden_states) for one in (model, draft, model)]
    assert counts == [5, 3, 5]


def test_a_mask_of_the_new_tokens_alone_keeps_the_positions():
    model, ids = lm(attention_energy="causal_linear", position_embedding_type="learned"), torch.arange(14).view(2, 7)
    with torch.no_grad():
        whole = model(ids).logits[:, -1:]
        cache = model(ids[:, :6], use_cache=True).past_key_values
        found = model(ids[:, 6:], past_key_values=cache, attention_mask=torch.ones(2, 1)).logits
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)


def test_arguments_that_nothing_would_read():
    model, ids = lm(), torch.arange(5)[None]
    with pytest.raises(TypeError, match="pooled_token_only"):
        model(ids, pooled_token_only=True)
    images = make_model("images")
    with pytest.raises(ValueError, match="`position_ids` must be None for images"):
        images(pixel_values=torch.zeros(1, 3, 12, 12), position_ids=torch.arange(10)[None])

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the models compute: iterations, step sizes, positions, padding, pooling, heads and losses."""

import pytest
import torch
from torch.nn import functional as F

from modeling_hyperset import (
    HyperSETConfig,
    HyperSETForImageClassification,
    HyperSETForSequenceClassification,
    HyperSETForTokenClassification,
    HyperSETModel,
)
from modeling_hyperset.embeddings_hyperset import (
    patchify,
    sinusoidal_positions,
    sinusoidal_positions_2d,
    unpatchify,
)
from support.builders import CASES, HEADS, make_config, make_inputs, make_model, wake


# Every layout of the step-size network in the reference's table.
STEP_SIZE_LAYOUTS = {
    "image": {},
    "basic": {"step_size_sum_norm": True},
    "per-layer": {"step_size_sum_norm": True, "step_size_per_layer": True},
    "sudoku": {
        "step_size_time_network": "mlp",
        "step_size_token_norm": False,
        "step_size_condition": "initial",
    },
    "masked-images": {
        "step_size_time_network": "none",
        "step_size_time_dim": 32,
        "step_size_token_norm": False,
        "step_size_sum_norm": True,
        "step_size_condition": "initial",
    },
}


def train_step(model, inputs, learning_rate=1e-2):
    """One step of SGD; returns the gradients it used."""
    model.train()
    model.zero_grad()
    model(**inputs).loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= learning_rate * parameter.grad
    return gradients


@pytest.mark.parametrize("case", CASES)
def test_shapes(case):
    model, inputs = make_model(case), make_inputs(case)
    with torch.no_grad():
        outputs = model(**inputs, output_hidden_states=True, output_attentions=True, output_energies=True)
    tokens = 16 if "input_ids" in inputs else 10
    assert [tuple(state.shape) for state in outputs.hidden_states] == [(2, tokens, 32)] * 4
    assert [tuple(weights.shape) for weights in outputs.attentions] == [(2, 4, tokens, tokens)] * 3
    assert [tuple(energies.shape) for energies in outputs.energies] == [(2, 2)] * 3
    if case in ("images", "tokens"):
        assert outputs.last_hidden_state.shape == (2, tokens, 32) and outputs.pooler_output.shape == (2, 32)
    elif case == "masked-pixels":
        assert outputs.reconstruction.shape == (2, 3, 12, 12)
    else:
        shapes = {"token-classification": (2, 16, 5), "masked-lm": (2, 16, 20), "masked-codes": (2, 16, 19)}
        shapes["causal-lm"] = shapes["masked-lm"]
        assert outputs.logits.shape == shapes.get(case, (2, 5))


@pytest.mark.parametrize("layout", STEP_SIZE_LAYOUTS)
def test_untrained_model_is_the_identity_and_nothing_stays_stuck(layout):
    """α = γ = 0 at the start; one step moves the step sizes, and in the step after it every gradient flows."""
    config = make_config(num_hidden_layers=2, **STEP_SIZE_LAYOUTS[layout])
    model = HyperSETForImageClassification(config)
    inputs = make_inputs("image-classification", labels=True)
    states = model(**inputs, output_hidden_states=True).hidden_states
    assert len(states) == 7
    for state in states[1:]:
        torch.testing.assert_close(state, states[0], rtol=0, atol=0)

    train_step(model, inputs)
    for step_size in model.hyperset.step_sizes:
        assert step_size.projection.weight.abs().max() > 0 and step_size.projection.bias.abs().max() > 0
    gradients = train_step(model, inputs)
    assert [name for name, gradient in gradients.items() if not gradient.any()] == []


def test_zero_initialised_time_network_stays_stuck():
    """What the docstring of `step_size_time_init` says of the authors' initialisation."""
    model = HyperSETForImageClassification(make_config(step_size_time_init="zeros"))
    inputs = make_inputs("image-classification", labels=True)
    stuck = {f"hyperset.time_embedding.network.{name}" for name in ("0.weight", "0.bias", "4.weight")}
    for _ in range(5):
        gradients = train_step(model, inputs)
    assert stuck <= {name for name, gradient in gradients.items() if not gradient.any()}
    embeddings = model.hyperset.time_embedding(3, torch.device("cpu"), torch.float32)
    assert embeddings.any() and (embeddings == embeddings[0]).all()


def test_bases_are_used_in_both_directions_with_one_weight():
    """A layer by hand, with fixed steps and gains of one: Eqs. 9 and 11."""
    config = make_config(
        hidden_act="relu", step_size_type="fixed", step_size_attention=0.3, step_size_feedforward=0.7, num_iterations=1
    )
    model = HyperSETModel(config).eval()
    with torch.no_grad():
        before, after = model(**make_inputs("images"), output_hidden_states=True).hidden_states
    layer = model.layers[0]
    w = layer.attention.bases.weight.unflatten(0, (4, 8))
    move = torch.zeros_like(before)
    for basis in w:
        z = F.rms_norm(before @ basis.T, (8,))
        scores = z @ z.transpose(1, 2) / 8**0.5
        move += (scores.softmax(-1) + scores.softmax(-2)) @ z @ basis
    expected = before - 0.3 * move
    d = layer.feedforward.directions.weight
    expected = expected + 0.7 * F.relu(F.rms_norm(expected @ d.T, (32,))) @ d
    torch.testing.assert_close(after, expected)


def test_energies_are_those_of_the_hidden_states():
    model = make_model("images", num_hidden_layers=2)
    with torch.no_grad():
        outputs = model(**make_inputs("images"), output_hidden_states=True, output_energies=True)
        layers = [layer for layer in model.layers for _ in range(3)]
        for layer, state, energies in zip(layers, outputs.hidden_states[1:], outputs.energies, strict=True):
            torch.testing.assert_close(layer.energies(state), energies)


@pytest.mark.parametrize("num_iterations", [1, 5, 7])
def test_num_iterations_at_call_time(num_iterations):
    """More or fewer iterations are those of a config that says so, with the same weights."""
    model = make_model("image-classification", num_hidden_layers=2)
    inputs = make_inputs("image-classification")
    other = HyperSETForImageClassification(make_config(num_hidden_layers=2, num_iterations=num_iterations)).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        outputs = model(**inputs, num_iterations=num_iterations, output_hidden_states=True)
        assert len(outputs.hidden_states) == 2 * num_iterations + 1
        torch.testing.assert_close(outputs.logits, other(**inputs).logits)
        # The call leaves nothing behind.
        assert len(model(**inputs, output_hidden_states=True).hidden_states) == 7


@pytest.mark.parametrize("attn_implementation", ["fused", "eager", "sdpa"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("condition", ["current", "initial"])
def test_padded_batch_equals_its_rows_alone(condition, pooling, attn_implementation):
    fields = {"step_size_condition": condition, "pooling": pooling, "num_hidden_layers": 2}
    model = make_model("tokens", **fields)
    model.set_attn_implementation(attn_implementation)
    lengths = [16, 1, 7]
    input_ids = torch.randint(0, 20, (3, 16))
    attention_mask = (torch.arange(16) < torch.tensor(lengths)[:, None]).long()
    with torch.no_grad():
        batch = model(input_ids=input_ids, attention_mask=attention_mask, output_energies=True)
        for row, length in enumerate(lengths):
            alone = model(input_ids=input_ids[row : row + 1, :length], output_energies=True)
            torch.testing.assert_close(
                batch.last_hidden_state[row, :length], alone.last_hidden_state[0], rtol=1e-4, atol=1e-4
            )
            torch.testing.assert_close(batch.pooler_output[row], alone.pooler_output[0], rtol=1e-4, atol=1e-4)
            for together, single in zip(batch.energies, alone.energies, strict=True):
                torch.testing.assert_close(together[row], single[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("position_embedding_type", ["sinusoidal", "learned"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_on_the_left(pooling, position_embedding_type):
    model = make_model("sequence-classification", pooling=pooling, position_embedding_type=position_embedding_type)
    input_ids = torch.randint(0, 20, (1, 9))
    attention_mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 0, 0]])
    padded = model(input_ids=input_ids, attention_mask=attention_mask).logits
    torch.testing.assert_close(padded, model(input_ids=input_ids[:, 3:7]).logits, rtol=1e-4, atol=1e-4)


def test_mask_of_ones_changes_nothing():
    model, inputs = make_model("sequence-classification"), make_inputs("sequence-classification")
    for mask in (torch.ones(2, 16), torch.ones(2, 16, dtype=torch.bool), torch.ones(2, 16, dtype=torch.long)):
        torch.testing.assert_close(model(**inputs, attention_mask=mask).logits, model(**inputs).logits)


def test_inputs_embeds_equal_the_ids_they_stand_for():
    model, inputs = make_model("sequence-classification"), make_inputs("sequence-classification")
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    torch.testing.assert_close(model(inputs_embeds=embeds).logits, model(**inputs).logits)


def test_mean_pooling_has_no_cls_token():
    model = make_model("image-classification", pooling="mean")
    assert model.hyperset.embeddings.cls_token is None
    outputs = model(**make_inputs("image-classification"), output_hidden_states=True)
    assert outputs.hidden_states[0].shape[1] == 9
    pooled = model.hyperset.norm(outputs.hidden_states[-1].mean(dim=1))
    torch.testing.assert_close(outputs.logits, model.classifier(pooled))


def test_patches_in_row_major_order_with_channels_last():
    pixels = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    patches = patchify(pixels, 2)
    assert patches.shape == (2, 6, 12)
    torch.testing.assert_close(patches[1, 4], pixels[1, :, 2:4, 2:4].permute(1, 2, 0).flatten())
    torch.testing.assert_close(unpatchify(patches, 2, 3, 2), pixels)


def test_fixed_positions():
    table = sinusoidal_positions(7, 6)
    assert table[0].tolist() == [0, 1, 0, 1, 0, 1]
    assert table[5, 2].item() == pytest.approx(torch.tensor(5 * 10000 ** (-2 / 6)).sin().item(), rel=1e-5)
    table = sinusoidal_positions_2d(2, 3, 8).view(2, 3, 8)
    torch.testing.assert_close(table[0, 2, :4], table[1, 2, :4])  # the column comes first
    torch.testing.assert_close(table[1, 0, 4:], table[1, 2, 4:])
    expected = [torch.tensor(2.0).sin(), torch.tensor(0.02).sin(), torch.tensor(2.0).cos(), torch.tensor(0.02).cos()]
    torch.testing.assert_close(table[0, 2, :4], torch.stack(expected))


@pytest.mark.parametrize("kind", ["sinusoidal", "sinusoidal_2d", "learned"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_images_of_another_size(kind, pooling):
    model = make_model("image-classification", position_embedding_type=kind, pooling=pooling)
    inputs = make_inputs("image-classification")
    same = model(**inputs, interpolate_pos_encoding=True).logits
    torch.testing.assert_close(same, model(**inputs).logits, rtol=0, atol=0)
    larger = model(torch.randn(2, 3, 16, 24), interpolate_pos_encoding=True, output_hidden_states=True)
    assert larger.logits.shape == (2, 5)
    assert larger.hidden_states[0].shape[1] == 4 * 6 + (pooling == "cls")


def test_interpolated_positions_are_the_bicubic_table():
    model = make_model("images", position_embedding_type="learned")
    embeddings = model.embeddings
    table = embeddings.position_embeddings
    grid = table[:, 1:].view(1, 3, 3, 32).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, size=(5, 2), mode="bicubic").permute(0, 2, 3, 1).reshape(1, 10, 32)
    torch.testing.assert_close(embeddings.interpolate_pos_encoding(20, 8), torch.cat((table[:, :1], expected), dim=1))


def test_rectangular_images():
    model = HyperSETModel(make_config(image_size=[8, 16], position_embedding_type="sinusoidal_2d")).eval()
    assert model(pixel_values=torch.randn(1, 3, 8, 16)).last_hidden_state.shape == (1, 9, 32)


def test_classification_losses():
    inputs = make_inputs("image-classification")
    model = make_model("image-classification")
    logits, labels = model(**inputs).logits, torch.tensor([4, 0])
    torch.testing.assert_close(model(**inputs, labels=labels).loss, F.cross_entropy(logits, labels))
    model = make_model("image-classification", problem_type="multi_label_classification")
    logits, labels = model(**inputs).logits, torch.rand(2, 5)
    torch.testing.assert_close(model(**inputs, labels=labels).loss, F.binary_cross_entropy_with_logits(logits, labels))
    model = make_model("sequence-classification", num_labels=1)
    inputs, labels = make_inputs("sequence-classification"), torch.randn(2)
    torch.testing.assert_close(model(**inputs, labels=labels).loss, F.mse_loss(model(**inputs).logits[:, 0], labels))


@pytest.mark.parametrize("case", ["token-classification", "masked-lm"])
def test_token_losses_ignore_minus_100(case):
    model, inputs = make_model(case), make_inputs(case)
    labels = torch.randint(0, 5, (2, 16))
    labels[:, ::2] = -100
    logits = model(**inputs).logits
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    torch.testing.assert_close(model(**inputs, labels=labels).loss, expected)
    nothing = model(**inputs, labels=torch.full((2, 16), -100))
    assert nothing.loss.item() == 0.0  # and not NaN


def test_masked_pixels():
    model, inputs = make_model("masked-pixels"), make_inputs("masked-pixels", labels=True)
    outputs = model(**inputs)
    mask = (
        inputs["bool_masked_pos"].view(2, 1, 3, 3).repeat_interleave(4, 2).repeat_interleave(4, 3).expand(2, 3, 12, 12)
    )
    expected = (outputs.reconstruction - inputs["pixel_values"]).abs()[mask].mean()
    torch.testing.assert_close(outputs.loss, expected)
    # What lies under the mask is not seen.
    hidden = inputs["pixel_values"].masked_fill(mask, 7.0)
    other = model(pixel_values=hidden, bool_masked_pos=inputs["bool_masked_pos"])
    torch.testing.assert_close(other.reconstruction, outputs.reconstruction)
    assert model(pixel_values=inputs["pixel_values"]).loss is None


def test_masked_codes():
    model, inputs = make_model("masked-codes"), make_inputs("masked-codes")
    codes, masked = inputs["input_ids"], torch.arange(16).expand(2, -1) % 3 == 0
    assert model.mask_token_id == 19
    outputs = model(input_ids=codes, bool_masked_pos=masked)
    torch.testing.assert_close(outputs.loss, F.cross_entropy(outputs.logits[masked], codes[masked]))
    by_hand = model(input_ids=codes.masked_fill(masked, 19), labels=codes.masked_fill(~masked, -100))
    torch.testing.assert_close(by_hand.loss, outputs.loss)
    grid = model(input_ids=codes.view(2, 4, 4), bool_masked_pos=masked.view(2, 4, 4))
    torch.testing.assert_close(grid.loss, outputs.loss)
    torch.testing.assert_close(grid.logits, outputs.logits)


@pytest.mark.parametrize("case", HEADS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("attn_implementation", ["fused", "eager", "sdpa"])
def test_half_precision_trains_without_nan(case, dtype, attn_implementation):
    if case == "causal-lm" and attn_implementation == "fused":
        pytest.skip("its energy has no such implementation")
    model, inputs = make_model(case), make_inputs(case, labels=True)
    model.set_attn_implementation(attn_implementation)
    reference = model(**inputs).loss
    model = model.to(dtype).train()
    inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    loss = model(**inputs).loss
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    torch.testing.assert_close(loss.float(), reference, rtol=0.1, atol=0.1)


def test_autocast():
    model, inputs = make_model("image-classification"), make_inputs("image-classification", labels=True)
    reference = model(**inputs).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**inputs).loss
    loss.backward()
    torch.testing.assert_close(loss.float(), reference, rtol=0.1, atol=0.1)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_all_padding_stays_finite():
    for implementation in ("fused", "eager", "sdpa"):
        model = make_model("sequence-classification", pooling="mean")
        model.set_attn_implementation(implementation)
        mask = torch.ones(2, 16)
        mask[0] = 0
        outputs = model(**make_inputs("sequence-classification"), attention_mask=mask, output_energies=True)
        outputs.logits.sum().backward()
        assert torch.isfinite(outputs.logits).all() and outputs.energies[-1][0].tolist() == [0.0, 0.0]
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_one_token():
    for implementation in ("fused", "eager", "sdpa"):
        model = make_model("sequence-classification")
        model.set_attn_implementation(implementation)
        assert torch.isfinite(model(input_ids=torch.tensor([[3]])).logits).all()


def test_embedding_dropout_only_in_training():
    model = make_model("sequence-classification", embedding_dropout=0.5)
    inputs = make_inputs("sequence-classification")
    torch.testing.assert_close(model(**inputs).logits, model(**inputs).logits, rtol=0, atol=0)
    model.train()
    assert not torch.allclose(model(**inputs).logits, model(**inputs).logits)


def test_one_field_makes_a_text_model():
    config = HyperSETConfig(vocab_size=11, hidden_size=24, num_iterations=2)
    model = wake(HyperSETForSequenceClassification(config)).eval()
    outputs = model(torch.tensor([[1, 2, 3]]), output_hidden_states=True)
    assert outputs.logits.shape == (1, 2) and outputs.hidden_states[0].shape == (1, 3, 24)


def test_layers_share_their_step_sizes_unless_told_otherwise():
    shared = HyperSETModel(make_config(num_hidden_layers=3))
    separate = HyperSETModel(make_config(num_hidden_layers=3, step_size_per_layer=True))
    assert len(shared.step_sizes) == 1 and len(separate.step_sizes) == 3 and len(shared.layers) == 3


def test_sudoku_head_has_no_bias():
    config = make_config(vocab_size=10, classifier_bias=False, norm_type="rmsnorm")
    model = HyperSETForTokenClassification(config)
    assert model.classifier.bias is None and isinstance(model.hyperset.norm, torch.nn.RMSNorm)


def test_a_projection_that_would_change_one_direction_is_refused():
    model = make_model("images")
    model.layers[0].feedforward.directions = torch.nn.Sequential(model.layers[0].feedforward.directions)
    with pytest.raises(TypeError, match="both directions"):
        model(**make_inputs("images"))


def test_masked_pixels_in_half_precision_do_not_overflow():
    model = make_model("masked-pixels", image_size=64).half()
    masked = torch.ones(300, 256, dtype=torch.bool)
    assert torch.isfinite(model(torch.randn(300, 3, 64, 64).half(), bool_masked_pos=masked, num_iterations=1).loss)


def test_empty_batch():
    assert make_model("image-classification")(torch.zeros(0, 3, 12, 12)).logits.shape == (0, 5)

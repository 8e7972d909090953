# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Inputs at the ends of what there is: finite outputs and gradients, or an error that names the argument."""

import pytest
import torch

from support.builders import CASES, HEADS, make_inputs, make_model


def run(model, inputs, **options):
    """Outputs, after a backward pass through whatever is finite of them; outputs and gradients must be."""
    outputs = model(**inputs, **options)
    tensors = [value for value in outputs.values() if torch.is_tensor(value)]
    assert all(torch.isfinite(tensor).all() for tensor in tensors)
    sum(tensor.float().square().mean() for tensor in tensors if tensor.numel()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
    model.zero_grad()
    return outputs


def images(fill: float, batch_size: int = 2) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.full((batch_size, 3, 12, 12), fill)}


LAYERS = [{}, {"attn_implementation": "eager"}, {"attn_implementation": "sdpa"}, {"layer_type": "transformer"}]
LAYERS += [{"layer_type": "crate"}, {"layer_type": "energy_transformer"}]
LAYERS += [{"attention_energy": "sigmoid"}, {"attention_energy": "linear", "attention_phi": "relu"}]
LAYERS += [{"update_rule": "adam"}, {"update_rule": "rmsprop"}]


@pytest.mark.parametrize("fields", LAYERS, ids=str)
@pytest.mark.parametrize("fill", [0.0, 1.0, 1e4, -1e4])
def test_constant_images(fields, fill):
    run(make_model("image-classification", **fields), images(fill))


@pytest.mark.parametrize("fields", LAYERS, ids=str)
def test_large_values(fields):
    run(make_model("image-classification", **fields), {"pixel_values": 1e4 * torch.randn(2, 3, 12, 12).sign()})
    run(make_model("tokens", **fields), {"inputs_embeds": 1e4 * torch.randn(2, 16, 32)})


@pytest.mark.parametrize("fields", LAYERS, ids=str)
def test_padding_alone_and_one_token(fields):
    model = make_model("sequence-classification", **fields)
    ids = torch.randint(0, 20, (3, 16))
    mask = torch.ones(3, 16, dtype=torch.long)
    mask[0], mask[1, 1:] = 0, 0
    outputs = run(model, {"input_ids": ids, "attention_mask": mask})
    alone = model(input_ids=ids[1:2, :1])
    torch.testing.assert_close(outputs.logits[1:2], alone.logits)
    run(model, {"input_ids": ids, "attention_mask": torch.zeros(3, 16, dtype=torch.long)})
    run(model, {"input_ids": ids[:1, :1]})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fields", LAYERS, ids=str)
def test_half_precision(fields, dtype):
    """Random, constant and large images; 10,000 is what float16 holds with room for a patch of them."""
    model = make_model("image-classification", **fields).to(dtype)
    for pixels in (torch.randn(2, 3, 12, 12), torch.zeros(2, 3, 12, 12), 100 * torch.randn(2, 3, 12, 12).sign()):
        run(model, {"pixel_values": pixels.to(dtype)})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fields", [*LAYERS, {"update_rule": "rmsprop_momentum"}], ids=str)
def test_half_precision_of_padding(fields, dtype):
    """Also where padding is read out, as the tokens of a head that has no labels to leave it out."""
    ids, mask = torch.randint(0, 20, (3, 16)), torch.zeros(3, 16, dtype=torch.long)
    mask[1, 5::4], mask[2] = 1, 1
    for case in ("tokens", "sequence-classification", "masked-lm"):
        model = make_model(case, **fields).to(dtype)
        for attention_mask in (mask, torch.zeros_like(mask)):
            run(model, {"input_ids": ids, "attention_mask": attention_mask})


@pytest.mark.parametrize("case", HEADS)
def test_half_precision_of_every_head(case):
    for dtype in (torch.bfloat16, torch.float16):
        model, inputs = make_model(case).to(dtype), make_inputs(case, labels=True)
        run(model, {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()})


@pytest.mark.parametrize("case", CASES)
def test_no_samples(case):
    """A batch of none has outputs of none, as everywhere in torch."""
    model = make_model(case)
    inputs = {name: value[:0] for name, value in make_inputs(case).items()}
    for options in ({}, {"output_energies": True, "output_hidden_states": True}):
        outputs = model(**inputs, **options)
        assert all(len(value) == 0 for value in outputs.values() if torch.is_tensor(value))
        next(value for value in outputs.values() if torch.is_tensor(value)).sum().backward()


def test_sequences_beyond_the_positions():
    model = make_model("sequence-classification")
    with pytest.raises(ValueError, match=r"input_ids.*max_position_embeddings=16 tokens, got 100000"):
        model(input_ids=torch.zeros(1, 100_000, dtype=torch.long))
    with pytest.raises(ValueError, match=r"inputs_embeds.*max_position_embeddings=16"):
        model(inputs_embeds=torch.zeros(1, 17, 32))


def test_a_thousand_iterations():
    """As deep as a test-time loop may go: the tokens are normalised in every iteration, and stay finite."""
    outputs = make_model("image-classification")(**make_inputs("image-classification"), num_iterations=1000)
    assert torch.isfinite(outputs.logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("fields", LAYERS, ids=str)
def test_a_thousand_iterations_and_back(fields):
    model = make_model("image-classification", **fields)
    has_energies = model.config.has_energies
    outputs = model(**make_inputs("image-classification"), num_iterations=1000, output_energies=has_energies)
    assert outputs.energies is None or torch.isfinite(torch.stack(outputs.energies)).all()
    run(model, make_inputs("image-classification"), num_iterations=1000)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_reported(bad):
    pixels = torch.randn(3, 3, 12, 12)
    pixels[1, 2, 3, 4] = bad
    for case in ("images", "image-classification", "masked-pixels"):
        with pytest.raises(ValueError, match=r"`pixel_values` must be finite.*samples \[1\] of 3"):
            make_model(case)(pixel_values=pixels)
    embeds = torch.randn(3, 5, 32)
    embeds[2, 4, 31] = bad
    for case in ("tokens", "token-classification"):
        with pytest.raises(ValueError, match=r"`inputs_embeds` must be finite.*samples \[2\] of 3"):
            make_model(case)(inputs_embeds=embeds)


def test_values_are_not_read_while_tracing():
    """The check waits for values, which a graph does not have: it is left out there, as the checks of ids are."""
    model = make_model("image-classification").eval()
    pixels = torch.randn(2, 3, 12, 12)
    exported = torch.export.export(model, (), {"pixel_values": pixels}).module()
    torch.testing.assert_close(exported(pixel_values=pixels).logits, model(pixels).logits)
    with torch.device("meta"):
        meta = make_model("images").to("meta")
        assert meta(pixel_values=torch.empty(2, 3, 12, 12)).pooler_output.is_meta

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The authors' checkpoints, converted, compute what the authors' program computes (see fixtures/README.md)."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from modeling_hyperset.analysis import analyze
from modeling_hyperset.conversion import convert_original_checkpoint, load_original_state_dict
from modeling_hyperset.layers_hyperset import LAYERS
from modeling_hyperset.steps_hyperset import UPDATE_RULES


FIXTURES = Path(__file__).parents[1] / "fixtures" / "golden"
MORE = Path(os.environ.get("HYPERSET_GOLDEN", Path(__file__).parents[3] / "shared" / "golden"))


CASES = {path.parent.name: path.parent for folder in (MORE, FIXTURES) for path in sorted(folder.glob("*/knobs.json"))}


@pytest.fixture(params=CASES)
def case(request):
    """A converted model, its inputs, what is expected of it, and the authors' options."""
    folder = CASES[request.param]
    options = json.loads((folder / "knobs.json").read_text())
    model = convert_original_checkpoint(load_original_state_dict(folder / options["file"]), options)
    recorded = load_file(folder / "expected.safetensors")
    inputs = {name.removeprefix("input."): value for name, value in recorded.items() if name.startswith("input.")}
    if "codes" in inputs:
        inputs["input_ids"] = inputs.pop("codes")
    expected = {name.removeprefix("output."): value for name, value in recorded.items() if name.startswith("output.")}
    return model, inputs, expected, options


def test_number_of_parameters(case):
    model, _, _, options = case
    config, unused = model.config, 0
    if options["task"] == "masked-image-modeling" and config.step_size_type == "fixed":
        d = config.hidden_size
        unused = (
            d + 2 * d * d + 2 * d
        )  # the step-size network, which the authors' program then holds and never applies
    assert model.num_parameters() + unused == options["parameters"]


@pytest.mark.parametrize("attn_implementation", ["default", "fused", "eager", "sdpa"])
def test_outputs(case, attn_implementation):
    model, inputs, expected, options = case
    known = LAYERS[model.config.layer_type].attn_implementations(model.config)
    if attn_implementation not in ("default", *known):
        pytest.skip("a baseline has no such implementation")
    if attn_implementation != "default":
        model.set_attn_implementation(attn_implementation)
        if options["task"] == "masked-image-modeling" and UPDATE_RULES[model.config.update_rule].divides_by_root:
            if attn_implementation != "eager":
                pytest.skip("with steps as long as these, this rule shows how an implementation rounds")
    with torch.no_grad():
        has_energies = any(name.startswith("energ") for name in expected)
        outputs = model(**inputs, output_hidden_states=True, output_energies=has_energies)
    torch.testing.assert_close(outputs.logits, expected["logits"], rtol=0, atol=1e-4)
    if "hidden_states" in expected:
        hidden_states = torch.stack(outputs.hidden_states[1:])
        torch.testing.assert_close(hidden_states, expected["hidden_states"], rtol=0, atol=1e-4)
    if not has_energies:
        return
    energies = torch.stack(outputs.energies)
    if "energies" in expected:
        torch.testing.assert_close(energies, expected["energies"], rtol=1e-4, atol=0)
    for index, name in enumerate(("energy_attention", "energy_feedforward")):
        if name in expected:
            torch.testing.assert_close(energies[..., index].T, expected[name], rtol=1e-4, atol=0)
    if "energy_total" in expected:
        torch.testing.assert_close(energies.sum(dim=-1).T, expected["energy_total"], rtol=1e-4, atol=0)


def test_analysis(case):
    """Energies, ranks and angles of `analyze` are the recorded ones, of each sample by itself and of all on average."""
    model, inputs, expected, _ = case
    recorded = {}
    if "energies" in expected:
        recorded["attention_energy"], recorded["feedforward_energy"] = expected["energies"].unbind(dim=-1)
    for name in ("attention", "feedforward", "total"):
        if f"energy_{name}" in expected:
            recorded[f"{name}_energy"] = expected[f"energy_{name}"].T
    for name, ours in (("effective_rank", "effective_rank"), ("average_angle_degrees", "mean_angle")):
        if name in expected:
            recorded[ours] = expected[name].permute(2, 0, 1)
    if not recorded:
        pytest.skip("nothing to analyse was recorded for this case")
    (batch,) = inputs.values()
    name = next(iter(set(inputs) & {"pixel_values", "input_ids"}))
    for rows in [batch, *batch.split(1)]:
        analysis = analyze(model, {name: rows})
        start = 0 if len(rows) > 1 else next(i for i, row in enumerate(batch) if torch.equal(row, rows[0]))
        for ours, values in recorded.items():
            values = values[:, start : start + len(rows)].double()
            torch.testing.assert_close(analysis.mean(ours), values.mean(dim=1), rtol=1e-3, atol=0)


def test_pixel_gradients(case):
    model, inputs, expected, _ = case
    if "pixel_grad" not in expected:
        pytest.skip("recorded for image models only")
    pixel_values = inputs["pixel_values"].requires_grad_()
    logits = model(pixel_values=pixel_values).logits
    weights = torch.linspace(-1, 1, logits.numel()).view_as(logits)
    (gradient,) = torch.autograd.grad((logits * weights).sum(), pixel_values)
    scale = expected["pixel_grad"].abs().max().item()
    torch.testing.assert_close(gradient, expected["pixel_grad"], rtol=0, atol=1e-3 * scale)


def test_twice_the_iterations(case):
    model, inputs, expected, _ = case
    if "logits_twice_the_iterations" not in expected:
        pytest.skip("not recorded for this case")
    with torch.no_grad():
        logits = model(**inputs, num_iterations=2 * model.config.num_iterations).logits
    torch.testing.assert_close(logits, expected["logits_twice_the_iterations"], rtol=0, atol=1e-4)


def test_save_and_load_after_conversion(case, tmp_path):
    model, inputs, expected, _ = case
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        logits = type(model).from_pretrained(tmp_path)(**inputs).logits
    torch.testing.assert_close(logits, expected["logits"], rtol=0, atol=1e-4)

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Adaptive depth: who stops when, that a batch is its rows, and that nothing changes where it is off."""

import functools
import importlib
import itertools

import numpy as np
import pytest
import torch
from datasets import Dataset
from huggingface_hub.errors import StrictDataclassError
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from modeling_hyperset import HyperSETForImageClassification, HyperSETModel
from modeling_hyperset.layers_hyperset import IteratedLayer
from support.builders import CASES, make_config, make_inputs, make_model
from transformers import AutoConfig, Trainer, TrainingArguments, ViTImageProcessorPil


# What makes the energy of a model of random weights fall slowly, for more or fewer iterations with every sample.
SLOW = {"step_size_type": "fixed", "hidden_act": "relu", "num_iterations": 8}
SLOW |= {"step_size_attention": 0.03, "step_size_feedforward": 0.03}
VARIANTS = {
    "default": {"num_iterations": 6},
    "fixed": SLOW,
    "layers": SLOW | {"num_hidden_layers": 2, "num_iterations": 5},
    "one-step-size-per-layer": {"num_hidden_layers": 2, "step_size_per_layer": True, "num_iterations": 6},
    "initial": {"step_size_condition": "initial", "num_iterations": 5},
    "momentum": SLOW | {"update_rule": "momentum"},
    "adam": SLOW | {"update_rule": "adam"},
    "lora": SLOW | {"lora_rank": 2},
    "linear": SLOW | {"attention_energy": "linear"},
    "energy-transformer": {"layer_type": "energy_transformer", "num_iterations": 6},
}


def padded_inputs(lengths=(16, 5, 11, 2), left: int = 1) -> dict[str, torch.Tensor]:
    """Token ids of samples of different lengths, one of them padded on the left."""
    mask = torch.zeros(len(lengths), 16, dtype=torch.long)
    for index, length in enumerate(lengths):
        mask[index, slice(16 - length, 16) if index == left else slice(length)] = 1
    return {"input_ids": torch.randint(0, 19, (len(lengths), 16)), "attention_mask": mask}


def row(inputs: dict[str, torch.Tensor], index: int) -> dict[str, torch.Tensor]:
    """One sample of a batch, without its padding."""
    inputs = {name: tensor[index : index + 1] for name, tensor in inputs.items()}
    if "attention_mask" in inputs:
        tokens = inputs.pop("attention_mask")[0].bool()
        inputs = {name: tensor[:, tokens] for name, tensor in inputs.items()}
    return inputs


def falls(model, inputs: dict[str, torch.Tensor], **options) -> torch.Tensor:
    """By how much the energy falls from the iteration before, over |E_ATTN| + |E_FF| there: `(iterations - 1, batch_size)`."""
    attention, feedforward = torch.stack(model(**inputs, output_energies=True, **options).energies).unbind(-1)
    total = attention + feedforward
    return (total[:-1] - total[1:]) / (attention.abs() + feedforward.abs())[:-1]


def wanted_iterations(falls_of_sample: list[float], tolerance: float) -> int:
    """The definition, read off the energies of a forward pass at full depth."""
    for iteration, fall in enumerate(falls_of_sample, start=2):
        if fall <= tolerance:
            return iteration
    return len(falls_of_sample) + 1


def telling_tolerance(model, inputs: dict[str, torch.Tensor], **options) -> float:
    """
    The tolerance at which the samples take the most different numbers of iterations of the first layer, well between the falls
    that it decides on.
    """
    depth = options.get("num_iterations", model.config.num_iterations)
    table = falls(model, inputs, **options)[: depth - 1].T
    edges = [0.0, *table[table > 0].sort().values.tolist()]
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges) if high - low > 1e-5]
    return max(middles, key=lambda tolerance: len({wanted_iterations(sample, tolerance) for sample in table.tolist()}))


def read(outputs) -> torch.Tensor:
    """What a model is for."""
    return next(outputs[name] for name in ("logits", "reconstruction", "last_hidden_state") if name in outputs)


def assert_rows_alone(model, inputs: dict[str, torch.Tensor], tolerance: float) -> torch.Tensor:
    """Each sample takes the iterations and gives the outputs that it takes and gives alone. Returns its iterations."""
    outputs = model(**inputs, energy_tolerance=tolerance)
    for index in range(len(outputs.num_iterations_used)):
        alone = model(**row(inputs, index), energy_tolerance=tolerance)
        assert alone.num_iterations_used.tolist() == [outputs.num_iterations_used[index].item()]
        actual = read(outputs)[index]
        if len(actual) == 16 and "attention_mask" in inputs:
            actual = actual[inputs["attention_mask"][index].bool()]
        torch.testing.assert_close(actual, read(alone)[0], rtol=1e-4, atol=1e-5)
    return outputs.num_iterations_used


@pytest.mark.parametrize(
    "case", [case for case in CASES if case != "causal-lm"]
)  # there each token stops: test_causal.py
def test_a_sample_stops_where_its_energy_has_stopped_falling(case):
    """As many iterations as the energies say, and the outputs of just so many."""
    model, inputs = make_model(case, **SLOW), make_inputs(case, batch_size=5)
    with torch.no_grad():
        tolerance = telling_tolerance(model, inputs)
        outputs = model(**inputs, energy_tolerance=tolerance)
        iterations = outputs.num_iterations_used
        assert iterations.shape == (5,) and iterations.dtype == torch.long
        wanted = [wanted_iterations(sample, tolerance) for sample in falls(model, inputs).T.tolist()]
        assert iterations.tolist() == wanted
        assert len(set(iterations.tolist())) > 1
        for index, depth in enumerate(iterations.tolist()):
            plain = model(**row(inputs, index), num_iterations=depth)
            torch.testing.assert_close(read(outputs)[index], read(plain)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ["tokens", "sequence-classification", "token-classification"])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_padded_batch_is_its_rows(name, case):
    model, inputs = make_model(case, **VARIANTS[name]), padded_inputs()
    with torch.no_grad():
        iterations = assert_rows_alone(model, inputs, telling_tolerance(model, inputs))
    assert iterations.min() < model.config.num_iterations * model.config.num_hidden_layers
    assert len(set(iterations.tolist())) > 1 or model.config.num_hidden_layers > 1  # whose sums may agree


@functools.cache
def slow_model(case: str):
    return make_model(case, **SLOW)


@settings(max_examples=25)
@given(
    tolerance=st.floats(0, 0.05),
    lengths=st.lists(st.integers(1, 16), min_size=1, max_size=5),
    num_iterations=st.integers(1, 12),
    case=st.sampled_from(["sequence-classification", "token-classification"]),
    seed=st.integers(0, 99),
)
def test_any_batch_is_its_rows(tolerance, lengths, num_iterations, case, seed):
    torch.manual_seed(seed)
    model, inputs = slow_model(case), padded_inputs(lengths)
    options = {"num_iterations": num_iterations, "energy_tolerance": tolerance}
    with torch.no_grad():
        table = falls(model, inputs, num_iterations=num_iterations)
        assume(not bool(((table - tolerance).abs() < 1e-5).any()))  # rounding alone would decide
        outputs = model(**inputs, **options)
        wanted = [wanted_iterations(sample, tolerance) for sample in table.T.tolist()]
        assert outputs.num_iterations_used.tolist() == wanted
        for index, depth in enumerate(wanted):
            plain = read(model(**row(inputs, index), num_iterations=depth))[0]
            actual = read(outputs)[index]
            if case == "token-classification":
                actual = actual[inputs["attention_mask"][index].bool()]
            torch.testing.assert_close(actual, plain, rtol=1e-4, atol=1e-5)


def seen_by(modules, model, **inputs) -> list[tuple[int, int]]:
    """Samples and tokens in each call of the modules."""
    seen = []
    hooks = [
        module.register_forward_pre_hook(lambda _, arguments: seen.append(tuple(arguments[0].shape[:2])))
        for module in modules
    ]
    outputs = model(**inputs)
    for hook in hooks:
        hook.remove()
    return seen, outputs


@pytest.mark.parametrize("name", ["fixed", "layers"])
def test_samples_that_have_stopped_are_not_computed(name):
    model, inputs = make_model("token-classification", **VARIANTS[name]), padded_inputs()
    tolerance = telling_tolerance(model, inputs)
    seen, outputs = seen_by(model.hyperset.layers, model, **inputs, energy_tolerance=tolerance)
    assert sum(samples for samples, _ in seen) == outputs.num_iterations_used.sum()
    assert len({samples for samples, _ in seen}) > 1


@pytest.mark.parametrize("case", ["image-classification", "sequence-classification"])
def test_the_last_iteration_is_pruned_where_it_is_the_last_for_all(case):
    """Only an iteration that no energy is asked of computes the token that is read alone."""
    model = make_model(case, **SLOW)
    inputs = make_inputs(case, batch_size=4) if case == "image-classification" else padded_inputs()
    tokens = 10 if case == "image-classification" else 16
    feedforward = [model.hyperset.layers[0].feedforward]
    with torch.no_grad():
        tolerance = float(falls(model, inputs).amin(dim=0).sort().values[1:3].mean())  # some fall by more, some do not
        seen, outputs = seen_by(feedforward, model, **inputs, energy_tolerance=tolerance)
        assert outputs.num_iterations_used.max() == 8 > outputs.num_iterations_used.min()
        assert [width for _, width in seen] == [tokens] * 7 + [1]
        model.config.prune_last_iteration = False
        seen, whole = seen_by(feedforward, model, **inputs, energy_tolerance=tolerance)
    assert [width for _, width in seen] == [tokens] * 8
    assert torch.equal(whole.num_iterations_used, outputs.num_iterations_used)
    torch.testing.assert_close(outputs.logits, whole.logits, rtol=1e-4, atol=1e-5)


def test_depths():
    """`num_iterations` is the most, also beyond the trained depth; one or two iterations leave nothing to decide."""
    model, inputs = make_model("token-classification", **SLOW), padded_inputs()
    for num_iterations in (1, 2):
        outputs = model(**inputs, num_iterations=num_iterations, energy_tolerance=0.5)
        assert outputs.num_iterations_used.tolist() == [num_iterations] * 4
        torch.testing.assert_close(outputs.logits, model(**inputs, num_iterations=num_iterations).logits)
    assert model(**inputs, energy_tolerance=1e-4).num_iterations_used.max() == 8
    deep = model(**inputs, num_iterations=40, energy_tolerance=1e-4).num_iterations_used
    assert 8 < deep.max() <= 40
    tighter = [model(**inputs, energy_tolerance=tolerance).num_iterations_used for tolerance in (0.1, 0.01, 0.001)]
    assert bool((tighter[0] <= tighter[1]).all()) and bool((tighter[1] <= tighter[2]).all())


def test_a_sample_of_padding_alone_stops_and_stays_finite():
    model, inputs = make_model("token-classification", **SLOW), padded_inputs()
    inputs["attention_mask"][2] = 0
    outputs = model(**inputs, energy_tolerance=0.0)
    assert outputs.num_iterations_used[2] == 2 and bool(outputs.logits.isfinite().all())


def test_half_precision():
    model, inputs = make_model("sequence-classification", **SLOW).bfloat16(), padded_inputs()
    outputs = model(**inputs, energy_tolerance=telling_tolerance(model, inputs))
    assert outputs.logits.dtype == torch.bfloat16 and len(set(outputs.num_iterations_used.tolist())) > 1


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize("name", ["fixed", "initial", "momentum"])
def test_gradients_are_those_of_the_iterations_made(name, checkpointing):
    model, inputs = make_model("sequence-classification", **VARIANTS[name]).train(), padded_inputs()
    tolerance, labels = telling_tolerance(model, inputs), torch.arange(4) % 5
    if checkpointing:
        model.gradient_checkpointing_enable()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    outputs = model(**inputs, labels=labels, energy_tolerance=tolerance)
    actual = torch.autograd.grad(outputs.loss, parameters, allow_unused=True)
    loss = sum(
        model(**row(inputs, index), labels=labels[index : index + 1], num_iterations=depth).loss / 4
        for index, depth in enumerate(outputs.num_iterations_used.tolist())
    )
    wanted = torch.autograd.grad(loss, parameters, allow_unused=True)
    torch.testing.assert_close(outputs.loss, loss)
    assert [gradient is None for gradient in actual] == [gradient is None for gradient in wanted]
    for gradient, expected in zip(actual, wanted, strict=True):
        if expected is not None:
            torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_off_is_as_if_it_did_not_exist(case, monkeypatch):
    """No energy is computed, nothing is reported, and no bit differs, whether the config or the call says so."""
    model, inputs = make_model(case), make_inputs(case)
    monkeypatch.setattr(IteratedLayer, "energies", lambda *_: pytest.fail("an energy was computed"))
    expected = model(**inputs)
    assert model.config.energy_tolerance is None and expected.num_iterations_used is None
    assert "num_iterations_used" not in expected
    model.config.energy_tolerance = 0.01
    off = model(**inputs, energy_tolerance=False)
    assert off.keys() == expected.keys() and torch.equal(read(off), read(expected))


def test_the_config_says_it_too(tmp_path):
    model, inputs = make_model("image-classification", **SLOW), make_inputs("image-classification")
    expected = model(**inputs, energy_tolerance=0.01)
    model.config.energy_tolerance = 0.01
    model.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).energy_tolerance == 0.01
    loaded = HyperSETForImageClassification.from_pretrained(tmp_path)
    assert torch.equal(loaded(**inputs).logits, expected.logits)
    assert torch.equal(loaded(**inputs).num_iterations_used, expected.num_iterations_used)
    assert torch.equal(loaded(**inputs, return_dict=False)[-1], expected.num_iterations_used)
    assert (
        HyperSETForImageClassification.from_pretrained(tmp_path, energy_tolerance=None).config.energy_tolerance is None
    )
    assert torch.equal(loaded(**inputs, energy_tolerance=0).logits, model(**inputs, energy_tolerance=0).logits)


def test_reports_of_every_iteration_leave_it_aside(tmp_path, monkeypatch):
    """What the training scripts write at the end, where the recipe sets a tolerance."""
    model = make_model("image-classification", energy_tolerance=0.9)
    model.save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 12, "width": 12}).save_pretrained(tmp_path)
    data = Dataset.from_dict({"image": [Image.new("RGB", (12, 12))] * 3, "label": [0, 1, 2]})
    report = importlib.import_module("hyperset_lab.images.report").measure(
        tmp_path, data, batch_size=2, device=torch.device("cpu")
    )
    assert len(report.statistics["total_energy"]["mean"]) == 3

    model = make_model("token-classification", vocab_size=10, max_position_embeddings=81, num_labels=9)
    puzzle = np.arange(81, dtype=np.uint8) % 10
    trace = functools.partial(importlib.import_module("hyperset_lab.sudoku.report").trace, model, puzzle, puzzle, 4)
    expected = trace()
    model.config.energy_tolerance = 0.9
    assert trace() == expected and len(expected["total"]) == 4


def test_trainer_sees_the_logits_alone(tmp_path):
    model = make_model("image-classification", energy_tolerance=0.01)
    images = [{"pixel_values": torch.randn(3, 12, 12), "labels": index % 5} for index in range(6)]
    arguments = TrainingArguments(str(tmp_path), per_device_eval_batch_size=4, report_to="none", use_cpu=True)
    assert Trainer(model, arguments).predict(images).predictions.shape == (6, 5)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), True, "0.1", [0.1]], ids=str)
def test_bad_tolerances(value):
    model, inputs = make_model("images"), make_inputs("images")
    with pytest.raises(ValueError, match="energy_tolerance"):
        model(**inputs, energy_tolerance=value)
    with pytest.raises((ValueError, StrictDataclassError), match="energy_tolerance"):
        make_config(energy_tolerance=value)


def test_a_layer_without_energy_is_refused():
    with pytest.raises(ValueError, match=r"energy_tolerance.*crate"):
        make_config(layer_type="crate", energy_tolerance=0.1)
    model, inputs = make_model("images", layer_type="transformer"), make_inputs("images")
    with pytest.raises(ValueError, match=r"energy_tolerance.*transformer"):
        model(**inputs, energy_tolerance=0.1)


@pytest.mark.parametrize("name", ["output_hidden_states", "output_attentions", "output_energies"])
def test_outputs_of_every_iteration_are_refused(name):
    model, inputs = make_model("image-classification", energy_tolerance=0.1), make_inputs("image-classification")
    with pytest.raises(ValueError, match=rf"`energy_tolerance`.*`{name}`"):
        model(**inputs, **{name: True})
    assert len(model(**inputs, **{name: True}, energy_tolerance=False)[name.removeprefix("output_")]) in (3, 4)
    if name != "output_attentions":
        setattr(model.config, name, True)
        with pytest.raises(ValueError, match=rf"`energy_tolerance`.*`{name}`"):
            model(**inputs)


def test_what_cannot_read_values_is_refused():
    model, inputs = make_model("images", energy_tolerance=0.1), make_inputs("images")
    with pytest.raises(ValueError, match="energy_tolerance"):
        torch.export.export(model, (), inputs, strict=False)
    with pytest.raises(ValueError, match="energy_tolerance"):
        torch.jit.trace(model, example_kwarg_inputs=inputs, strict=False)
    with torch.device("meta"):
        model = HyperSETModel(make_config(energy_tolerance=0.1))
    with pytest.raises(ValueError, match="energy_tolerance"):
        model(pixel_values=torch.zeros(2, 3, 12, 12, device="meta"))


def test_compile_breaks_the_graph_and_gives_the_same():
    torch.compiler.reset()
    model, inputs = make_model("sequence-classification", **SLOW), padded_inputs()
    tolerance = telling_tolerance(model, inputs)
    expected = model(**inputs, energy_tolerance=tolerance)
    compiled = torch.compile(model, backend="aot_eager")
    outputs = compiled(**inputs, energy_tolerance=tolerance)
    assert torch.equal(outputs.num_iterations_used, expected.num_iterations_used)
    torch.testing.assert_close(outputs.logits, expected.logits)
    torch.compiler.reset()
    with pytest.raises(torch._dynamo.exc.TorchDynamoException):
        torch.compile(model, backend="aot_eager", fullgraph=True)(**inputs, energy_tolerance=tolerance)
    torch.compiler.reset()

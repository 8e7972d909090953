# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Quantised weights serve both directions of W and D alike, or are refused; and what is left of a trained model."""

import copy
import importlib

import peft
import pytest
import torch
from torch.ao.quantization import quantize_dynamic
from torchao.quantization import (
    Float8WeightOnlyConfig,
    Int8DynamicActivationInt8WeightConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    quantize_,
)
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from modeling_hyperset import HyperSETForImageClassification
from modeling_hyperset.projection_hyperset import HyperSETProjection
from support.builders import HEADS, make_inputs, make_model
from transformers import AutoModelForImageClassification, TorchAoConfig


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")

WEIGHT_ONLY = {"int8": Int8WeightOnlyConfig, "float8": Float8WeightOnlyConfig, "intx": IntxWeightOnlyConfig}


def quantized_weights(model) -> dict[str, torch.Tensor]:
    """The weights that torchao holds, by name, as numbers."""
    named = model.named_parameters()
    return {name: weight.dequantize() for name, weight in named if type(weight).__module__.startswith("torchao")}


def first(outputs) -> torch.Tensor:
    return outputs.reconstruction if outputs.get("logits") is None else outputs.logits


@pytest.mark.parametrize(
    ("case", "name"),
    [(case, "int8") for case in HEADS] + [("image-classification", name) for name in ("float8", "intx")],
)
def test_weight_only_serves_both_directions(case, name):
    """A float model that holds the rounded weights computes the same, energies included."""
    tied = {"tie_word_embeddings": False} if case in ("masked-lm", "causal-lm") else {}  # torchao would untie them
    model, inputs = make_model(case, **tied), make_inputs(case)
    rounded = copy.deepcopy(model)
    quantize_(model, WEIGHT_ONLY[name]())
    weights = quantized_weights(model)
    assert {key.split(".")[-2] for key in weights} >= {"bases", "directions"}
    with torch.no_grad():
        for key, weight in weights.items():
            assert 0 < (rounded.get_parameter(key) - weight).abs().max() < 0.1
            rounded.get_parameter(key).copy_(weight)
        outputs = model(**inputs, output_energies=True)
        expected = rounded(**inputs, output_energies=True)
    torch.testing.assert_close(first(outputs), first(expected), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs.energies, expected.energies, rtol=1e-4, atol=1e-4)


def test_quantised_inputs_are_refused():
    """The way back would take them unrounded."""
    model = make_model("image-classification")
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    with pytest.raises(TypeError, match=r"both directions.*Int8WeightOnlyConfig"):
        model(**make_inputs("image-classification"))
    left_out = make_model("image-classification")
    quantize_(
        left_out,
        Int8DynamicActivationInt8WeightConfig(),
        filter_fn=lambda module, _: type(module) is torch.nn.Linear,
    )
    assert left_out(**make_inputs("image-classification")).logits.isfinite().all()


def test_torchao_config_and_lora(tmp_path):
    """Loaded quantised, saved and loaded again; PEFT's LoRA on it acts in both directions and merges."""
    inputs = make_inputs("image-classification")
    model = make_model("image-classification")
    model.save_pretrained(tmp_path / "float")
    quantize = TorchAoConfig(Int8WeightOnlyConfig())
    loaded = HyperSETForImageClassification.from_pretrained(
        tmp_path / "float", quantization_config=quantize, device_map="cpu"
    )
    logits = loaded(**inputs).logits
    assert {"hyperset.layers.0.attention.bases.weight", "classifier.weight"} <= quantized_weights(loaded).keys()
    torch.testing.assert_close(logits, model(**inputs).logits, rtol=0.1, atol=0.1)
    loaded.save_pretrained(tmp_path / "int8")
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "int8", device_map="cpu")
    assert torch.equal(again(**inputs).logits, logits)

    adapted = peft.get_peft_model(again, peft.LoraConfig(r=4, target_modules=["bases", "directions"])).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.1)
    before = adapted(**inputs).logits
    assert (before - logits).abs().max() > 0.02
    before.sum().backward()
    gradients = [parameter.grad for parameter in adapted.parameters() if parameter.requires_grad]
    assert len(gradients) == 4 and all(gradient.abs().max() > 0 for gradient in gradients)
    torch.testing.assert_close(adapted.merge_and_unload()(**inputs).logits, before, rtol=0.05, atol=0.05)


def test_dynamic_int8_of_torch_leaves_both_directions_as_they_are():
    """`quantize_dynamic` swaps every `nn.Linear`, which W and D are not to it."""
    model, inputs = make_model("image-classification"), make_inputs("image-classification")
    quantized = quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    layer = quantized.hyperset.layers[0]
    for ours, others in (
        (layer.attention.bases, "attention.bases"),
        (layer.feedforward.directions, "feedforward.directions"),
    ):
        assert type(ours) is HyperSETProjection
        assert torch.equal(ours.weight, model.hyperset.layers[0].get_parameter(f"{others}.weight"))
    assert type(quantized.classifier).__module__.startswith("torch.ao.nn.quantized.dynamic")
    torch.testing.assert_close(quantized(**inputs).logits, model(**inputs).logits, rtol=0.1, atol=0.1)
    # Swapped by hand, they are refused.
    layer.attention.bases = copy.deepcopy(quantized.classifier)
    with pytest.raises(TypeError, match="both directions"):
        quantized(**inputs)


@pytest.mark.slow
def test_accuracy_and_size_of_a_trained_model(trained_digits, tmp_path):
    """The README's digits: no way to quantise loses more than two of the 360 held-out ones. Prints the table (`-rP`)."""
    held_out = importlib.import_module("hyperset_lab.images.data").digits()["test"]
    images = AutoImageProcessor.from_pretrained(trained_digits)(
        [image.convert("RGB") for image in held_out["image"]], return_tensors="pt"
    )
    labels = torch.tensor(list(held_out["label"]))

    def load(config=None):
        quantization = {"quantization_config": TorchAoConfig(config), "device_map": "cpu"} if config else {}
        return AutoModelForImageClassification.from_pretrained(trained_digits, **quantization)

    models = {"float32": load(), "quantize_dynamic": quantize_dynamic(load(), {torch.nn.Linear}, dtype=torch.qint8)}
    models |= {name: load(config()) for name, config in WEIGHT_ONLY.items()}
    right, size = {}, {}
    for name, model in models.items():
        with torch.no_grad():
            right[name] = int((model(**images).logits.argmax(-1) == labels).sum())
        torch.save(model.state_dict(), tmp_path / "weights.pt")
        size[name] = (tmp_path / "weights.pt").stat().st_size
        print(f"{name:18}{right[name]:5} of {len(labels)} right{size[name]:10,} bytes")
    assert right["float32"] >= 350
    assert all(count >= right["float32"] - 2 for count in right.values())
    assert size["int8"] < 0.4 * size["float32"] and size["float8"] < 0.4 * size["float32"]

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""`torch.export` and ONNX files compute what the model computes, for any batch size and, of text, any length."""

from pathlib import Path

import pytest
import torch

import export_onnx
from hyperset_lab import exporting
from support.builders import CASES, make_inputs, make_model


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

# Every energy, rule and option that changes the graph, several in one file.
VARIANTS = {
    "sigmoid": {"attention_energy": "sigmoid", "feedforward_energy": "softmax", "update_rule": "adam"},
    "linear": {"attention_energy": "linear", "feedforward_energy": "gated", "update_rule": "nesterov"},
    "layers": {"num_hidden_layers": 2, "lora_rank": 2, "step_size_condition": "initial", "pooling": "mean"},
    "fixed-steps": {"step_size_type": "fixed"},
    "transformer": {"layer_type": "transformer"},
    "crate": {"layer_type": "crate"},
    "energy_transformer": {"layer_type": "energy_transformer"},
}


@pytest.mark.parametrize(
    "case", ["image-classification", pytest.param("sequence-classification", marks=pytest.mark.slow)]
)
def test_torch_export(case):
    """A program of `torch.export` takes other batch sizes and lengths, with padding."""
    whole = exporting.TensorsOnly(make_model(case, num_iterations=1))
    with torch.no_grad():
        program = torch.export.export(whole, whole.inputs(2), dynamic_shapes=(tuple(whole.sizes()),)).module()
        for batch_size, length in ((1, 16), (3, 7), (2, 1)):
            tensors = whole.inputs(batch_size, length)
            torch.testing.assert_close(program(*tensors), whole(*tensors))


def test_the_older_exporter_says_what_it_lacks(tmp_path):
    """TorchScript's exporter would fail at the end, with the whole graph in its error."""
    model = make_model("image-classification", num_iterations=1)
    images = make_inputs("image-classification")["pixel_values"]
    with pytest.raises(ValueError, match=r"no operator for RMSNorm.*dynamo=True"):
        torch.onnx.export(model, (images,), tmp_path / "model.onnx", dynamo=False)
    traced = torch.jit.trace(model, images, strict=False)
    torch.testing.assert_close(traced(images)["logits"], model(images).logits)


def exported(case: str, folder: Path, *flags: str, **fields):
    """The file that the script writes of a small model, run by onnxruntime; and the model."""
    model = make_model(case, **({"num_iterations": 1} | fields))
    model.save_pretrained(folder / "model")
    path = folder / "files" / "model.onnx"
    export_onnx.main(["--model_name_or_path", str(folder / "model"), "--output", str(path), *flags])
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    return exporting.onnxruntime.InferenceSession(path), model


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_head(case, tmp_path, capsys):
    session, model = exported(case, tmp_path)
    assert "onnxruntime differs from the model by" in capsys.readouterr().out
    for batch_size in (1, 5):
        inputs = make_inputs(case, batch_size, labels=case == "masked-pixels")
        given = {name: tensor.numpy() for name, tensor in inputs.items()}
        if any(item.name == "attention_mask" for item in session.get_inputs()):
            given["attention_mask"] = torch.ones(batch_size, 16, dtype=torch.long).numpy()
        with torch.no_grad():
            outputs = model(**inputs)
        (name,) = (item.name for item in session.get_outputs())
        (found,) = session.run(None, given)
        torch.testing.assert_close(torch.from_numpy(found), outputs[name], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_variants(name, tmp_path):
    """The script itself compares several batch sizes, lengths and paddings."""
    exported("sequence-classification", tmp_path, **({"num_iterations": 2} | VARIANTS[name]))


@pytest.mark.slow
def test_the_number_of_iterations_is_fixed_when_the_file_is_written(tmp_path):
    session, model = exported("image-classification", tmp_path, "--num_iterations", "3")
    images = make_inputs("image-classification")["pixel_values"]
    (logits,) = session.run(None, {"pixel_values": images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(
            torch.from_numpy(logits), model(images, num_iterations=3).logits, rtol=1e-4, atol=1e-4
        )
        assert (torch.from_numpy(logits) - model(images).logits).abs().max() > 1e-2


@pytest.mark.slow
def test_adaptive_depth_is_left_out(tmp_path):
    session, model = exported("image-classification", tmp_path, num_iterations=3, energy_tolerance=0.5)
    images = make_inputs("image-classification")["pixel_values"]
    (logits,) = session.run(None, {"pixel_values": images.numpy()})
    with torch.no_grad():
        expected = model(images, energy_tolerance=False).logits
        torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-4)
        assert (expected - model(images).logits).abs().max() > 1e-2


def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch):
    """What lay there before stays, and nothing lies beside it."""
    path = tmp_path / "model.onnx"
    path.write_text("the file of last week")

    class Other:
        def save(self, temporary, **options):
            Path(temporary).write_text("something else")

    class Session:
        def __init__(self, *arguments, **options):
            pass

        def run(self, _, given):
            return (torch.zeros(len(given["pixel_values"]), 5).numpy(),)

    monkeypatch.setattr(torch.onnx, "export", lambda *arguments, **options: Other())
    monkeypatch.setattr(exporting.onnxruntime, "InferenceSession", Session)
    with pytest.raises(ValueError, match="differs from the model by"):
        exporting.export_onnx(make_model("image-classification"), str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_text() == "the file of last week"


def test_bad_arguments(tmp_path):
    model = make_model("image-classification")
    with pytest.raises(ValueError, match=r"--output.*\.onnx"):
        exporting.export_onnx(model, str(tmp_path / "model.pt"))
    with pytest.raises(ValueError, match="--tolerance"):
        exporting.export_onnx(model, str(tmp_path / "model.onnx"), tolerance=-1.0)
    with pytest.raises(ValueError, match="num_iterations"):
        exporting.export_onnx(model, str(tmp_path / "model.onnx"), num_iterations=0)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="--model_name_or_path"):
        exporting.load_checkpoint(str(tmp_path / "nowhere"))
    model.config.save_pretrained(tmp_path / "config")
    with pytest.raises(ValueError, match="must hold one of HyperSETModel"):
        exporting.load_checkpoint(str(tmp_path / "config"))

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Reading the authors' checkpoints: wrappings, names, and what is refused."""

import json
from pathlib import Path

import pytest
import torch

from modeling_hyperset.conversion import convert_original_checkpoint, load_original_state_dict


FOLDER = Path(__file__).parent / "fixtures" / "golden"


@pytest.fixture(params=["ic_hyperset", "sudoku_hyperset", "mim_hyperset"])
def original(request):
    """An original state dict and its options."""
    folder = FOLDER / request.param
    options = json.loads((folder / "knobs.json").read_text())
    return load_original_state_dict(folder / options["file"]), options


def test_wrappings(original, tmp_path):
    state_dict, _ = original
    wrapped = {
        "bare": state_dict,
        "native": {"epoch": 3, "model_state_dict": state_dict, "scaler_state_dict": None},
        "lightning": {"epoch": 3, "state_dict": {f"model.{name}": tensor for name, tensor in state_dict.items()}},
    }
    for name, checkpoint in wrapped.items():
        torch.save(checkpoint, tmp_path / name)
        loaded = load_original_state_dict(tmp_path / name)
        assert loaded.keys() == state_dict.keys()
        assert all(torch.equal(loaded[key], state_dict[key]) for key in state_dict)


def test_no_state_dict(tmp_path):
    for content in ([1, 2], {"epoch": 3}, {"model_state_dict": {"a": 1}}):
        torch.save(content, tmp_path / "file")
        with pytest.raises(ValueError, match="holds no state dict"):
            load_original_state_dict(tmp_path / "file")


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_no_code_is_run(tmp_path):
    torch.save({"model_state_dict": Payload(str(tmp_path / "touched"))}, tmp_path / "file")
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        load_original_state_dict(tmp_path / "file")
    assert not (tmp_path / "touched").exists()


def test_missing_and_left_over_tensors(original):
    state_dict, options = original
    lacking = dict(state_dict)
    lacking.pop(next(name for name in lacking if name.endswith("mlp.weight")))
    with pytest.raises(ValueError, match=r"missing \['hyperset\.layers\.0\.feedforward\.projection\.weight'\]"):
        convert_original_checkpoint(lacking, options)
    with pytest.raises(ValueError, match=r"no place for: what\.is\.this"):
        convert_original_checkpoint(state_dict | {"what.is.this": torch.zeros(1)}, options)


def test_options_that_contradict_the_weights(original):
    state_dict, options = original
    with pytest.raises(ValueError, match="contradict"):
        convert_original_checkpoint(state_dict, options | {"n_embd": 2 * options["n_embd"]})


@pytest.mark.parametrize("name", ["n_embd", "n_recur", "task"])
def test_missing_options(original, name):
    state_dict, options = original
    options = {key: value for key, value in options.items() if key != name}
    with pytest.raises(ValueError, match=name):
        convert_original_checkpoint(state_dict, options)


def test_unknown_options(original):
    state_dict, options = original
    with pytest.raises(ValueError, match="'task' must be one of"):
        convert_original_checkpoint(state_dict, options | {"task": "chess"})
    kind = {"image-classification": "class", "sudoku": "model_type", "masked-image-modeling": "model"}[options["task"]]
    with pytest.raises(ValueError, match=f"'{kind}' must be one of"):
        convert_original_checkpoint(state_dict, options | {kind: "unheard-of"})


def test_without_cls_token_the_mean_is_pooled():
    folder = FOLDER / "ic_hyperset"
    options = json.loads((folder / "knobs.json").read_text())
    state_dict = load_original_state_dict(folder / options["file"])
    state_dict.pop("cls_token")
    model = convert_original_checkpoint(state_dict, options)
    assert model.config.pooling == "mean" and model(torch.randn(1, 3, 32, 32)).logits.shape == (1, 7)

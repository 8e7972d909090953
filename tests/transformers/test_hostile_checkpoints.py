# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""A checkpoint that is broken or made to harm is a clear error: none of its code runs, and nothing is written."""

import importlib
import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from modeling_hyperset import HyperSETForImageClassification
from modeling_hyperset.conversion import convert_original_checkpoint, load_original_state_dict
from support.builders import make_inputs, make_model
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, ViTImageProcessorPil


ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "fixtures" / "golden" / "ic_hyperset"
RAN = "HYPERSET_TEST_CODE_RAN"


class Harm:
    """What runs when somebody unpickles it without care."""

    def __reduce__(self):
        return exec, (f"import os; os.environ[{RAN!r}] = '1'",)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A checkpoint of an image classifier."""
    folder = tmp_path_factory.mktemp("checkpoints") / "sound"
    make_model("image-classification").save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(sound, tmp_path) -> Path:
    """A copy of it, to be broken."""
    return Path(shutil.copytree(sound, tmp_path / "checkpoint"))


@pytest.fixture(autouse=True)
def nothing_happens(tmp_path, monkeypatch):
    """No code of a checkpoint has run, and all files are what they were when the test last looked."""
    monkeypatch.delenv(RAN, raising=False)
    yield
    assert RAN not in os.environ


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(
    checkpoint: Path, errors, match: str, load=AutoModelForImageClassification.from_pretrained, **kwargs
) -> None:
    """Loading is an error that says so, and the file system is what it was."""
    before = tree(checkpoint.parent)
    with pytest.raises(errors, match=match):
        load(checkpoint, **kwargs)
    assert tree(checkpoint.parent) == before


def edit_config(checkpoint: Path, **fields) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def header(entries: dict, length: int | None = None) -> bytes:
    """The start of a safetensors file."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


def test_the_harm_is_one():
    pickle.loads(pickle.dumps(Harm()))
    assert os.environ.pop(RAN) == "1"


def test_the_sound_one_loads(sound):
    model = AutoModelForImageClassification.from_pretrained(sound)
    assert torch.isfinite(model(**make_inputs("image-classification")).logits).all()


def one_tensor(shape: list[int], length: int) -> bytes:
    """A safetensors file whose header says that it holds a tensor of `shape` in `length` bytes; four are there."""
    return header({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, length]}}) + bytes(4)


BROKEN = {
    "half": (lambda sound: sound[: len(sound) // 2], "incomplete|metadata"),
    "start": (lambda sound: sound[:4], "header"),
    "empty": (lambda sound: b"", "header"),
    "longer": (lambda sound: sound + b"more", "incomplete|metadata|invalid"),
    "huge header": (lambda sound: struct.pack("<Q", 2**60) + sound[8:], "header"),
    "no header": (lambda sound: header({}, length=90_000_000), "header"),
    "no JSON": (lambda sound: struct.pack("<Q", 4) + b"{x}}", "header"),
    "terabytes in a hundred bytes": (lambda sound: one_tensor([2**40], 2**42), "incomplete|metadata"),
    "overflow": (lambda sound: one_tensor([2**62, 2**62], 4), "overflow|invalid"),
    "shape beyond its bytes": (lambda sound: one_tensor([2**30], 4), "invalid|shape|info"),
    "pickle": (lambda sound: pickle.dumps(Harm()), "header"),
}


@pytest.mark.parametrize(("content", "match"), BROKEN.values(), ids=BROKEN)
def test_broken_safetensors(checkpoint, content, match):
    path = checkpoint / "model.safetensors"
    path.write_bytes(content(path.read_bytes()))
    refused(checkpoint, (SafetensorError, OSError, ValueError), f"(?i){match}")


def test_wrong_shapes_are_an_error_unless_they_are_asked_for(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    weights["classifier.weight"] = torch.zeros(7, 32)
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    refused(checkpoint, RuntimeError, "ignore_mismatched_sizes")
    model, info = HyperSETForImageClassification.from_pretrained(
        checkpoint, ignore_mismatched_sizes=True, output_loading_info=True
    )
    assert [name for name, *_ in info["mismatched_keys"]] == ["classifier.weight"]
    assert model.classifier.weight.shape == (5, 32) and torch.isfinite(model.classifier.weight).all()


def test_missing_and_unexpected_weights_are_reported(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    weights["stranger"] = weights.pop("classifier.weight")
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    model, info = HyperSETForImageClassification.from_pretrained(checkpoint, output_loading_info=True)
    assert set(info["missing_keys"]) == {"classifier.weight"} and set(info["unexpected_keys"]) == {"stranger"}
    assert torch.isfinite(model.classifier.weight).all()  # started afresh


def test_weights_that_are_nan_load_as_they_are_and_show_in_the_output(checkpoint):
    """As everywhere in transformers: a checkpoint of a run that diverged can be looked at."""
    weights = load_file(checkpoint / "model.safetensors")
    weights["classifier.bias"].fill_(torch.nan)
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    model = AutoModelForImageClassification.from_pretrained(checkpoint)
    assert model(**make_inputs("image-classification")).logits.isnan().all()


@pytest.mark.parametrize("as_state_dict", [True, False])
def test_pickled_code_does_not_run(checkpoint, as_state_dict):
    (checkpoint / "model.safetensors").unlink()
    torch.save({"classifier.weight": Harm()} if as_state_dict else Harm(), checkpoint / "pytorch_model.bin")
    refused(checkpoint, (pickle.UnpicklingError, ValueError, OSError), "(?i)weights.only|unsupported|pickle|malicious")
    with open(checkpoint / "pytorch_model.bin", "wb") as file:
        pickle.dump(Harm(), file)
    refused(checkpoint, (pickle.UnpicklingError, ValueError, OSError), "(?i)weights.only|unsupported|pickle|malicious")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"hidden_size": "32"}, "hidden_size"),
        ({"hidden_size": 32.0}, "hidden_size"),
        ({"hidden_size": -32}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": 2**40}, "hidden_size"),
        ({"num_iteration": 3}, "num_iterations"),
        ({"validate": True}, "validate"),
        ({"__class__": "int"}, "__class__"),
        ({"__dict__": {}}, "__dict__"),
        ({"layer_type": "os.system"}, "layer_type"),
        ({"num_labels": 10**12, "id2label": None}, "num_labels"),
        ({"initializer_range": float("nan")}, "initializer_range"),
        ({"dtype": "os"}, "dtype"),
        ({"_attn_implementation": 3}, "_attn_implementation"),
        ({"quantization_config": "x"}, "quantization_config"),
        ({"quantization_config": []}, "quantization_config"),
        ({"rope_parameters": "x"}, "rope_parameters"),
        ({"rope_scaling": [1]}, "rope_scaling"),
        ({"base_model_tp_plan": 3}, "base_model_tp_plan"),
    ],
    ids=str,
)
def test_config_with_unknown_or_mistyped_fields(checkpoint, fields, match):
    edit_config(checkpoint, **fields)
    for load in (AutoConfig.from_pretrained, AutoModelForImageClassification.from_pretrained):
        refused(checkpoint, ValueError, match, load)


def test_config_with_an_energy_that_is_not_registered(checkpoint):
    edit_config(checkpoint, attention_energy="my_energy")
    refused(checkpoint, ValueError, "`attention_energy` must be one of .*'my_energy'")


@pytest.mark.parametrize("fields", [{"hidden_size": 64}, {"vocab_size": 9}, {"layer_type": "transformer"}])
def test_config_that_contradicts_the_weights(checkpoint, fields):
    """Another size is an error; what names other weights is reported as missing."""
    edit_config(checkpoint, **fields)
    try:
        _, info = AutoModel.from_pretrained(checkpoint, output_loading_info=True)
    except (RuntimeError, ValueError) as error:
        assert "ignore_mismatched_sizes" in str(error) or "vocab_size" in str(error)
    else:
        assert info["missing_keys"] and info["unexpected_keys"]


@pytest.mark.parametrize("content", ["{", "", "[]", "null", '"x"', "\x00"])
def test_config_that_is_no_json_object(checkpoint, content):
    (checkpoint / "config.json").write_text(content)
    refused(checkpoint, (OSError, ValueError, TypeError, AttributeError), "(?i)json|config|object|mapping|iterable")


def test_a_config_that_names_code_runs_none_of_it(checkpoint):
    """Neither that in the folder, nor what `auto_map` points at: where the package is, the package's own is used."""
    for path in checkpoint.glob("*.py"):
        path.write_text(f"import os\nos.environ[{RAN!r}] = '1'\n")
    config = json.loads((checkpoint / "config.json").read_text())
    edit_config(checkpoint, auto_map={name: f"../{target}" for name, target in config["auto_map"].items()})
    model = AutoModelForImageClassification.from_pretrained(checkpoint)
    assert type(model) is HyperSETForImageClassification


@pytest.mark.parametrize(
    "shard", ["../elsewhere.safetensors", "/etc/passwd", "../../etc/passwd", "a/b.safetensors", "..", ""]
)
def test_shards_outside_of_the_folder(checkpoint, shard):
    """transformers joins the name to the folder and reads whatever lies there; here it is refused."""
    weights = load_file(checkpoint / "model.safetensors")
    save_file(weights, checkpoint.parent / "elsewhere.safetensors", {"format": "pt"})
    (checkpoint / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, shard)}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(checkpoint, ValueError, "weight_map.*must name files in its folder")
    refused(checkpoint, ValueError, "weight_map", HyperSETForImageClassification.from_pretrained)
    inner = checkpoint.parent / "repository"
    inner.mkdir()
    checkpoint.rename(inner / "sub")
    refused(inner, ValueError, "weight_map", HyperSETForImageClassification.from_pretrained, subfolder="sub")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": []}'])
def test_index_that_is_none(checkpoint, content):
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors.index.json").write_text(content)
    refused(checkpoint, ValueError, "weight_map")


def test_shards_that_are_missing(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").rename(checkpoint / "model-00001-of-00002.safetensors")
    files = dict.fromkeys(weights, "model-00001-of-00002.safetensors")
    files["classifier.weight"] = "model-00002-of-00002.safetensors"
    index = {"metadata": {"total_size": 1}, "weight_map": files}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(checkpoint, (OSError, SafetensorError, ValueError), "model-00002-of-00002|No such file")


def test_sharded_checkpoints_load(sound, tmp_path):
    model = HyperSETForImageClassification.from_pretrained(sound)
    model.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    # As in the Hub's cache, where every file is a link.
    for path in list((tmp_path / "shards").iterdir()):
        shutil.move(path, tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    loaded = HyperSETForImageClassification.from_pretrained(tmp_path / "shards")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


@pytest.mark.parametrize(
    "content",
    [Harm(), {"model_state_dict": Harm()}, {"a": object()}, [1, 2], {"a": 3}, {3: torch.ones(1)}, "x"],
    ids=["code", "nested-code", "object", "list", "number", "integer-name", "string"],
)
def test_original_checkpoints_that_are_no_state_dicts(tmp_path, content):
    path = tmp_path / "checkpoint.pth"
    for write in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
        write(content, path)
        before = tree(tmp_path)
        with pytest.raises(ValueError, match=r"checkpoint\.pth"):
            load_original_state_dict(path)
        assert tree(tmp_path) == before


@pytest.mark.parametrize("cut", [0, 10, 1000, -1000])
def test_original_checkpoints_that_are_cut_off(tmp_path, cut):
    path = tmp_path / "checkpoint.pth"
    path.write_bytes((GOLDEN / "checkpoint.pth").read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"checkpoint\.pth cannot be read"):
        load_original_state_dict(path)


def test_the_converter_refuses_code_and_writes_nothing(tmp_path, monkeypatch):
    script = importlib.import_module("convert_original_checkpoint")
    state = torch.load(GOLDEN / "checkpoint.pth", weights_only=True)
    torch.save({"model_state_dict": state, "optimizer": Harm()}, tmp_path / "checkpoint.pth")
    before = tree(tmp_path)
    with pytest.raises(
        ValueError, match=r"checkpoint\.pth cannot be read with weights_only=True: it needs builtins\.exec"
    ):
        script.main(
            [
                str(tmp_path / "checkpoint.pth"),
                "--options",
                str(GOLDEN / "knobs.json"),
                "--output_dir",
                str(tmp_path / "out"),
            ]
        )
    assert tree(tmp_path) == before and not (tmp_path / "out").exists()


ODD_TENSORS = {
    "no dimension": lambda tensor: torch.zeros(()),
    "empty": lambda tensor: torch.zeros(0),
    "empty rows": lambda tensor: torch.zeros(2, 0),
    "one number": lambda tensor: torch.zeros(1),
    "more dimensions": lambda tensor: torch.zeros(3, 5, 7, 2),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "sparse": lambda tensor: tensor.to_sparse(),
    "without values": lambda tensor: tensor.to("meta"),
    "terabytes of one number": lambda tensor: torch.zeros(1).expand(2**40),
}


@pytest.mark.parametrize("case", ["ic_hyperset", "sudoku_hyperset", "mim_hyperset"])
def test_every_odd_tensor_in_every_place_of_an_original_checkpoint(case):
    """A `ValueError` for each, and for each tensor that is missing."""
    folder = GOLDEN.parent / case
    state_dict = load_original_state_dict(folder / "checkpoint.pth")
    options = json.loads((folder / "knobs.json").read_text())
    options = {name: value for name, value in options.items() if name not in ("about", "file", "format", "parameters")}
    convert_original_checkpoint(state_dict, options)
    for name, tensor in state_dict.items():
        if name.endswith("attn.mask"):
            continue  # which the model does not use
        for kind, make in ODD_TENSORS.items():
            if kind == "one number" and tensor.numel() == 1:
                continue
            with pytest.raises(ValueError):
                convert_original_checkpoint(state_dict | {name: make(tensor)}, options)
        if name != "cls_token":  # without which the model takes the mean
            with pytest.raises(ValueError):
                convert_original_checkpoint(
                    {other: state_dict[other] for other in state_dict if other != name}, options
                )


WILD_OPTIONS = [True, False, -1, 0, 7, 2**40, 0.5, float("nan"), float("inf"), "", "8", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("case", ["ic_hyperset", "sudoku_hyperset", "mim_hyperset"])
def test_every_wild_option_of_an_original_checkpoint(case):
    """A `ValueError`, or a model: some options the weights say by themselves."""
    folder = GOLDEN.parent / case
    state_dict = load_original_state_dict(folder / "checkpoint.pth")
    options = json.loads((folder / "knobs.json").read_text())
    refusals = 0
    for name in {*options, "task"} - {"about", "file", "format", "parameters"}:
        for value in WILD_OPTIONS:
            try:
                convert_original_checkpoint(state_dict, options | {name: value})
            except ValueError:
                refusals += 1
    assert refusals > len(options)


def test_a_training_from_a_hostile_checkpoint(checkpoint, tmp_path, monkeypatch):
    """What the training scripts load with `--model_name_or_path` is refused before anything is written."""
    script = importlib.import_module("hyperset_lab.images.task")
    flags = [
        "--model_name_or_path",
        str(checkpoint),
        "--dataset_name",
        "digits",
        "--output_dir",
        str(tmp_path / "out"),
    ]
    flags += ["--do_train", "--use_cpu", "--ignore_mismatched_sizes"]
    ViTImageProcessorPil(size={"height": 12, "width": 12}).save_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    torch.save({"classifier.weight": Harm()}, checkpoint / "pytorch_model.bin")
    with pytest.raises((pickle.UnpicklingError, ValueError, OSError), match=r"(?i)weights.only|unsupported|pickle"):
        script.main(flags)
    edit_config(checkpoint, hidden_size="32")
    with pytest.raises(ValueError, match="hidden_size"):
        script.main(flags)
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_errors_of_config_fields_are_of_both_kinds(checkpoint):
    edit_config(checkpoint, hidden_size="32")
    refused(checkpoint, StrictDataclassError, "hidden_size")

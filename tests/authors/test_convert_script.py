# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The conversion command, from the authors' file to a folder that the Auto classes load."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.auto.image_processing_auto import AutoImageProcessor

import transformers
from hyperset_lab.converting import folder as converting


ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "fixtures" / "golden"
AUTO_CLASSES = {
    "ic_hyperset": "AutoModelForImageClassification",
    "sudoku_hyperset": "AutoModelForTokenClassification",
    "mim_hyperset": "AutoModelForMaskedImageModeling",
    "mim_hyperset_momentum": "AutoModelForMaskedImageModeling",
    "sudoku_crate": "AutoModelForTokenClassification",
}


@pytest.fixture
def script(monkeypatch):
    return importlib.import_module("convert_original_checkpoint")


def flags(case, folder):
    source = GOLDEN / case
    return [str(source / "checkpoint.pth"), "--options", str(source / "knobs.json"), "--output_dir", str(folder)]


@pytest.mark.parametrize("case", AUTO_CLASSES)
def test_converted_folder(script, case, tmp_path, capsys):
    folder = tmp_path / "some" / "where"
    script.main(flags(case, folder))
    options = json.loads((GOLDEN / case / "knobs.json").read_text())
    assert f"{options['parameters']:,} parameters" in capsys.readouterr().out
    model = getattr(transformers, AUTO_CLASSES[case]).from_pretrained(folder)
    recorded = load_file(GOLDEN / case / "expected.safetensors")
    name = next(name for name in recorded if name.startswith("input."))
    key = "pixel_values" if name == "input.pixel_values" else "input_ids"
    with torch.no_grad():
        logits = model(**{key: recorded[name]}).logits
    torch.testing.assert_close(logits, recorded["output.logits"], rtol=0, atol=1e-4)
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers") and AUTO_CLASSES[case] in card
    assert not list(tmp_path.glob("some/.*"))
    if case == "ic_hyperset":
        processor = AutoImageProcessor.from_pretrained(folder)
        images = processor(torch.randint(0, 255, (3, 50, 40), dtype=torch.uint8).numpy(), return_tensors="pt")
        assert model(**images).logits.shape == (1, 7)
    elif case == "sudoku_hyperset":
        assert model.config.id2label == {index: str(index + 1) for index in range(9)}


LABELS = [(10, 32, "airplane"), (100, 32, "apple"), (1000, 224, "tench, Tinca tinca")]


@pytest.mark.parametrize(("classes", "size", "first"), LABELS)
def test_label_names_where_the_class_count_says_so(script, classes, size, first):
    assert converting.guess_dataset(100, 224) == ""  # ImageNet-100 is a choice of classes that the count does not tell
    fields = {"num_labels": classes, "image_size": size, "patch_size": size // 4, "hidden_size": 24}
    config = transformers.AutoConfig.for_model("hyperset", **fields)
    model = transformers.AutoModelForImageClassification.from_config(config)
    dataset = converting.set_labels(model, "image-classification")
    labels = model.config.id2label
    assert labels[0] == first and len(set(labels.values())) == len(labels) == classes
    assert model.config.label2id[labels[classes - 1]] == classes - 1
    assert converting.new_processor(model, dataset).image_std != [0.5, 0.5, 0.5]


def test_mistakes_leave_nothing_behind(script, tmp_path):
    knobs = tmp_path / "knobs.json"
    good = json.loads((GOLDEN / "ic_hyperset" / "knobs.json").read_text())
    for content, message in [
        ("{x", "no JSON"),
        ("[]", "JSON object"),
        (json.dumps(good | {"n_embd": 71}), "n_embd"),
        (json.dumps(good | {"class": "What"}), "class"),
    ]:
        knobs.write_text(content)
        command = flags("ic_hyperset", tmp_path / "out")
        command[2] = str(knobs)
        with pytest.raises(ValueError, match=message):
            script.main(command)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["knobs.json"]
    with pytest.raises(ValueError, match="CHECKPOINT"):
        script.main(["nowhere.pth", *flags("ic_hyperset", tmp_path / "out")[1:]])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="output_dir"):
        script.main(flags("ic_hyperset", tmp_path / "full"))

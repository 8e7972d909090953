# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Folders that an earlier version saved go on loading: with this package, and by the code that they carry."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification


SAVED = Path(__file__).parents[1] / "fixtures" / "saved_by_0.1"
AUTO_CLASSES = {"image": AutoModelForImageClassification, "text": AutoModelForSequenceClassification}


@pytest.mark.parametrize("name", AUTO_CLASSES)
def test_with_the_package(name, tmp_path):
    model, info = AUTO_CLASSES[name].from_pretrained(SAVED / name, output_loading_info=True)
    assert type(model).__module__ == "modeling_hyperset.modeling_hyperset" and not any(info.values()), info
    expected = load_file(SAVED / name / "expected.safetensors")
    inputs = {key: value for key, value in expected.items() if key not in ("logits", "energies")}
    outputs = model(**inputs, energy_tolerance=False, output_energies=True)
    torch.testing.assert_close(outputs.logits, expected["logits"])
    torch.testing.assert_close(torch.stack(outputs.energies), expected["energies"])
    # What was saved goes round: today's folder is the same model.
    model.save_pretrained(tmp_path)
    again = AUTO_CLASSES[name].from_pretrained(tmp_path)
    torch.testing.assert_close(again(**inputs, energy_tolerance=False).logits, expected["logits"])


BY_ITS_CODE = """
import sys, torch
from safetensors.torch import load_file
from transformers import {auto_class}

model = {auto_class}.from_pretrained(sys.argv[1], trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules."), type(model).__module__
expected = load_file(f"{{sys.argv[1]}}/expected.safetensors")
inputs = {{key: value for key, value in expected.items() if key not in ("logits", "energies")}}
torch.testing.assert_close(model(**inputs, energy_tolerance=False).logits, expected["logits"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", AUTO_CLASSES)
def test_by_its_own_code(name, tmp_path):
    folder = tmp_path / "saved"
    shutil.copytree(SAVED / name, folder)
    shutil.copytree(SAVED / "code", folder, dirs_exist_ok=True)
    code = BY_ITS_CODE.format(auto_class=AUTO_CLASSES[name].__name__)
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=tmp_path, env=environment, check=True)

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The models that come along: they load, carry this package's code, answer as recorded, and claim what was measured."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import transformers
from hyperset_lab.card import measured
from hyperset_lab.origin import ORIGIN
from hyperset_lab.results import folders as module
from hyperset_lab.results.folders import (
    LARGEST,
    LARGEST_TOGETHER,
    SAMPLES,
    folders_of_models,
    keep,
    load,
    size,
    task_of,
)
from hyperset_lab.results.kept import kept_results
from hyperset_lab.results.page import OURS
from modeling_hyperset.modeling_hyperset import AUTO_CLASSES
from support.hub_card_rules import check_card


ROOT = Path(__file__).parents[2]
FOLDERS = folders_of_models()
each = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def origin_of(folder: Path) -> dict:
    return json.loads((folder / ORIGIN).read_text(encoding="utf-8"))


def test_they_are_small():
    assert FOLDERS and sum(map(size, FOLDERS)) <= LARGEST_TOGETHER
    assert max(map(size, FOLDERS)) <= LARGEST


@each
def test_the_code_is_that_of_the_package(folder):
    """If this fails, run `scripts/keep_model.py --refresh`."""
    names = {path.name for path in folder.glob("*.py")}
    assert names == {path.name for path in (ROOT / "modeling_hyperset").glob("*_hyperset.py")}
    for name in names:
        assert (folder / name).read_text() == (ROOT / "modeling_hyperset" / name).read_text(), name


@each
@torch.no_grad()
def test_it_answers_as_recorded(folder):
    """The Auto class of its head loads it, and it gives the recorded logits for the recorded samples."""
    model = load(folder)
    auto_class = next(name for name, one in AUTO_CLASSES.items() if one is type(model))
    model = getattr(transformers, auto_class).from_pretrained(folder).eval()
    samples = load_file(folder / SAMPLES)
    logits, labels = samples.pop("logits"), samples.pop("labels")
    torch.testing.assert_close(model(**samples).logits, logits, rtol=1e-3, atol=1e-3)
    if logits.ndim == 3 and auto_class.endswith("CausalLM"):
        logits, labels = logits[:, :-1], labels[:, 1:]
    counted = labels != -100  # given cells and padding are not
    assert (logits.argmax(-1) == labels)[counted].float().mean() > 2 / logits.shape[-1]  # twice as good as guessing


@each
def test_it_claims_what_was_measured(folder):
    """Card, run and kept result say the same at every depth, and the Hub takes the card."""
    text, origin = (folder / "README.md").read_text(encoding="utf-8"), origin_of(folder)
    assert check_card(text) == ([], [])
    data = ModelCard(text).data
    trained = origin["model"]["num_iterations"]
    rows = set(measured(origin["metrics"], trained))
    claimed = {(one.metric_args["num_iterations"], one.metric_type, one.metric_value) for one in data.eval_results}
    assert claimed == rows
    kept = kept_results()[origin["result"]]
    row = kept["models"][OURS]
    place = row["seeds"].index(origin["training"]["seed"])
    assert {trained, 2 * trained} <= {depth for depth, *_ in rows}
    for depth, name, value in rows:
        assert row["metrics"][name][str(depth)][place] == value
    assert row["parameters"] == origin["model"]["parameters"] and f"{row['parameters']:,} parameters" in text
    for part in (kept["chosen_on"], origin["hardware"]["device"], origin["commit"][:10], origin["date"]):
        assert part in text
    assert f'from_pretrained("model_cards/{folder.name}"' in text


@pytest.mark.long
@each
def test_the_cards_command_finds_its_claims(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    origin = origin_of(folder)
    script, *words = origin["evaluation"]
    assert f"python {script} {words[0]}" in (folder / "README.md").read_text(encoding="utf-8")
    metrics = task_of(script).main([*words, "--output_dir", str(tmp_path), "--report_to", "none", "--use_cpu"])
    for depth, name, value in measured(origin["metrics"], origin["model"]["num_iterations"]):
        prefix = "eval" if depth == origin["model"]["num_iterations"] else f"eval_{depth}_iterations"
        assert metrics[f"{prefix}_{name}"] == pytest.approx(value, rel=5e-3, abs=3e-3), (depth, name)


DIGITS = ROOT / "model_cards" / "hyperset-digits"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """`model_cards` in another place."""
    monkeypatch.setattr(module, "FOLDERS", tmp_path)
    monkeypatch.chdir(ROOT)
    return tmp_path


def test_a_folder_is_made_of_a_training(elsewhere):
    """Of the digits' folder, which has what a training writes: all files are the same again."""
    made = keep(DIGITS, "hyperset-digits", "digits")
    assert made == elsewhere / "hyperset-digits" and list(elsewhere.iterdir()) == [made]
    names = {path.name for path in DIGITS.iterdir()}
    assert {path.name for path in made.iterdir()} == names
    for name in names - {SAMPLES}:
        assert (made / name).read_bytes() == (DIGITS / name).read_bytes(), name
    for name, value in load_file(made / SAMPLES).items():
        torch.testing.assert_close(value, load_file(DIGITS / SAMPLES)[name], rtol=1e-3, atol=1e-3)


def test_what_is_no_model_to_bring_along_is_refused(elsewhere, monkeypatch):
    with pytest.raises(ValueError, match="There is no kept result 'nothing'"):
        keep(DIGITS, "hyperset-digits", "nothing")
    (elsewhere / "run").mkdir()
    with pytest.raises(ValueError, match=r"origin\.json is no JSON file of a finished run"):
        keep(elsewhere / "run", "hyperset-digits", "digits")
    origin = origin_of(DIGITS)
    origin["metrics"]["eval_accuracy"] = 0.999
    (elsewhere / "run" / ORIGIN).write_text(json.dumps(origin))
    with pytest.raises(ValueError, match=r"The run has accuracy 0\.999, but the kept result"):
        keep(elsewhere / "run", "hyperset-digits", "digits")
    with pytest.raises(ValueError, match=r"by 'scripts/other\.py', which is the command of no task"):
        task_of("scripts/other.py")

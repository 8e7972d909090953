# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Trainings that end within a time, on a few digits with tiny models."""

import importlib
import json
import time
from pathlib import Path

import pytest
import yaml

from hyperset_lab.comparison import in_time
from hyperset_lab.comparison.in_time import Pace, steps_that_fit, training_deadline
from hyperset_lab.comparison.runs import trainer_of
from hyperset_lab.results.kept import take_in
from hyperset_lab.tasks import Score
from modeling_hyperset.presets import count_parameters


SCRIPTS = Path(__file__).parents[2] / "scripts"
DIGITS = yaml.safe_load((SCRIPTS / "recipes" / "digits.yaml").read_text())
TINY = {"hidden_size": 16, "num_attention_heads": 2, "num_iterations": 2, "image_size": 8, "patch_size": 4}
BASE = DIGITS | {
    "config_overrides": DIGITS["config_overrides"] | TINY,
    "num_train_epochs": 4,
    "per_device_train_batch_size": 32,
    "max_train_samples": 64,
    "max_eval_samples": 40,
    "use_cpu": True,
}
RECIPE = {"base_recipe": "base.yaml", "models": {"Ours": {}, "T": {"layer_type": "transformer"}}}


@pytest.fixture(scope="module")
def script():
    return importlib.import_module("train_in_time")


def recipe_in(folder: Path, **changes) -> str:
    (folder / "base.yaml").write_text(yaml.safe_dump(BASE))
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE | {"output_dir": str(folder / "out")} | changes))
    return str(path)


@pytest.mark.slow
def test_models_that_have_time_train_the_whole_recipe(script, tmp_path, monkeypatch):
    monkeypatch.setattr(in_time, "MEASURED_STEPS", 6)
    record = script.main([recipe_in(tmp_path), "--budget_minutes", "30", "--commit", "0123456789abcdef"])
    out = tmp_path / "out"
    assert json.loads((out / "in_time.json").read_text()) == json.loads(json.dumps(record))
    assert (record["steps"], record["steps_per_epoch"], record["seconds"] < 30 * 60) == (8, 2, True)
    curves = json.loads((out / "curves.json").read_text())
    assert {title: set(models) for title, models in curves.items()} == {
        "training loss": {"Ours", "T"},
        "accuracy": {"Ours", "T"},
    }
    for row in record["models"].values():
        folder = out / row["folder"]
        origin = json.loads((folder / "origin.json").read_text())
        assert row["schedule_ended"] and origin["training"]["steps"] == row["steps"] == 8
        assert origin["command"][0] == "scripts/train_in_time.py"
        assert {"eval_accuracy", "eval_1_iterations_accuracy", "eval_4_iterations_accuracy"} <= origin[
            "metrics"
        ].keys()
        rates = [entry["learning_rate"] for entry in json.loads((folder / "trainer_state.json").read_text())["log_history"]
                 if "learning_rate" in entry]  # fmt: skip
        assert len(rates) == 8 and rates[-1] < 0.1 * max(rates)
        assert (folder / "model.safetensors").is_file()
    folders = [f"{label}={out / row['folder']}" for label, row in record["models"].items()]
    kept = take_in("digits", folders, {"title": "Digits", "chosen_on": "Nothing."}, kept=tmp_path)
    assert kept["models"].keys() == {"Ours", "T"} and kept["made"][0]["commit"]


def test_the_clock_stops_a_training_that_takes_too_long(tmp_path):
    settings = BASE | {"max_steps": 8, "do_train": True, "do_eval": True, "disable_tqdm": True, "save_strategy": "no"}
    settings |= {"eval_strategy": "no", "load_best_model_at_end": False, "report_to": "none"}
    start = {"command": ["x"], "commit": "y"}
    out = tmp_path / "late"
    found = in_time.train_in_time("images", settings, out, Score("accuracy"), start, time.monotonic())
    assert found["steps"] == 1 and not found["schedule_ended"] and "eval_accuracy" in found["metrics"]
    origin = json.loads((out / "origin.json").read_text())
    assert not origin["schedule_ended"] and origin["training"]["steps"] == 1


def test_all_samples_are_evaluated_where_training_drops_the_last_batch(tmp_path):
    settings = BASE | {"do_train": True, "do_eval": True, "dataloader_drop_last": True, "save_strategy": "no"}
    settings |= {"per_device_train_batch_size": 48, "per_device_eval_batch_size": 32, "load_best_model_at_end": False}
    trainer, _ = trainer_of("images", settings, tmp_path)
    sizes = [
        [len(batch["labels"]) for batch in loader]
        for loader in (trainer.get_train_dataloader(), trainer.get_eval_dataloader())
    ]
    assert sizes == [[48], [32, 8]]


def test_a_model_that_cannot_be_compiled_trains_without(monkeypatch, capsys):
    seen = []

    def measure(task, settings, seconds):
        seen.append(dict(settings))
        if settings["torch_compile"]:
            raise RuntimeError("no compiler")

    monkeypatch.setattr(in_time, "measure", measure)
    in_time.measured("images", {"torch_compile": True, "torch_compile_mode": "x"}, 1.0, "Ours")
    assert seen[1:] == [{"torch_compile": False}]
    assert "Ours is not compiled, because that failed: no compiler" in capsys.readouterr().out


def test_steps_that_fit():
    one, two = Pace(20.0, 0.1, 2.0, 8.0), Pace(10.0, 0.2, 1.0, 3.0)
    around = one.around() + two.around()
    assert around == in_time.REPEATED_SHARE * 30 + 6 * 3 + 11 + 2 * in_time.SECONDS_TO_SAVE

    def fit(seconds: float, of_epoch: int, most: int = 10**6) -> int:
        return steps_that_fit([one, two], (around + seconds) / in_time.USED_SHARE, of_epoch, most)

    assert fit(300.1, 390) == 780  # 1,000 steps are two epochs and a half
    assert fit(300.1, 1500) == 1000  # part of an epoch
    assert fit(300.1, 390, most=900) == 900  # the recipe asks for no more
    with pytest.raises(ValueError, match=r"`--budget_minutes` is too little: .* s are left"):
        fit(0.2, 390)


def test_each_model_has_its_share_of_the_time():
    one, two = Pace(20.0, 0.1, 2.0, 8.0), Pace(10.0, 0.2, 1.0, 3.0)
    save = in_time.SECONDS_TO_SAVE
    wanted = [pace.around() + 100 * pace.step for pace in (one, two)]
    # Twice the time that is wanted: each may take twice as long, and then evaluates and saves.
    found = training_deadline([one, two], 100, 50.0, 50.0 + 2 * sum(wanted))
    assert found == pytest.approx(50 + 2 * wanted[0] - 8 - save)
    assert training_deadline([two], 100, 50.0, 50.0 + wanted[1]) == pytest.approx(50 + wanted[1] - 3 - save)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"budget_minutes": 0}, "`budget_minutes` must be positive and finite, got 0"),
        ({"budget_minutes": float("inf")}, "`budget_minutes` must be positive and finite, got inf"),
        ({"models": {"Ours (fixed)": {}, "Ours fixed": {}}}, "`models` must have names that differ"),
        ({"flags": {"max_steps": 3}}, "`flags` sets what this command decides: max_steps"),
        ({"models": {"A": {"learning_rate": 1}}}, "may set flags of the model only"),
        ({"task": "none"}, "`task` must be one of"),
        ({"output_dir": str(SCRIPTS)}, "`output_dir` must be a new or empty folder"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(script, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        script.main([recipe_in(tmp_path, **changes)])


def test_the_recipe_has_the_paper_s_models(script):
    """Those of Tables 10 and 1, and their weights fit 16 MiB in float32."""
    recipe = yaml.safe_load((SCRIPTS / "recipes" / "in_time_cifar10.yaml").read_text())
    base = yaml.safe_load((SCRIPTS / "recipes" / recipe["base_recipe"]).read_text())
    names = {label: own.get("config_name", base["config_name"]) for label, own in recipe["models"].items()}
    assert names == {"Hyper-SET": "cifar10-small-scaled-up", "Transformer": "cifar10-small-transformer"}
    for name in names.values():
        assert 4 * count_parameters(name) < 16 * 2**20

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The comparison script, as a user calls it: on a few digits, with tiny models."""

import copy
import importlib
import json
import re
import shutil
import statistics
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from datasets import Dataset, DatasetDict

from hyperset_lab.results.kept import take_in
from hyperset_lab.results.page import page
from modeling_hyperset.files import write_json


ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
DIGITS = yaml.safe_load((SCRIPTS / "recipes" / "digits.yaml").read_text())
TINY = {"hidden_size": 16, "num_attention_heads": 2, "num_iterations": 2, "image_size": 8, "patch_size": 4}
BASE = DIGITS | {
    "config_overrides": DIGITS["config_overrides"] | TINY,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 32,
    "max_train_samples": 96,
    "max_eval_samples": 40,
    "use_cpu": True,
}
RECIPE = {
    "base_recipe": "base.yaml",
    "models": {"Ours (fixed)": {"config_overrides": {"step_size_type": "fixed"}}, "T": {"layer_type": "transformer"}},
    "reference": "T",
    "learning_rates": [0.001, 0.03],
    "seeds": [0, 1],
    "timing_turns": 1,
}


@pytest.fixture(scope="module")
def modules():
    """The scripts' modules, to call in this process."""
    parts = ("comparison.runs", "comparison.plan", "images.data", "images.pixels", "images.task", "arguments")
    names = ["compare", *(f"hyperset_lab.{part}" for part in parts)]
    yield {name: importlib.import_module(name) for name in names}


def write_recipe(folder: Path, **changes) -> str:
    """A comparison recipe in `folder`, whose outputs go there too."""
    folder.mkdir(exist_ok=True)
    (folder / "base.yaml").write_text(yaml.safe_dump(BASE))
    recipe = RECIPE | {"output_dir": str(folder / "out")} | changes
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in recipe.items() if value is not ...}))
    return str(path)


@pytest.fixture(scope="module")
def finished(modules, tmp_path_factory):
    """The recipe of a comparison that has finished, and what `main` returned. Tests that change it work on a copy."""
    recipe = write_recipe(tmp_path_factory.mktemp("finished"))
    return recipe, modules["compare"].main([recipe])


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished comparison: its recipe and its outputs."""
    recipe = write_recipe(tmp_path / "copy")
    shutil.copytree(Path(finished[0]).parent / "out", tmp_path / "copy" / "out")
    return recipe, tmp_path / "copy" / "out"


@pytest.fixture
def trained(modules, monkeypatch) -> list[str]:
    """The labels of the runs that are trained from here on."""
    labels, train = [], modules["hyperset_lab.comparison.runs"].train

    def record(run, *arguments):
        labels.append(run.label)
        return train(run, *arguments)

    monkeypatch.setattr(modules["hyperset_lab.comparison.runs"], "train", record)
    return labels


def without_timing(result: dict) -> dict:
    return {name: value for name, value in result.items() if name not in ("timing", "origin")}


def test_table_json_and_runs_say_the_same(finished):
    recipe, result = finished
    out = Path(recipe).parent / "out"
    assert json.loads((out / "comparison.json").read_text()) == json.loads(json.dumps(result))
    assert not list(out.rglob(".*"))  # nothing half-written
    curves = json.loads((out / "curves.json").read_text())
    assert curves.keys() == {"training loss"} and curves["training loss"].keys() == RECIPE["models"].keys()
    assert [len(run) for runs in curves["training loss"].values() for run in runs] == [1] * 4  # an epoch each
    assert (out / "training_loss.png").stat().st_size > 5000
    lines = (out / "comparison.md").read_text().splitlines()
    cells = {row[0]: row[1:] for row in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:4])}
    assert cells.keys() == RECIPE["models"].keys() == result["models"].keys()
    for name, row in result["models"].items():
        own = [json.loads((out / "runs" / run / "eval_results.json").read_text()) for run in row["runs"]]
        for key, metric in (
            ("accuracy", "eval_accuracy"),
            ("accuracy_at_twice_the_iterations", "eval_4_iterations_accuracy"),
        ):
            values = [metrics[metric] for metrics in own]
            assert row[key] == {"values": values, "mean": statistics.fmean(values), "std": statistics.stdev(values)}
        percent = [f"{100 * row[key]['mean']:.2f} ± {100 * row[key]['std']:.2f}" for key in list(row)[-3:-1]]
        time = result["timing"]["models"][name]["relative"]
        assert cells[name] == [
            f"{row['parameters']:,}",
            f"{row['flops'] / 1e6:.1f}",
            f"{row['learning_rate']:g}",
            *percent,
            f"{result['memory'][name] / 1e6:.1f}",
            f"{time:.2f}",
        ]
        assert time > 0 and (time == 1) == (name == "T")


def test_it_is_taken_into_the_results(finished, tmp_path):
    """A kept result has every seed's score at half, at all and at twice the iterations, and the commit, if there is one."""
    recipe, result = finished
    assert result["origin"]["command"] == ["scripts/compare.py", recipe]
    out, by_hand = Path(recipe).parent / "out", {"title": "Digits", "chosen_on": "held-out digits."}
    comparison = json.loads((out / "comparison.json").read_text())
    if comparison["origin"]["commit"] is None:  # no checkout, as in a source distribution
        with pytest.raises(ValueError, match="pass --commit"):
            take_in("digits", [str(out)], by_hand, kept=tmp_path)
        return
    kept = take_in("digits", [str(out)], by_hand, kept=tmp_path)
    for name, row in result["models"].items():
        runs = [json.loads((out / "runs" / run / "eval_results.json").read_text()) for run in row["runs"]]
        assert kept["models"][name]["metrics"]["accuracy"] == {
            "1": [metrics["eval_1_iterations_accuracy"] for metrics in runs],
            "2": row["accuracy"]["values"],
            "4": row["accuracy_at_twice_the_iterations"]["values"],
        }
        assert kept["models"][name]["relative_time_per_step"] == result["timing"]["models"][name]["relative"]
        assert kept["models"][name]["memory"] == result["memory"][name]
    assert "96 samples, evaluated on 40" in kept["data"] and kept["made"][0]["hardware"]["precision"] == "float32"
    table = page({"digits": kept})
    assert "| Ours (fixed) |" in table and "each model's best of 0.001, 0.03, on data held out" in " ".join(
        table.split()
    )


def test_learning_rates_come_from_the_validation_runs(finished):
    recipe, result = finished
    runs = Path(recipe).parent / "out" / "runs"
    for name, row in result["models"].items():
        slug = {"Ours (fixed)": "ours-fixed", "T": "t"}[name]
        means = {}
        for rate in ("0.001", "0.03"):
            folders = [next(runs.glob(f"{slug}-validation-lr{rate}-seed{seed}-*")) for seed in (0, 1)]
            assert all(
                yaml.safe_load((folder / "recipe.yaml").read_text())["hold_out_validation"] for folder in folders
            )
            values = [json.loads((folder / "eval_results.json").read_text())["eval_accuracy"] for folder in folders]
            assert row["validation_accuracy"][rate]["values"] == values
            means[rate] = statistics.fmean(values)
        assert means[f"{row['learning_rate']:g}"] == max(means.values())
        for run in row["runs"]:
            own = yaml.safe_load((runs / run / "recipe.yaml").read_text())
            assert not own["hold_out_validation"] and own["learning_rate"] == row["learning_rate"]
    assert len(list(runs.iterdir())) == 2 * 2 * 2 + 2 * 2


def test_costs_are_those_of_the_models(finished, modules):
    """FLOPs of a Transformer by hand, attention included; parameters of the models that the runs saved."""
    recipe, result = finished
    n, d, patch, iterations, classes = 2 * 2 + 1, 16, 3 * 4 * 4, 2, 10
    layer = 4 * 2 * n * d * d + 2 * 2 * n * n * d + 2 * 2 * n * d * 4 * d
    assert result["models"]["T"]["flops"] == 2 * (n - 1) * patch * d + iterations * layer + 2 * d * classes
    # A batch of 32 keeps at least the four tensors of each softmax and its projections: 32 · n · d · 4 bytes each.
    assert 4 * iterations * 32 * n * d * 4 < result["memory"]["T"] < 100 * iterations * 32 * n * d * 4
    for row in result["models"].values():
        folder = Path(recipe).parent / "out" / "runs" / row["runs"][0]
        model = modules["hyperset_lab.images.task"].AutoModelForImageClassification.from_pretrained(folder)
        assert row["parameters"] == sum(parameter.numel() for parameter in model.parameters())


def test_curves_are_those_that_the_runs_logged(modules, tmp_path):
    """Of the loss and, where it was evaluated after every epoch, of the score; a model that diverged has none."""
    curves = importlib.import_module("hyperset_lab.comparison.curves")
    history = [{"epoch": epoch, "loss": 3.0 / epoch} for epoch in (1.0, 2.0)]
    history += [{"epoch": epoch, "eval_accuracy": epoch / 4, "eval_loss": 1.0} for epoch in (1.0, 2.0, 2.0)]
    kinds = {"a-0": history, "a-1": history, "b-0": history[:2] + history[-1:], "c-0": history, "gone": None}
    for name, logged in kinds.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        if logged is not None:
            write_json(tmp_path / "runs" / name / "trainer_state.json", {"log_history": logged})
    rows = {"A": (0.5, ["a-0", "a-1"]), "B": (0.5, ["b-0"]), "C": (None, ["c-0"]), "D": (0.5, ["gone"])}
    result = {"models": {name: {"accuracy": {"mean": mean}, "runs": runs} for name, (mean, runs) in rows.items()}}
    comparison = SimpleNamespace(root=tmp_path, score=SimpleNamespace(name="accuracy"))
    losses, accuracies = [[1.0, 3.0], [2.0, 1.5]], [[1.0, 0.25], [2.0, 0.5]]
    files = curves.write_curves(comparison, result)
    assert [path.name for path in files] == ["curves.json", "training_loss.png", "accuracy.png"]
    assert json.loads(files[0].read_text()) == {
        "training loss": {"A": [losses, losses], "B": [losses]},
        "accuracy": {"A": [accuracies, accuracies]},
    }
    plan = modules["hyperset_lab.comparison.plan"]
    arguments = SimpleNamespace(eval_every_epoch=True, task="images", selection_budget={})
    comparison = SimpleNamespace(configs={"A": {"num_iterations": 2}}, models={"A": {"eval_strategy": "no"}})
    comparison.arguments, comparison.score, comparison.root = arguments, None, tmp_path
    strategies = {phase: plan.Comparison.run(comparison, "A", phase, 0.1, 0).settings["eval_strategy"]
                  for phase in ("validation", "test")}  # fmt: skip
    assert strategies == {"validation": "no", "test": "epoch"}


@pytest.mark.slow
def test_a_run_can_be_repeated_alone(finished, modules, tmp_path):
    """A run is what the training script makes of the recipe that lies in its folder."""
    recipe, result = finished
    row = result["models"]["Ours (fixed)"]
    own = Path(recipe).parent / "out" / "runs" / row["runs"][1] / "recipe.yaml"
    metrics = modules["hyperset_lab.images.task"].main([str(own), "--output_dir", str(tmp_path)])
    assert metrics["eval_accuracy"] == row["accuracy"]["values"][1]


@pytest.mark.slow
def test_finished_runs_are_not_trained_again(finished, copied, modules, trained):
    recipe, out = copied
    assert without_timing(modules["compare"].main([recipe])) == without_timing(finished[1])
    assert trained == []
    folder = out / "runs" / finished[1]["models"]["T"]["runs"][0]
    (folder / "run.json").unlink()  # as if it had been killed before it finished
    assert without_timing(modules["compare"].main([recipe])) == without_timing(finished[1])
    assert len(trained) == 1 and trained[0].startswith("T, test") and trained[0].endswith("seed 0")


@pytest.mark.slow
def test_a_stopped_comparison_goes_on(finished, modules, trained, monkeypatch, tmp_path):
    recipe = write_recipe(tmp_path / "stopped")
    record = modules["hyperset_lab.comparison.runs"].train

    def stop(run, *arguments):
        if len(trained) == 7:
            raise KeyboardInterrupt
        return record(run, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(modules["hyperset_lab.comparison.runs"], "train", stop)
        modules["compare"].main([recipe])
    assert not (tmp_path / "stopped" / "out" / "comparison.json").exists()
    result = modules["compare"].main([recipe])
    assert len(trained) == len(set(trained)) == 12
    assert without_timing(result) == without_timing(finished[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"flags": {"weight_decay": 0.0}},
        {"models": RECIPE["models"] | {"T": {"layer_type": "crate"}}},
        {"models": RECIPE["models"] | {"T": {"layer_type": "transformer", "config_overrides": {"hidden_size": 8}}}},
    ],
    ids=["budget", "model", "width"],
)
def test_runs_of_other_settings_are_not_reused(copied, modules, monkeypatch, changes):
    recipe, _ = copied
    labels = []

    def refuse(run, *arguments):
        labels.append(run.model)
        raise RuntimeError("trained")

    monkeypatch.setattr(modules["hyperset_lab.comparison.runs"], "train", refuse)
    with pytest.raises(RuntimeError, match="trained"):
        modules["compare"].main([write_recipe(Path(recipe).parent, **changes)])
    assert labels == (["Ours (fixed)"] if "flags" in changes else ["T"])
    with pytest.raises(ValueError, match="same settings"):
        modules["compare"].main([recipe, "--time_only"])


@pytest.mark.slow
def test_a_record_that_was_tampered_with(copied, modules, finished, trained):
    """One whose settings are not those of its name is not reused; one that cannot be read is an error that names it."""
    recipe, out = copied
    run = out / "runs" / finished[1]["models"]["T"]["runs"][0] / "run.json"
    record = json.loads(run.read_text())
    record["identity"]["versions"]["torch"] = "1.0"
    run.write_text(json.dumps(record | {"metrics": {"eval_accuracy": 2.0}}))
    assert without_timing(modules["compare"].main([recipe])) == without_timing(finished[1])
    assert len(trained) == 1
    run.write_text("{")
    with pytest.raises(ValueError, match=re.escape(str(run))):
        modules["compare"].main([recipe])


def plant(modules, recipe: str, metrics) -> None:
    """Store a record of every run that `recipe` could ask for, with what `metrics(phase, learning_rate)` says."""
    plan, common = modules["hyperset_lab.comparison.plan"], modules["hyperset_lab.arguments"]
    (arguments,) = common.parse_arguments((plan.ComparisonArguments,), [recipe])
    comparison = plan.Comparison(arguments, BASE)
    folder = Path(recipe).parent / "build"
    folder.mkdir()
    comparison.build(folder)
    for model in comparison.models:
        for phase in ("validation", "test"):
            for rate in arguments.learning_rates:
                for seed in arguments.seeds:
                    run = comparison.run(model, phase, rate, seed)
                    run.folder.mkdir(parents=True)
                    write_json(run.folder / "run.json", {"identity": run.identity, "metrics": metrics(phase, rate)})


@pytest.mark.slow
def test_the_split_for_evaluation_does_not_choose_the_rate(modules, trained, tmp_path):
    """Where validation and test disagree, validation decides, and its loss where its accuracies are equal."""
    recipe = write_recipe(tmp_path / "planted", learning_rates=[0.1, 0.2, 0.3], selection_seeds=[1])

    def metrics(phase, rate):
        if phase == "validation":
            return {"eval_accuracy": 0.5 if rate == 0.1 else 0.7, "eval_loss": 1 - rate}
        return {"eval_accuracy": 0.6 if rate == 0.3 else 0.9, "eval_loss": 0.0}

    plant(modules, recipe, metrics)
    result = modules["compare"].main([recipe])
    for row in result["models"].values():
        assert row["learning_rate"] == 0.3 and row["accuracy"]["mean"] == 0.6
        assert row["accuracy_at_twice_the_iterations"] is None
        assert len(row["validation_accuracy"]["0.1"]["values"]) == 1 and len(row["runs"]) == 2
    assert trained == []
    assert "Chosen at the edge of the list, beyond which a better one may lie: Ours (fixed), T." in (
        tmp_path / "planted" / "out" / "comparison.md"
    ).read_text().replace("\n", " ")


@pytest.mark.slow
def test_runs_that_diverge_are_results(modules, trained, tmp_path):
    """A rate with which one does is not chosen; a model that does with the chosen one has no accuracy."""
    recipe = write_recipe(tmp_path / "planted", learning_rates=[0.1, 0.2])
    nan = {"diverged": "The loss of step 3 is nan"}

    def metrics(phase, rate):
        if phase == "test":
            return nan
        return nan if rate == 0.2 else {"eval_accuracy": 0.5, "eval_loss": 1.0}

    plant(modules, recipe, metrics)
    result = modules["compare"].main([recipe])
    for row in result["models"].values():
        assert row["learning_rate"] == 0.1 and row["accuracy"] == {"mean": None, "std": None, "values": [None, None]}
        assert row["validation_accuracy"]["0.2"]["mean"] is None and row["validation_accuracy"]["0.1"]["mean"] == 0.5
    text = (tmp_path / "planted" / "out" / "comparison.md").read_text()
    assert text.count("diverged") == 4 and trained == []
    recipe = write_recipe(tmp_path / "all", learning_rates=[0.1])
    plant(modules, recipe, lambda phase, rate: nan)
    with pytest.raises(ValueError, match=r"'Ours \(fixed\)' has no learning rate.*\[0\.1\].*list lower ones"):
        modules["compare"].main([recipe])


@pytest.mark.slow
def test_a_run_that_diverges_is_stored(modules, tmp_path):
    recipe = write_recipe(tmp_path / "it", learning_rates=[1e30], seeds=[0])
    plan, common = modules["hyperset_lab.comparison.plan"], modules["hyperset_lab.arguments"]
    (arguments,) = common.parse_arguments((plan.ComparisonArguments,), [recipe])
    comparison = plan.Comparison(arguments, BASE)
    (tmp_path / "build").mkdir()
    comparison.build(tmp_path / "build")
    run, printed = comparison.run("T", "validation", 1e30, 0), []
    (metrics,) = modules["hyperset_lab.comparison.runs"].finish([run], 1, printed.append)
    assert re.match(r"The (loss|gradient) of step \d is (nan|inf)", metrics["diverged"])
    assert run.stored_metrics() == metrics and printed[-1].endswith("seed 0: diverged")


@pytest.mark.slow
def test_validation_images_are_training_images_alone(modules, monkeypatch):
    """Images of the split to evaluate on, which cannot even be read here, are none of theirs."""
    image_data = modules["hyperset_lab.images.data"]
    data = image_data.digits()
    poisoned = Dataset.from_dict({"image": [None], "label": [3]}, features=data["train"].features)
    monkeypatch.setattr(image_data, "digits", lambda: DatasetDict({"train": data["train"], "test": poisoned}))
    arguments = image_data.ImageDataArguments(dataset_name="digits", hold_out_validation=True, train_val_split=0.2)
    parts = [image_data.load_images(arguments, seed, {}) for seed in (0, 0, 1)]

    def pixels(split):
        images = map(modules["hyperset_lab.images.pixels"].read_image, split["image"])
        return [image.tobytes() + bytes([label]) for image, label in zip(images, split["label"], strict=True)]

    everything = sorted(pixels(data["train"]))
    for part in parts:
        assert len(part["eval"]) == 288 and len(part["train"]) == 1437 - 288
        assert sorted(pixels(part["train"]) + pixels(part["eval"])) == everything
    assert pixels(parts[0]["eval"]) == pixels(parts[1]["eval"]) != pixels(parts[2]["eval"])
    # Without a split of its own to evaluate on, other seeds would evaluate on what chose the rate.
    for kind in ("train", "validation", "test"):
        monkeypatch.setattr(image_data, "digits", lambda kind=kind: DatasetDict({kind: data["test"]}))
        with pytest.raises(ValueError, match="hold_out_validation"):
            image_data.load_images(arguments, 0, {})


@pytest.mark.slow
def test_time_alone_is_measured_again(copied, finished, modules, trained):
    recipe, out = copied
    stored = json.loads((out / "comparison.json").read_text())
    changed = copy.deepcopy(stored)
    changed["timing"] = {}
    (out / "comparison.json").write_text(json.dumps(changed))
    shutil.rmtree(out / "runs")
    result = modules["compare"].main([recipe, "--time_only", "--timing_turns", "2"])
    assert trained == [] and result["timing"]["num_turns"] == 2
    assert without_timing(json.loads((out / "comparison.json").read_text())) == without_timing(stored)
    shutil.rmtree(out)
    with pytest.raises(ValueError, match=r"time_only.*comparison\.json"):
        modules["compare"].main([recipe, "--time_only"])


# Base recipes of the other tasks, tiny, and by which measure their models are compared.
SUDOKU = {
    "config_name": "sudoku", "dataset_name": "generated", "min_givens": 75, "max_givens": 78,
    "config_overrides": {"hidden_size": 16, "num_attention_heads": 2, "num_iterations": 2},
}  # fmt: skip
PIXELS = {
    "config_name": "imagenet-small", "dataset_name": "digits",
    "config_overrides": TINY | {"hidden_size": 16},
}  # fmt: skip
TEXTS = {
    "config_name": "yelp-small", "train_file": "train.csv", "validation_file": "test.csv", "train_tokenizer": 261,
    "config_overrides": {"hidden_size": 16, "num_attention_heads": 2, "num_iterations": 2},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "base", "score"),
    [
        ("sudoku", SUDOKU, "board_accuracy"),
        ("masked_images", PIXELS, "loss"),
        ("text", TEXTS, "accuracy"),
        ("text", TEXTS | {"do_regression": True}, "mse"),
    ],
    ids=["sudoku", "masked_images", "text", "numbers"],
)
def test_models_of_any_task_are_compared(modules, tmp_path, monkeypatch, task, base, score):
    """Held-out data choose the rate, of the measure that the task names; the lower error is the better one."""
    monkeypatch.chdir(tmp_path)
    for name in ("train", "test"):
        rows = "".join(f"{'good' if row % 2 else 'bad'} {name} {row},{row % 2}\n" for row in range(40))
        Path(f"{name}.csv").write_text(f"text,label\n{rows}")
    shared = {"max_train_samples": 40, "max_eval_samples": 12, "max_steps": 2, "use_cpu": True, "cache_dir": "cache"}
    Path("base.yaml").write_text(yaml.safe_dump(base | shared | {"per_device_train_batch_size": 8}))
    recipe = RECIPE | {"task": task, "output_dir": "out", "seeds": [0], "selection_seeds": [0, 1]}
    recipe["models"] = {"Ours": {}, "T": {"layer_type": "transformer"}}
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    result = modules["compare"].main(["recipe.yaml"])
    better = min if score in ("loss", "mse") else max
    for row in result["models"].values():
        reached = {rate: found["mean"] for rate, found in row[f"validation_{score}"].items()}
        assert reached[f"{row['learning_rate']:g}"] == better(reached.values()) and row[score]["mean"] is not None
    text = Path("out/comparison.md").read_text()
    assert (f"{score.replace('_', ' ')}, %" in text) == ("accuracy" in score)
    base = dict(base)
    del base["dataset_name" if "dataset_name" in base else "validation_file"]  # nothing is left to evaluate on
    base |= {"train_file": "train.csv"} if task == "text" else {}
    Path("base.yaml").write_text(yaml.safe_dump(base | shared))
    with pytest.raises(ValueError, match=r"'Ours' cannot be trained: .*(`--dataset_name`|`--hold_out_validation`)"):
        modules["compare"].main(["recipe.yaml", "--output_dir", "other"])


def test_a_smaller_budget_chooses_the_rates_alone(modules, tmp_path):
    """The trainings for the table keep theirs, and a comparison with another one is another comparison."""
    plan, common = modules["hyperset_lab.comparison.plan"], modules["hyperset_lab.arguments"]
    plans = []
    for index, budget in enumerate(({}, {"max_train_samples": 50, "num_train_epochs": 0.5})):
        recipe = write_recipe(tmp_path / str(index), selection_flags=budget)
        plans.append(plan.Comparison(common.parse_arguments((plan.ComparisonArguments,), [recipe])[0], BASE))
        plans[-1].build(tmp_path / str(index))
    whole, smaller = plans
    assert whole.settings() != smaller.settings()
    budgets = {
        (index, phase): [
            plans[index].run("T", phase, 0.1, 0).settings[name] for name in ("max_train_samples", "num_train_epochs")
        ]
        for index in (0, 1)
        for phase in ("validation", "test")
    }
    assert budgets[1, "validation"] == [50, 0.5]
    assert budgets[0, "validation"] == budgets[0, "test"] == budgets[1, "test"] == [96, 1]
    recipe = write_recipe(tmp_path / "steps", selection_flags={"num_train_epochs": 0.5}, flags={"max_steps": 9})
    steps = plan.Comparison(common.parse_arguments((plan.ComparisonArguments,), [recipe])[0], BASE)
    steps.build(tmp_path / "steps")
    assert (
        "max_steps" not in steps.run("T", "validation", 0.1, 0).settings
    )  # Trainer would not see the epochs behind it
    assert steps.run("T", "test", 0.1, 0).settings["max_steps"] == 9


def models(**own) -> dict:
    return {"models": RECIPE["models"] | {"bad": own}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rates": []}, "learning_rates"),
        ({"learning_rates": [0.1, 0.1]}, "learning_rates"),
        ({"learning_rates": [-0.1]}, "learning_rates"),
        ({"learning_rates": ["fast"]}, "learning_rates"),
        ({"seeds": []}, "seeds"),
        ({"seeds": ...}, "seeds"),
        ({"selection_seeds": [0, 0]}, "selection_seeds"),
        ({"models": {}}, "models"),
        ({"models": ["T"]}, "models"),
        ({"models": {"T": None}}, "models"),
        ({"reference": "nobody"}, "reference.*nobody"),
        ({"base_recipe": "nowhere.yaml"}, "base_recipe.*nowhere"),
        ({"learning_rate": 0.1}, "learning_rate"),
        ({"num_workers": 0}, "num_workers"),
        ({"timing_turns": 0}, "timing_turns"),
        ({"flags": {"learning_rate": 0.1}}, "flags.*learning_rate"),
        ({"flags": {"no_such_flag": 1}}, "no_such_flag"),
        ({"selection_flags": {"per_device_train_batch_size": 1}}, "selection_flags.*per_device_train_batch_size"),
        ({"selection_flags": {"max_steps": "many"}}, "selection_flags.*max_steps='many'"),
        ({"selection_flags": {"max_steps": -1}}, "selection_flags.*max_steps=-1"),
        ({"selection_flags": {"max_train_samples": 1.5}}, "max_train_samples"),
        ({"selection_flags": "3"}, "selection_flags"),
        ({"flags": {"num_train_epochs": "many"}}, "num_train_epochs"),
        ({"flags": {"train_val_split": 2.0}}, "train_val_split"),
        (models(layer_type="lstm"), "'bad'.*lstm"),
        (models(num_train_epochs=9), "'bad'.*num_train_epochs"),
        (models(config_overrides={"hidden_sise": 8}), "'bad'.*hidden_sise"),
        (models(config_overrides="{"), "config_overrides"),
        (models(config_overrides={"image_size": 9}), "'bad'.*image_size"),
    ],
    ids=str,
)
def test_a_bad_recipe_stops_before_training(modules, trained, tmp_path, capsys, changes, message):
    """With a `ValueError`, or with argparse's message where a value is missing or of another type."""
    with pytest.raises((ValueError, SystemExit)) as caught:
        modules["compare"].main([write_recipe(tmp_path, **changes)])
    said = str(caught.value) if caught.type is ValueError else capsys.readouterr().err.splitlines()[-1]
    assert re.search(message, said), said
    assert trained == [] and not (tmp_path / "out").exists()


def test_the_digits_recipe_is_sound(modules):
    """Its models build, ours has fewer parameters than the Transformer, and all have the same width and iterations."""
    plan = modules["hyperset_lab.comparison.plan"]
    path = SCRIPTS / "recipes" / "compare_digits.yaml"
    (arguments,) = modules["hyperset_lab.arguments"].parse_arguments((plan.ComparisonArguments,), [str(path)])
    comparison = plan.Comparison(arguments, yaml.safe_load((path.parent / arguments.base_recipe).read_text()))
    assert len(arguments.seeds) == 3 and arguments.reference == "Transformer"
    assert {own.get("layer_type", "hyperset") for own in arguments.own_flags.values()} >= {
        "hyperset",
        "transformer",
        "crate",
        "energy_transformer",
    }
    parameters = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, trainer in comparison.build(Path(folder)).items():
            config = trainer.model.config
            assert (config.hidden_size, config.num_iterations) == (96, 8)
            parameters[name] = trainer.model.num_parameters()
    assert parameters["Hyper-SET"] == 102_322 < parameters["Transformer"] == 116_842


@pytest.mark.slow
def test_two_workers_train_what_one_does(finished, modules, tmp_path):
    recipe = write_recipe(tmp_path / "workers", num_workers=2)
    result = modules["compare"].main([recipe])
    for name, row in result["models"].items():
        assert row["runs"] == finished[1]["models"][name]["runs"]
        assert row["accuracy"]["mean"] == pytest.approx(finished[1]["models"][name]["accuracy"]["mean"], abs=0.05)

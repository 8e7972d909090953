# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""A recipe is where a command starts: any flag behind it wins, also one that contradicts a key of the recipe."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hyperset_lab.arguments import parse_arguments
from hyperset_lab.comparison.plan import Comparison, ComparisonArguments
from hyperset_lab.masked_images import vq_training
from hyperset_lab.recipes import NEEDED_BY, REPLACES, behind, read_flags, read_recipe, to_words
from hyperset_lab.tasks import NAMES, task_named


RECIPES = Path(__file__).parents[2] / "scripts" / "recipes"
TASKS = {name: task_named(name) for name in NAMES} | {"vq": vq_training.TASK}
# A recipe of each task, trained from scratch.
SCRATCH = {
    "images": "cifar10", "text": "reviews", "sudoku": "sudoku", "masked_images": "mim_imagenet100", "vq": "vq_digits",
    "language": "shakespeare_char", "masked_language": "shakespeare_mlm",
}  # fmt: skip


def parse(task: str, *flags: str, recipe: str | None = None) -> dict:
    """What a command says: all of its arguments by name."""
    path = RECIPES / f"{recipe or SCRATCH[task]}.yaml"
    parsed = parse_arguments(TASKS[task].arguments, [str(path), *flags, "--use_cpu"], "script")
    return {name: value for item in parsed for name, value in vars(item).items()}


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """The files that recipes and flags name, in the present folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv"):
        Path(name).touch()
    Path("pictures").mkdir()
    (tmp_path / "data" / "reviews").mkdir(parents=True)
    monkeypatch.setattr(Path, "is_file", lambda path: path.exists() or path.parent.name in ("reviews", "shakespeare"))


@pytest.mark.parametrize("task", NAMES)
def test_a_saved_model_with_the_data_and_the_schedule_of_a_recipe(task):
    recipe = read_recipe(RECIPES / f"{SCRATCH[task]}.yaml")
    got = parse(task, "--model_name_or_path", "saved", "--do_train", "false")
    assert got["model_name_or_path"] == "saved"
    gone = ("config_name", "config_overrides", "layer_type", "train_tokenizer", "tokenizer_name", "crop_pct")
    assert all(got.get(flag) is None for flag in gone)
    kept = recipe.keys() - {*gone, "do_train"}
    for flag in kept & {"dataset_name", "train_file", "learning_rate", "num_train_epochs", "seed", "warmup_steps"}:
        assert got[flag] == recipe[flag]
    # The other way round, a config in the place of a checkpoint.
    with_config = behind({"model_name_or_path": "saved", "model_revision": "v1", "seed": 3}, {"config_name": "sudoku"})
    assert with_config == {"config_name": "sudoku", "seed": 3}
    # What is said of a checkpoint stays where another takes its place.
    overrides = {"model_name_or_path": "saved", "config_overrides": {"embedding_dropout": 0.1}}
    assert behind(overrides, {"model_name_or_path": "other"})["config_overrides"] == {"embedding_dropout": 0.1}


@pytest.mark.parametrize(
    ("task", "flags", "said"),
    [
        ("sudoku", ["--train_file", "a.csv"], {"train_file": "a.csv", "min_givens": None, "max_givens": None}),
        ("sudoku", ["--dataset_name", "", "--train_file", "a.csv"], {"train_file": "a.csv"}),
        ("images", ["--train_dir", "pictures"], {"train_dir": "pictures", "image_column_name": "image"}),
        ("masked_images", ["--train_dir", "pictures"], {"train_dir": "pictures"}),
        ("vq", ["--train_dir", "pictures"], {"train_dir": "pictures"}),
        ("text", ["--dataset_name", "imdb"], {"dataset_name": "imdb", "train_file": None, "validation_file": None}),
        ("images", ["--dataset_name", "digits"], {"dataset_name": "digits", "image_column_name": "image"}),
        ("images", ["--dataset_name", "uoft-cs/cifar10"], {"image_column_name": "img"}),
        ("images", ["--auto_augment", ""], {"auto_augment": None, "random_flip": True}),
        ("images", ["--auto_augment=none", "--random_crop", "none"], {"auto_augment": None, "random_crop": None}),
        ("images", ["--lr_scheduler_type", "linear"], {"lr_scheduler_type": "linear", "lr_scheduler_kwargs": None}),
        ("images", ["--do_eval", "false"], {"do_eval": False, "eval_strategy": "no"}),
        ("sudoku", ["--do_eval", "false"], {"do_eval": False, "eval_num_iterations": None}),
        ("sudoku", ["--eval_num_iterations", ""], {"eval_num_iterations": None, "do_eval": True}),
        ("text", ["--tokenizer_name", "bert"], {"tokenizer_name": "bert", "train_tokenizer": None}),
        ("text", ["--layer_type", "crate"], {"layer_type": "crate", "config_name": "yelp-small"}),
    ],
    ids=str,
)  # fmt: skip
def test_a_flag_wins_over_what_contradicts_it(task, flags, said):
    got = parse(task, *flags)
    assert {name: got[name] for name in said} == said
    if "train_dir" in said or said.get("train_file"):
        assert got["dataset_name"] is None


def test_contradictions_within_a_command_are_errors():
    for flags, message in (
        (["--model_name_or_path", "saved", "--config_name", "sudoku"], "exactly one of"),
        (["--train_file", "a.csv", "--dataset_name", "generated"], "Pass either"),
        (["--dataset_name", ""], "Pass either"),
        (["--config_name", ""], "exactly one of"),
    ):
        with pytest.raises(ValueError, match=message):
            parse("sudoku", *flags)


def test_models_of_a_comparison_win_over_the_base_recipe():
    """And so do the flags that all models share; the comparison's own recipe too is a recipe."""
    models = '{"A": {}, "B": {"layer_type": "crate"}, "C": {"model_name_or_path": "saved"}}'
    shared = {"train_file": "a.csv", "config_overrides": {"hidden_size": 32}}
    arguments = ComparisonArguments(
        "sudoku.yaml", models, "A", [0.1], [0], "out", flags=json.dumps(shared), task="sudoku"
    )
    built = Comparison(arguments, read_recipe(RECIPES / "sudoku.yaml")).models
    assert all("dataset_name" not in settings and settings["train_file"] == "a.csv" for settings in built.values())
    assert built["B"]["config_name"] == "sudoku" and built["B"]["config_overrides"] == {"hidden_size": 32}
    assert not built["C"].keys() & {"config_name", "config_overrides"}
    Path("base.yaml").write_text(yaml.safe_dump({
        "base_recipe": "x", "models": {"A": {}}, "reference": "A", "learning_rates": [0.1], "seeds": [0],
        "selection_seeds": [3], "output_dir": "out", "task": "text",
    }))  # fmt: skip
    (parsed,) = parse_arguments((ComparisonArguments,), ["base.yaml", "--selection_seeds", "4", "--task", "sudoku"])
    assert (parsed.selection_seeds, parsed.task) == ([4], "sudoku")
    with pytest.raises(ValueError, match=r"`task` must be one of images, text, .*, masked_language, got 'chess'"):
        parse_arguments((ComparisonArguments,), ["base.yaml", "--task", "chess"])


OPTIONAL = sorted({
    item.name for task in TASKS.values() for cls in task.arguments for item in dataclasses.fields(cls)
    if item.init and item.default is None
})  # fmt: skip
FLAGS = sorted({*REPLACES, *NEEDED_BY, *OPTIONAL, "seed"} - {"config_overrides"})
SETTINGS = st.dictionaries(st.sampled_from(FLAGS), st.sampled_from(["x", "y", "false", "3"]))


@given(recipe=SETTINGS, flags=SETTINGS)
def test_the_last_word_is_the_command_line(recipe, flags):
    """Every flag has its value, nothing is there that neither says, and what is dropped has a flag that drops it."""
    merged = behind(recipe, flags)
    assert flags.items() <= merged.items() <= (recipe | flags).items()
    assert behind(merged, flags) == merged and behind(recipe, {}) == recipe
    for name in recipe.keys() - merged.keys():
        assert any(name in part for part in (*REPLACES.values(), *NEEDED_BY.values())) or name in (
            "layer_type", "min_givens", "max_givens", "config_overrides",
        )  # fmt: skip


@given(recipe=SETTINGS, flag=st.sampled_from(FLAGS))
def test_empty_means_not_given(recipe, flag):
    merged = behind(recipe, {flag: ""})
    assert to_words(merged, [*FLAGS]) == to_words(
        {name: value for name, value in merged.items() if name != flag}, [*FLAGS]
    )
    assert merged.keys() - {flag} <= recipe.keys()


@given(flags=st.dictionaries(st.sampled_from(FLAGS), st.lists(st.sampled_from(["x", "-1", "a b", "é"]), min_size=1)))
def test_flags_are_read_as_they_are_written(flags):
    words = to_words(flags, ())
    loose, read = read_flags(words, FLAGS)
    assert loose == [] and read == {name: values if len(values) > 1 else values[0] for name, values in flags.items()}

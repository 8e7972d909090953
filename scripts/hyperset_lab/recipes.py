# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Recipes are files of flags. A flag behind a recipe wins: keys of the recipe that contradict it are dropped."""

import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml


FILES = ("train_dir", "validation_dir", "train_file", "validation_file", "test_file")
COLUMNS = (
    "image_column_name",
    "label_column_name",
    "text_column_name",
    "text_column_names",
    "puzzle_column_name",
    "solution_column_name",
)
OF_DATASET = ("dataset_config_name", "label_delimiter", *COLUMNS)
# Flags that exclude each other. A flag behind a recipe drops these keys of the recipe.
REPLACES: dict[str, tuple[str, ...]] = {
    "model_name_or_path": (
        *("config_name", "train_tokenizer", "model_revision"),
        *("crop_pct", "image_mean", "image_std"),
    ),
    "config_name": ("model_name_or_path",),
    "tokenizer_name": ("train_tokenizer",),
    "train_tokenizer": ("tokenizer_name",),
    "dataset_name": (*FILES, *OF_DATASET),
    **dict.fromkeys(FILES, ("dataset_name",)),
    "streaming": ("hold_out_validation", "random_windows", "check_images", "cache_images"),
    "hold_out_validation": ("streaming",),
    "random_windows": ("streaming",),
    "num_train_epochs": ("max_steps",),
    "lr_scheduler_type": ("lr_scheduler_kwargs",),
    "optim": ("optim_args",),
    "bf16": ("fp16",),
    "fp16": ("bf16",),
}
# A flag that is switched off ("false", "no") drops these, which need it.
NEEDED_BY: dict[str, tuple[str, ...]] = {
    "do_train": ("resume_from_checkpoint",),
    "do_eval": ("eval_strategy", "eval_num_iterations", "log_energies", "load_best_model_at_end"),
    "eval_strategy": ("load_best_model_at_end",),
    "save_strategy": ("load_best_model_at_end",),
}
# A key that is dropped takes these keys with it.
BELONGS_TO: dict[str, tuple[str, ...]] = {
    "config_name": ("config_overrides", "layer_type", "tokenizer_name"),
    "model_name_or_path": ("config_overrides", "model_revision", "tokenizer_name"),
    "dataset_name": (*OF_DATASET, "min_givens", "max_givens"),
}
OFF = ("false", "no", "n", "f", "0")


def is_recipe(path: str) -> bool:
    """Whether an argument of a command is the name of a recipe."""
    return path.endswith((".yaml", ".yml", ".json"))


def read_recipe(path: str | os.PathLike) -> dict[str, Any]:
    """What a recipe file says."""
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"The recipe {path} cannot be read: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"The recipe {path} must be a mapping from flags to values, got {type(recipe).__name__}.")
    return recipe


def is_empty(value: Any) -> bool:
    """Whether a value stands for "not given"."""
    return value is None or value in ("", [""])


def behind(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """
    A recipe with the flags `given` behind it. They win: what they contradict is dropped. `config_overrides` of both add up.
    """
    dropped: set[str] = set()
    for flag, value in given.items():
        if is_empty(value):
            dropped.add(flag)
        elif str(value).lower() in OFF:
            dropped.update(NEEDED_BY.get(flag, ()))
        elif str(value) != str(recipe.get(flag)):
            dropped.update(REPLACES.get(flag, ()))
    dropped |= {part for key in dropped & recipe.keys() for part in BELONGS_TO.get(key, ())}
    kept = {key: value for key, value in recipe.items() if key not in dropped}
    merged = {**kept, **given}
    overrides = [part["config_overrides"] for part in (kept, given) if not is_empty(part.get("config_overrides"))]
    if overrides:
        merged["config_overrides"] = {key: value for part in overrides for key, value in parse_overrides(part).items()}
    return merged


def read_flags(arguments: Iterable[str], known: Collection[str]) -> tuple[list[str], dict[str, Any]]:
    """
    The words of a command line before the first flag, and the flags by name: each has a string, a list of strings, or `True`
    if it has no value. The last one of a name wins, but `--config_overrides` add up. A flag may be written as the start of a
    name in `known`, if it is the start of no other.
    """
    loose: list[str] = []
    flags: list[tuple[str, list[str]]] = []
    for word in arguments:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            name = name.replace("-", "_")
            longer = [other for other in known if other.startswith(name)]
            flags.append((longer[0] if name not in known and len(longer) == 1 else name, [value] if equals else []))
        elif flags:
            flags[-1][1].append(word)
        else:
            loose.append(word)
    given: dict[str, Any] = {}
    for name, values in flags:
        one: Any = values if len(values) > 1 else values[0] if values else True
        given = behind(given, {name: one}) if name == "config_overrides" else given | {name: one}
    return loose, given


def to_words(flags: Mapping[str, Any], optional: Collection[str]) -> list[str]:
    """Flags as the words of a command line. Those of `optional` that are empty are not given."""
    words = []
    for name, value in flags.items():
        if value is None or (name in optional and is_empty(value)):
            continue
        if isinstance(value, list) and len(value) != 1:
            words += [f"--{name}", *map(str, value)]
        else:
            value = value[0] if isinstance(value, list) else value
            words.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
    return words


def parse_object(text: str, flag: str) -> dict[str, Any]:
    """The JSON object that `flag` is given."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"`--{flag}` is no JSON: {error} in {text!r}.") from error
    if not isinstance(value, dict):
        raise ValueError(f"`--{flag}` must be a JSON object, got {text}.")
    return value


def parse_overrides(value: Any) -> dict[str, Any]:
    """What `config_overrides` say, in JSON or in a recipe."""
    return value if isinstance(value, dict) else parse_object(str(value), "config_overrides")

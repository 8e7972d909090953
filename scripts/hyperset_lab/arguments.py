# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the training scripts are told: flags, or a recipe file with flags behind it."""

import dataclasses
import json
import os
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from modeling_hyperset.layers_hyperset import LAYERS
from modeling_hyperset.presets import PRESETS
from transformers import HfArgumentParser


@dataclass
class ModelArguments:
    """Which model to train: a checkpoint to fine-tune, or a config to train from scratch."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to fine-tune: a folder or a name on the Hub."}
    )
    config_name: str | None = field(
        default=None,
        metadata={
            "help": f"Config to train from scratch: a folder, a name on the Hub, or one of {', '.join(PRESETS)}."
        },
    )
    model_type: str | None = field(
        default=None,
        metadata={
            "help": f"Layer to iterate with `--config_name`: {', '.join(LAYERS)}. The config's own if not given."
        },
    )
    extension: str | None = field(
        default=None,
        metadata={"help": "Python file to run first, such as one that registers an energy of your own."},
    )
    config_overrides: str | None = field(
        default=None, metadata={"help": "Fields of the config to set otherwise, as JSON: '{\"hidden_size\": 128}'."}
    )
    cache_dir: str | None = field(default=None, metadata={"help": "Where to keep what comes from the Hub."})
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the checkpoint."})
    token: str | None = field(default=None, metadata={"help": "Token for the Hub, if not the one logged in with."})
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Whether to run code that the checkpoint brings."}
    )
    ignore_mismatched_sizes: bool = field(
        default=False,
        metadata={"help": "Whether to start a head afresh where its shape differs from the checkpoint's."},
    )

    def __post_init__(self):
        if (self.model_name_or_path is None) == (self.config_name is None):
            raise ValueError(
                "Pass exactly one of `--model_name_or_path` (to fine-tune) and `--config_name` (to train from scratch), "
                f"got {self.model_name_or_path!r} and {self.config_name!r}."
            )
        if self.model_type is not None and (self.config_name is None or self.model_type not in LAYERS):
            raise ValueError(
                f"`--model_type` must be one of {', '.join(LAYERS)} and goes with `--config_name`, got {self.model_type!r}."
            )
        if self.extension is not None:
            if not Path(self.extension).is_file():
                raise ValueError(f"`--extension` must be a Python file, got {self.extension!r}.")
            runpy.run_path(self.extension)

    @property
    def hub_options(self) -> dict[str, Any]:
        """What every `from_pretrained` of this run takes."""
        return {
            "cache_dir": self.cache_dir,
            "revision": self.model_revision,
            "token": self.token,
            "trust_remote_code": self.trust_remote_code,
        }


def parse_arguments(
    dataclass_types: Sequence[type], arguments: Sequence[str] | None = None, script: str | None = None
) -> tuple:
    """
    Parse flags, or a recipe: `script.py recipe.yaml [--flag value …]`, where flags win over the recipe and
    `--config_overrides` adds to its overrides. A recipe is a YAML or JSON mapping from names of flags to values. Each result
    has the words of the command, without tokens of the Hub, as `command`, for the model card.

    Raises:
        `ValueError`: a flag or a key of the recipe that does not exist.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = [script or script_name(sys._getframe(1).f_code.co_filename), *map(str, arguments)]
    if arguments and arguments[0].endswith((".yaml", ".yml", ".json")):
        arguments = merge_overrides(recipe_flags(arguments[0], dataclass_types) + arguments[1:])
    parsed = HfArgumentParser(dataclass_types).parse_args_into_dataclasses(arguments, look_for_args_file=False)
    tokens = {getattr(item, name, None) for item in parsed for name in ("token", "hub_token")} - {None, ""}
    for token in tokens:
        command = [word.replace(token, "…") for word in command]
    for item in parsed:
        item.command = command
    return parsed


def script_name(file: str) -> str:
    """A script as a command in the project's folder names it."""
    path, root = Path(file).resolve(), Path(__file__).resolve().parents[2]
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def read_recipe(path: str | os.PathLike) -> dict[str, Any]:
    """What a recipe file says."""
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"The recipe {path} cannot be read: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"The recipe {path} must be a mapping from flags to values, got {type(recipe).__name__}.")
    return recipe


def recipe_flags(path: str, dataclass_types: Sequence[type]) -> list[str]:
    """The flags that a recipe file stands for."""
    recipe = read_recipe(path)
    known = {item.name for cls in dataclass_types for item in dataclasses.fields(cls) if item.init}
    if unknown := recipe.keys() - known:
        raise ValueError(f"The recipe {path} sets flags that do not exist: {', '.join(sorted(map(str, unknown)))}.")
    flags = []
    for name, value in recipe.items():
        if value is None:
            continue  # the flag's default
        if isinstance(value, dict):
            value = json.dumps(value)
        values = value if isinstance(value, list) else [value]
        flags += [f"--{name}", *map(str, values)]
    return flags


def merge_overrides(arguments: list[str]) -> list[str]:
    """Make several `--config_overrides`, the recipe's and the command line's, one; the last to set a field wins."""
    rest, overrides = [], []
    pending = iter(arguments)
    for argument in pending:
        flag, _, value = argument.partition("=")
        if flag == "--config_overrides":
            overrides.append(value or next(pending, ""))
        else:
            rest.append(argument)
    parsed = [parse_overrides(text) for text in overrides]
    merged = {name: value for override in parsed for name, value in override.items()}
    return [*rest, "--config_overrides", json.dumps(merged)] if overrides else rest


def parse_object(text: str, flag: str) -> dict[str, Any]:
    """The JSON object that `flag` is given."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"`--{flag}` is no JSON: {error} in {text!r}.") from error
    if not isinstance(value, dict):
        raise ValueError(f"`--{flag}` must be a JSON object, got {text}.")
    return value


def parse_overrides(text: str) -> dict[str, Any]:
    """What `--config_overrides` says."""
    return parse_object(text, "config_overrides")

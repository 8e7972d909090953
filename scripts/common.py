# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the training scripts share: flags or a recipe file, configs by preset, and files that are never half-written."""

import contextlib
import dataclasses
import json
import os
import runpy
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from transformers import AutoConfig, HfArgumentParser, PreTrainedConfig, PreTrainedModel

from modeling_hyperset import HyperSETConfig
from modeling_hyperset.baselines_hyperset import LAYERS
from modeling_hyperset.files import write_json, write_whole  # noqa: F401 (other scripts have them from here)
from modeling_hyperset.presets import PRESETS, preset_config


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


def parse_arguments(dataclass_types: Sequence[type], arguments: Sequence[str] | None = None) -> tuple:
    """
    Parse flags, or a recipe: `script.py recipe.yaml [--flag value …]`, where flags win over the recipe and
    `--config_overrides` adds to its overrides. A recipe is a YAML or JSON mapping from names of flags to values. Each result
    has the words of the command, without tokens of the Hub, as `command`, for the model card.

    Raises:
        `ValueError`: a flag or a key of the recipe that does not exist.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = [script_name(sys._getframe(1).f_code.co_filename), *map(str, arguments)]
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
    path, root = Path(file).resolve(), Path(__file__).resolve().parents[1]
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


def load_config(arguments: ModelArguments, **fields: Any) -> PreTrainedConfig:
    """
    The config of the checkpoint to fine-tune, or the one to train from scratch, with the overrides set, and with `fields`
    (the labels) from the data.

    Raises:
        `ValueError`: overrides that are no JSON object or that the config does not have.
    """
    overrides = parse_overrides(arguments.config_overrides or "{}")
    if taken := overrides.keys() & ({"id2label", "label2id", "num_labels"} | fields.keys()):
        raise ValueError(f"`--config_overrides` sets what comes from the data: {', '.join(sorted(taken))}.")
    if arguments.model_type is not None:
        overrides["layer_type"] = arguments.model_type
    if arguments.config_name in PRESETS:
        check_fields(overrides, preset_config(arguments.config_name))
        preset = {name: value for name, value in PRESETS[arguments.config_name].config.items() if name != "num_labels"}
        return HyperSETConfig(**(preset | overrides | fields))
    name = arguments.config_name or arguments.model_name_or_path
    try:
        config = AutoConfig.from_pretrained(name, **arguments.hub_options)
    except OSError as error:
        flag, presets = "model_name_or_path", ""
        if arguments.config_name is not None:
            flag, presets = "config_name", f"none of the presets ({', '.join(PRESETS)}), "
        raise ValueError(
            f"`--{flag}` {name!r} is {presets}no folder with a config, and the Hub does not give it: {error}"
        ) from error
    check_fields(overrides, config)
    values = {field: value for field, value in config.to_dict().items() if field not in ("id2label", "label2id")}
    if isinstance(config, HyperSETConfig) and overrides.keys() & {"hidden_size", "layer_type"}:
        # What the config derived from its layer and width is derived anew.
        derived = HyperSETConfig(hidden_size=config.hidden_size, layer_type=config.layer_type, num_attention_heads=1)
        for name in ("intermediate_size", "patch_embedding_norm"):
            if values[name] == getattr(derived, name):
                values.pop(name)
    return type(config).from_dict(values | overrides | fields)


def load_model(auto_class: type, arguments: ModelArguments, config: PreTrainedConfig) -> PreTrainedModel:
    """
    The checkpoint's model with `config`, or a new one.

    Args:
        auto_class (`type`): The Auto class of the model's head.

    Raises:
        `ValueError`: there are no weights, or weights whose shape is not that of the config. With `--ignore_mismatched_sizes`
            those of a head start afresh; a body that did would be no fine-tuning.
    """
    if arguments.model_name_or_path is None:
        return auto_class.from_config(config, trust_remote_code=arguments.trust_remote_code)
    checkpoint = f"`--model_name_or_path` {arguments.model_name_or_path!r}"
    options = {"config": config, "ignore_mismatched_sizes": True, "output_loading_info": True}
    try:
        model, info = auto_class.from_pretrained(arguments.model_name_or_path, **options, **arguments.hub_options)
    except OSError as error:
        raise ValueError(f"{checkpoint} has no weights to start from: {error}") from error
    body = f"{model.base_model_prefix}."
    for name, theirs, ours in sorted(info["mismatched_keys"], key=lambda key: (not key[0].startswith(body), key[0])):
        shapes = f"{name} is of shape {tuple(theirs)} there, but {tuple(ours)} in the model to train"
        if name.startswith(body):
            raise ValueError(f"{checkpoint} does not fit `--config_overrides` or the data: {shapes}.")
        if not arguments.ignore_mismatched_sizes:
            raise ValueError(
                f"{checkpoint} has another head: {shapes}. Pass `--ignore_mismatched_sizes` to start the head afresh."
            )
    return model


def check_class_count(arguments: ModelArguments, head: str, num_labels: int) -> None:
    """
    Before a checkpoint is loaded: the data have as many classes as its head, or it may start a head afresh.

    Args:
        head (`str`): What the names of classes with such a head end in, such as `"ImageClassification"`.
        num_labels (`int`): The classes of the data.

    Raises:
        `ValueError`: they differ, without `--ignore_mismatched_sizes`.
    """
    if arguments.model_name_or_path is None or arguments.ignore_mismatched_sizes:
        return
    config = AutoConfig.from_pretrained(arguments.model_name_or_path, **arguments.hub_options)
    has_head = any(name.endswith(head) for name in config.architectures or ())
    if has_head and config.num_labels != num_labels:
        raise ValueError(
            f"{arguments.model_name_or_path!r} has a head for {config.num_labels} classes, the data have {num_labels}: pass "
            "`--ignore_mismatched_sizes` to start the head afresh."
        )


def check_fields(overrides: dict, config: PreTrainedConfig) -> None:
    """Refuse overrides of fields that `config` does not have."""
    if unknown := overrides.keys() - config.to_dict().keys():
        raise ValueError(
            f"`--config_overrides` sets fields that the config does not have: {', '.join(sorted(unknown))}."
        )


def check_login(token: str | None = None) -> None:
    """
    Raises:
        `ValueError`: there is no token to push to the Hub with, or the Hub does not know it.
    """
    try:
        HfApi().whoami(token=token)
    except (LocalTokenNotFoundError, HfHubHTTPError) as error:
        raise ValueError(f"Pushing to the Hub needs a login (`hf auth login`, or `HF_TOKEN`): {error}") from error


@contextlib.contextmanager
def pushing(folder: str | os.PathLike, repository: str) -> Iterator[None]:
    """
    Within it, the model in `folder` is uploaded.

    Raises:
        `RuntimeError`: the Hub did not take it. It says where the model lies and how to push it later.
    """
    try:
        yield
    except Exception as error:
        later = shlex.join(
            ["hf", "upload", repository, str(folder), ".", "--exclude", "checkpoint-*", "--exclude", "_*"]
        )
        raise RuntimeError(
            f"The model is saved in {str(folder)!r}, but the Hub did not take it: {error}\nTo push it later: {later}"
        ) from error

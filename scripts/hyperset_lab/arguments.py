# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Which model a training script trains, and how its command line is read."""

import dataclasses
import logging
import os
import runpy
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from hyperset_lab.recipes import behind, is_recipe, read_flags, read_recipe, to_words
from modeling_hyperset.layers_hyperset import LAYERS
from modeling_hyperset.presets import PRESETS
from transformers import HfArgumentParser


logger = logging.getLogger(__name__)


def option(default: Any, help: str) -> Any:
    """The field of a dataclass of arguments that `--help` explains with `help`."""
    return field(default=default, metadata={"help": help})


def check_least(arguments: Any, least: int, *flags: str) -> None:
    """Raise a `ValueError` for one of the `flags` that is given and less than `least`."""
    for flag in flags:
        value = getattr(arguments, flag)
        if value is not None and value < least:
            bound = f"be at least {least}" if least else "not be negative"
            raise ValueError(f"`--{flag}` must {bound}, got {value}.")


def check_choice(arguments: Any, flag: str, choices: Collection[str]) -> None:
    """Raise a `ValueError` for a `flag` that is given and is not one of the `choices`."""
    if getattr(arguments, flag) not in (None, *choices):
        raise ValueError(f"`--{flag}` must be one of {', '.join(choices)}, got {getattr(arguments, flag)!r}.")


@dataclass
class ModelArguments:
    """Which model to train: a checkpoint to fine-tune, or a config to train from scratch."""

    model_name_or_path: str | None = option(None, "Checkpoint to fine-tune: a folder or a name on the Hub.")
    config_name: str | None = option(
        None, f"Config to train from scratch: a folder, a name on the Hub, or one of {', '.join(PRESETS)}."
    )
    layer_type: str | None = option(
        None, f"Layer to iterate with `--config_name`: {', '.join(LAYERS)}. The config's own if not given."
    )
    extension: str | None = option(None, "Python file to run first, for example to register your own energy.")
    config_overrides: str | None = option(None, "Fields of the config to change, as JSON: '{\"hidden_size\": 128}'.")
    cache_dir: str | None = option(None, "Where to keep what comes from the Hub.")
    model_revision: str = option("main", "Branch, tag or commit of the checkpoint.")
    token: str | None = option(None, "Token for the Hub, if not the one logged in with.")
    trust_remote_code: bool = option(False, "Whether to run code that the checkpoint brings.")
    ignore_mismatched_sizes: bool = option(
        False, "Start with a new head if the checkpoint's has another shape or other classes."
    )

    train_adapters_only: bool = option(
        False, "Train only the depth-wise adapters and the head of a checkpoint (`lora_rank` of the config above 0)."
    )

    def __post_init__(self):
        if self.train_adapters_only and self.model_name_or_path is None:
            raise ValueError(
                "`--train_adapters_only` keeps the base as it is, so it needs a trained one: pass `--model_name_or_path`."
            )
        if (self.model_name_or_path is None) == (self.config_name is None):
            raise ValueError(
                "Pass exactly one of `--model_name_or_path` (to fine-tune) and `--config_name` (to train from scratch), "
                f"got {self.model_name_or_path!r} and {self.config_name!r}."
            )
        if self.layer_type is not None and (self.config_name is None or self.layer_type not in LAYERS):
            raise ValueError(
                f"`--layer_type` must be one of {', '.join(LAYERS)} and needs `--config_name`, got {self.layer_type!r}."
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
) -> tuple[Any, ...]:
    """
    Parse flags, or a recipe: `script.py recipe.yaml [--flag value …]`. The flags win over the recipe, as
    [`hyperset_lab.recipes.behind`] says. A recipe is a YAML or JSON mapping from names of flags to values. An empty value of a
    flag without a default means that it is not given. Each result has the words of the command, without tokens of the Hub, as
    `command`, for the model card.

    Raises:
        `ValueError`: a flag or a key of the recipe that does not exist.
    """
    use_a_cache_that_can_be_written()
    words = list(map(str, sys.argv[1:] if arguments is None else arguments))
    command = [script or script_name(sys._getframe(1).f_code.co_filename), *words]
    fields = {item.name: item for cls in dataclass_types for item in dataclasses.fields(cls) if item.init}
    optional = {name for name, item in fields.items() if item.default is None}
    recipe = {}
    if words and is_recipe(words[0]):
        path = words.pop(0)
        recipe = read_recipe(path)
        if unknown := recipe.keys() - fields.keys():
            raise ValueError(
                f"The recipe {path} sets flags that do not exist: {', '.join(sorted(map(str, unknown)))}."
            )
    loose, given = read_flags(words, fields)
    words = [*loose, *to_words(behind(recipe, given), optional)]
    parsed = HfArgumentParser(cast(Any, dataclass_types)).parse_args_into_dataclasses(words, look_for_args_file=False)
    for token in (getattr(item, name, None) for item in parsed for name in ("token", "hub_token")):
        if token:
            command = [word.replace(token, "…") for word in command]
    for item in parsed:
        item.command = command
    return parsed


def refusal(folder: Path) -> OSError | None:
    """Why no file can be written in `folder`, if so."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error


def use_a_cache_that_can_be_written() -> None:
    """If a cache cannot be written, as on many clusters, let this run keep its data and kernels in a temporary folder."""
    from datasets import config

    user = os.getuid() if hasattr(os, "getuid") else "user"
    other = Path(tempfile.gettempdir()) / f"hyperset-{user}"
    cache = Path(config.HF_DATASETS_CACHE)
    if error := refusal(cache):
        logger.warning(
            "The cache %s cannot be written (%s): data are kept in %s. `--cache_dir` or HF_HOME names another folder.",
            cache, error, other,
        )  # fmt: skip
        config.HF_DATASETS_CACHE = other / "datasets"
        config.DOWNLOADED_DATASETS_PATH = config.HF_DATASETS_CACHE / config.DOWNLOADED_DATASETS_DIR
        config.EXTRACTED_DATASETS_PATH = config.DOWNLOADED_DATASETS_PATH / config.EXTRACTED_DATASETS_DIR
    if torch.cuda.is_available() and "TRITON_CACHE_DIR" not in os.environ and refusal(Path.home() / ".triton"):
        os.environ["TRITON_CACHE_DIR"] = str(other / "triton")


def script_name(file: str) -> str:
    """A script as a command in the project's folder names it."""
    path, root = Path(file).resolve(), Path(__file__).resolve().parents[2]
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name

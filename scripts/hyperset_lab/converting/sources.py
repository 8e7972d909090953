# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The options of a checkpoint from flags, from `name=value` as Hydra takes it, and from files."""

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from hyperset_lab.converting.files import File, beside, find_file
from modeling_hyperset.conversion import Source


# Where the program, by Hydra, writes the options of a run.
CONFIGS = (".hydra/config.yaml", "config.yaml")
# What recorded cases say of themselves.
NO_OPTIONS = ("about", "file", "format", "parameters")


def plain(value: Any) -> Any:
    """A value as YAML reads it. It takes 1e-3 for text, which Hydra does not, and `???` of Hydra says that there is none."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value):
        return float(value)
    return None if value == "???" else value


def parse_yaml(text: str, where: str) -> Any:
    try:
        return plain(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is no YAML: {error}") from error


def read_mapping(file: File, flag: str) -> Mapping[str, Any]:
    """The options of a JSON or YAML file."""
    try:
        text = file.path.read_text(encoding="utf-8")
        values = json.loads(text) if flag == "--options" else parse_yaml(text, f"`{flag}` {file.name}")
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"`{flag}` {file.name!r} is no {'JSON' if flag == '--options' else 'text'}: {error}."
        ) from error
    if not isinstance(values, Mapping):
        kind = (
            "a JSON object"
            if flag == "--options"
            else "names with values (pass `--config` another file, or '' for none)"
        )
        raise ValueError(f"`{flag}` {file.name!r} must hold {kind}, got {type(values).__name__}.")
    return values


def read_words(words: list[str]) -> dict[str, Any]:
    """`name=value`, as Hydra takes it."""
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.lstrip("+").partition("=")
        if not equals or not name:
            raise ValueError(f"Options must be name=value, such as model.n_recur=12, got {word!r}.")
        value = parse_yaml(text, f"`{word}`")
        if values.setdefault(name, value) != value:
            raise ValueError(f"`{name}` is given twice, as {values[name]!r} and as {value!r}: give it once.")
    return values


def find_sources(
    checkpoint: File, flags: Mapping[str, str], words: list[str], options: str | None, config: str | None
) -> list[Source]:
    """
    Every place that may say an option.

    Args:
        checkpoint: The weights. The configs beside them are read, if `config` names no other.
        flags: The flags that were given, without their dashes.
        words: `name=value`.
        options: A JSON file.
        config: A config of the program; an empty one means none.
    """
    values = {name: parse_yaml(text, f"`--{name}`") for name, text in flags.items()}
    sources = [Source(values, "`--{}`"), Source(read_words(words), "`{}=`", is_strict=True)]
    if options:
        file = find_file(options, "--options")
        given = {name: value for name, value in read_mapping(file, "--options").items() if name not in NO_OPTIONS}
        sources.append(Source(given, f"`{{}}` in {file.name}"))
    configs = beside(checkpoint, CONFIGS) if config is None else [find_file(config, "--config")] if config else []
    for file in configs:
        print(f"Options of {file.name} are read.")
        sources.append(Source(read_mapping(file, "--config"), f"`{{}}` in {file.name}", is_config=True))
    return sources

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The tokenizer that the flags of a model of text name, and whether it fits the model."""

from hyperset_lab.arguments import ModelArguments
from modeling_hyperset.presets import PRESETS
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase


def named_tokenizer(
    arguments: ModelArguments, tokenizer_name: str | None, example: str, new: str
) -> PreTrainedTokenizerBase:
    """
    The tokenizer of `tokenizer_name`, or else the checkpoint's, or that beside the config.

    Args:
        example (`str`): A tokenizer to pass, for the error.
        new (`str`): The flag that makes a new one, and when, for the error.

    Raises:
        `ValueError`: there is none, or it cannot be loaded.
    """
    name = tokenizer_name or arguments.model_name_or_path
    if name is None and arguments.config_name not in PRESETS:
        name = arguments.config_name
    if name is None:
        raise ValueError(
            f"The config {arguments.config_name!r} has no tokenizer: pass `--tokenizer_name` ({example}), or {new}."
        )
    options = arguments.hub_options
    if tokenizer_name is not None:
        options.pop("revision")  # it is the model's
    try:
        return AutoTokenizer.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"No tokenizer can be loaded from {name!r}: pass another with `--tokenizer_name`, or {new}: {error}"
        ) from error


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Refuse more tokens than the model has."""
    if len(tokenizer) > config.vocab_size:
        raise ValueError(
            f"The tokenizer has {len(tokenizer)} tokens, more than the checkpoint's vocab_size={config.vocab_size}."
        )

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The config and the model that a script's flags ask for."""

from collections.abc import Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hyperset_lab.arguments import ModelArguments
from hyperset_lab.recipes import parse_overrides
from modeling_hyperset import HyperSETConfig
from modeling_hyperset.presets import PRESETS, preset_config
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, Trainer


def load_config(arguments: ModelArguments, **fields: Any) -> PreTrainedConfig:
    """
    The config of the checkpoint to fine-tune, or the one to train from scratch, with the overrides set, and with `fields`
    (the labels) from the data. Overrides that are no JSON object, or that the config does not have, are a `ValueError`.
    """
    overrides = parse_overrides(arguments.config_overrides or "{}")
    if taken := overrides.keys() & ({"id2label", "label2id", "num_labels"} | fields.keys()):
        raise ValueError(f"`--config_overrides` sets what comes from the data: {', '.join(sorted(taken))}.")
    if arguments.layer_type is not None:
        overrides["layer_type"] = arguments.layer_type
    if arguments.config_name in PRESETS:
        check_fields(overrides, preset_config(arguments.config_name))
        preset = {name: value for name, value in PRESETS[arguments.config_name].config.items() if name != "num_labels"}
        return HyperSETConfig(**(preset | overrides | fields))
    name = str(arguments.config_name or arguments.model_name_or_path)
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
        # The config derives these from its layer and width again.
        derived = HyperSETConfig(hidden_size=config.hidden_size, layer_type=config.layer_type, num_attention_heads=1)
        for name in ("intermediate_size", "patch_embedding_norm"):
            if values[name] == getattr(derived, name):
                values.pop(name)
    return type(config).from_dict(values | overrides | fields)


def load_model(
    auto_class: type[_BaseAutoModelClass], arguments: ModelArguments, config: PreTrainedConfig
) -> PreTrainedModel:
    """
    The checkpoint's model with `config`, or a new one, with the head of `auto_class`. It is a `ValueError` if there are no
    weights, or if their shapes are not those of the config. With `--ignore_mismatched_sizes` a head may be new; a body may not,
    because that would be no fine-tuning. The head is new as well where it has the same shape, but classes of other names.

    [`check_trained`] knows which of its weights nothing has trained.
    """
    if arguments.model_name_or_path is None:
        model = auto_class.from_config(config, trust_remote_code=arguments.trust_remote_code)
        UNTRAINED[model] = [name for name, _ in model.named_parameters()]
        return model
    checkpoint = f"`--model_name_or_path` {arguments.model_name_or_path!r}"
    options: dict[str, Any] = {"config": config, "ignore_mismatched_sizes": True, "output_loading_info": True}
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
                f"{checkpoint} has another head: {shapes}. Pass `--ignore_mismatched_sizes` to start with a new head."
            )
    untrained = {*info["missing_keys"], *(name for name, _, _ in info["mismatched_keys"])}
    if arguments.ignore_mismatched_sizes and has_other_classes(arguments, config):
        untrained |= start_head_anew(
            model, auto_class.from_config(config, trust_remote_code=arguments.trust_remote_code)
        )
    UNTRAINED[model] = sorted(untrained)
    if arguments.train_adapters_only:
        if not getattr(config, "lora_rank", 0):
            raise ValueError(
                "`--train_adapters_only` needs depth-wise adapters: add them with `--config_overrides '{\"lora_rank\": 4}'` to "
                f"a Hyper-SET checkpoint, got {type(model).__name__} without them."
            )
        model.train_adapters_only()
    return model


# For each model that `load_model` gave, the names of the weights that no training has made.
UNTRAINED: WeakKeyDictionary[nn.Module, list[str]] = WeakKeyDictionary()


def check_trained(model: nn.Module) -> None:
    """Refuse to evaluate a model some of whose weights were drawn at random and never trained."""
    untrained = UNTRAINED.get(model, [])
    if len(untrained) == len(list(model.named_parameters())):
        raise ValueError(
            "Nothing has trained this model, so there is nothing to evaluate: pass `--do_train`, or a trained checkpoint as "
            "`--model_name_or_path`."
        )
    if untrained:
        more = f" and {len(untrained) - 5} others" if len(untrained) > 5 else ""
        raise ValueError(
            f"The checkpoint has no weights for {', '.join(untrained[:5])}{more}. Nothing has trained them, so there is "
            "nothing to evaluate: pass `--do_train`, or a checkpoint of this task."
        )


def has_other_classes(arguments: ModelArguments, config: PreTrainedConfig) -> bool:
    """Whether the checkpoint names other classes than `config`."""
    before = label_names(AutoConfig.from_pretrained(str(arguments.model_name_or_path), **arguments.hub_options))
    return not is_unnamed(before) and set(before) != set(label_names(config))


def start_head_anew(model: PreTrainedModel, fresh: PreTrainedModel) -> set[str]:
    """Give `model` the head of a `fresh` one, and return the names of its weights."""
    body = f"{model.base_model_prefix}."
    head = {name: value for name, value in fresh.named_parameters() if not name.startswith(body)}
    model.load_state_dict(head, strict=False)
    return set(head)


def reorder_head(model: PreTrainedModel, places: Sequence[int]) -> None:
    """Bring the rows of the head of `model`, one for each class, into the order in which `places` names them."""
    body, rows = f"{model.base_model_prefix}.", torch.tensor(places)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith(body) and len(parameter) == len(places):
                parameter.copy_(parameter[rows.to(parameter.device)].clone())


def label_fields(names: Sequence[str]) -> dict[str, dict]:
    """The fields of a config for labels with these names."""
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}


def check_fields(overrides: dict, config: PreTrainedConfig) -> None:
    """Refuse overrides of fields that `config` does not have."""
    if unknown := overrides.keys() - config.to_dict().keys():
        raise ValueError(
            f"`--config_overrides` sets fields that the config does not have: {', '.join(sorted(unknown))}."
        )


def model_of(trainer: Trainer) -> PreTrainedModel:
    """The model that `trainer` was built with."""
    return cast(PreTrainedModel, trainer.model)


def label_names(config: PreTrainedConfig) -> list[str]:
    """The names of the labels of a model of `config`, in the order of its logits."""
    names: dict[Any, Any] = config.id2label or {}
    return [str(names[index]) for index in range(len(names))]


def is_unnamed(names: Sequence[str]) -> bool:
    """Whether these are the names that transformers gives to classes that nobody named."""
    return tuple(names) == tuple(f"LABEL_{index}" for index in range(len(names)))

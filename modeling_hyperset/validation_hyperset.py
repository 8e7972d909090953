# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What a config refuses beyond types: its errors are `ValueError`s, its numbers in a range that a model can have."""

import difflib
import functools
import inspect
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError


# Larger sizes are mistakes: a square of weights this wide would take 10¹⁵ bytes.
LARGEST_SIZE = 2**24
# The smallest epsilon in use is the machine epsilon of float64; a norm without one is NaN where a token is zero.
EPS_RANGE = (1e-16, 1.0)
# float16 holds no more.
LARGEST_STEP = 65504.0


class HyperSETConfigError(StrictDataclassError, ValueError):
    """
    A field of the wrong type, or fields that transformers says do not go together. transformers' own error for that is no
    `ValueError`; this is both.
    """


def raises_value_errors(config_class: type) -> type:
    """Decorator of a strict dataclass: what it refuses, when it is made or when a field is set, is a `ValueError`."""

    def converted(method):
        @functools.wraps(method)
        def wrapper(*args, **kwargs):
            try:
                return method(*args, **kwargs)
            except StrictDataclassError as error:
                if isinstance(error, ValueError):
                    raise
                raise HyperSETConfigError(str(error)) from error

        return wrapper

    config_class.__init__ = converted(config_class.__init__)  # type: ignore[misc]
    config_class.__setattr__ = converted(config_class.__setattr__)  # type: ignore[method-assign]
    return config_class


def check_extras(config_class: type, extras: Mapping[str, Any]) -> None:
    """
    What a config is given beside its fields. transformers keeps it as attributes, so that a config of a newer version can be
    read; what would change the class's own attributes or is a field misspelt is refused.

    Raises:
        `ValueError`: naming it.
    """
    names = {field.name for field in fields(config_class)}
    for name in extras:
        own = inspect.getattr_static(config_class, name, None)
        settable = isinstance(own, property) and own.fset is not None
        if own is not None and not settable and name != "model_type":
            raise ValueError(f"`{name}` is no field of {config_class.__name__} and cannot be set.")
        # Not so far off as `layer_norm_epsilon`, which others call what is `layer_norm_eps` here, and transformers' tests set.
        if own is None and (close := difflib.get_close_matches(name, names, n=1, cutoff=0.9)):
            raise ValueError(f"`{name}` is no field of {config_class.__name__}; do you mean `{close[0]}`?")
    if extras.get("per_layer_config") is not None:
        raise ValueError("`per_layer_config` must be None: the layers of a Hyper-SET share one config.")
    if "num_labels" in extras:
        check_count("num_labels", extras["num_labels"])
    for name in ("attn_implementation", "_attn_implementation"):
        if not isinstance(extras.get(name), str | dict | None):
            raise ValueError(f"`{name}` must be a string, got {extras[name]!r}.")
    # What transformers reads of any config without a check of its type.
    for name in ("quantization_config", "rope_parameters", "rope_scaling", "base_model_tp_plan"):
        if not isinstance(extras.get(name), Mapping | None) and not hasattr(extras[name], "to_dict"):
            raise ValueError(f"`{name}` must be a dictionary, got {extras[name]!r}.")


def check_dtype(dtype: Any) -> None:
    """`None`, a floating dtype of torch, or the name of one."""
    given = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and not (isinstance(given, torch.dtype) and given.is_floating_point):
        raise ValueError(f"`dtype` must be a floating dtype of torch or the name of one, got {dtype!r}.")


def check_count(name: str, value: Any) -> None:
    """An integer from 1 to `LARGEST_SIZE`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_SIZE:
        raise ValueError(f"`{name}` must be an integer of at least 1 and at most {LARGEST_SIZE}, got {value!r}.")


def check_number(name: str, value: float, low: float, high: float) -> None:
    """A number in [low, high], which NaN is not."""
    if not (low <= value <= high and math.isfinite(value)):
        raise ValueError(f"`{name}` must lie in [{low:g}, {high:g}], got {value}.")


def check_label_names(id2label: Mapping | None) -> None:
    """A name for each class, numbered from 0 without gaps, as JSON holds them (strings) or as Python does."""
    if id2label is None:
        return
    if not id2label or {str(key) for key in id2label} != {str(index) for index in range(len(id2label))}:
        raise ValueError(
            f"`id2label` must name the classes 0, 1, 2, … without gaps, got the keys {list(id2label)[:8]}."
        )

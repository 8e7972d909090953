# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Options from several places, under the names of the program's classes or of its Hydra configs, as one set of options."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .images import HYPERSET_CLASSES
from .options import NAMES, Options


# The program's names of tasks, with ours, and the options of each that the program names otherwise in its configs.
TASK_NAMES = {"ic": "image-classification", "sudoku": "sudoku", "mim": "masked-image-modeling"}
TASK_OPTIONS = {
    "image-classification": {"model.type": "class", "model.n_head": "head"},
    "sudoku": {"model.type": "model_type", "model.n_head": "n_head"},
    "masked-image-modeling": {"model.type": "model", "model.n_head": "head"},
}
# The image models by their names in the configs. ViTSharedQKV has none.
IMAGE_TYPES = dict(
    zip(
        ("hyper-set", "hyper-set-basic", "hyper-set-ss", "hyper-set-lora", "hyper-set-alt-attn", "hyper-set-alt-ff"),
        HYPERSET_CLASSES,
        strict=True,
    )
) | {"transformer": "ViT", "crate": "CRATE", "crate-T": "CRATET", "et": "ET"}
# The options by their names in the configs, where they are the same for all tasks.
HYDRA_OPTIONS = {
    "task_name": "task",
    "data.dataset": "dataset",
    "data.size": "img_size",
    "data.img_size": "img_size",
    "data.num_classes": "num_classes",
    "model.patch": "patch",
    "model.n_layer": "n_layer",
    "model.n_recur": "n_recur",
    "model.n_embd": "n_embd",
    "model.mlp_hidden": "mlp_hidden",
    "model.multiplier": "multiplier",
    "model.time_emb": "time_emb",
    "model.input_cond": "input_cond",
    "model.use_cls_token": "use_cls_token",
    "model.lora_r": "r",
    "model.lora_alpha": "alpha",
    "model.attention": "attention",
    "model.ff": "ff",
    "model.step_size": "stepsize",
    "model.adaptive_mode": "adaptive_mode",
    "model.pos_emb": "pos_emb",
    "model.phi_func": "phi_func",
    "model.vocab_size": "vocab_size",
    "model.block_size": "block_size",
    "model.num_classes": "num_classes",
    "model.mask_value": "codebook_size",
}
# Names of the configs that decide nothing about what a trained model computes.
UNREAD_SECTIONS = ("training", "experiment", "sampling", "evaluation", "vqgan", "hydra")
UNREAD = {"mode", "seed", "debug", "wandb", "run_dir", "model.dropout", "model.uncond"} | {
    f"data.{name}"
    for name in "autoaugment rcpaste cutmix mixup data_root in_c in100_path in1k_path n_train n_test label_size".split()
}


@dataclass(frozen=True)
class Source:
    """
    Options that were given in one place.

    Args:
        values: The options: by the program's names, by the dotted names of its configs, or nested as its configs are.
        said: How a message names one of them; `{}` stands for its name.
        is_config: Whether this is a whole config, which has options of all models and of training.
        is_strict: Whether a name that is not known is an error. In a config it is one under `model`.
    """

    values: Mapping[str, Any]
    said: str = "`{}`"
    is_config: bool = False
    is_strict: bool = False


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested options by their dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def known_names() -> str:
    names = {*NAMES, *HYDRA_OPTIONS, *TASK_OPTIONS["sudoku"]}
    return ", ".join(sorted(names, key=lambda name: (name.count("."), name)))


def option_of(name: str, task: str, source: Source) -> str | None:
    """The option that a name stands for, or `None` where the name decides nothing about the model."""
    if name in NAMES:
        return name
    if option := (HYDRA_OPTIONS | TASK_OPTIONS[task]).get(name):
        return option
    section = name.split(".")[0]
    if name in UNREAD or section in UNREAD_SECTIONS or (source.is_config and section != "model"):
        return None
    if source.is_strict or section in ("model", "data"):
        raise ValueError(f"{source.said.format(name)} is not known. The known names are {known_names()}.")
    return name if "." not in name else None  # `Options` looks for misspelt ones


def resolved(value: Any, values: Mapping[str, Any], said: str) -> Any:
    """A value, or that of the option of the same place that it refers to, as Hydra's `${model.n_embd}` does."""
    for _ in values:
        if not isinstance(value, str) or "${" not in value:
            return value
        match = re.fullmatch(r"\$\{([\w.]+)\}", value)
        if match is None or match[1] not in values:
            break
        value = values[match[1]]
    raise ValueError(f"{said} refers to another option by {value!r}, which cannot be followed: write the value there.")


def same_word(option: str, value: Any) -> Any:
    """A value of an option in the words of the program's classes."""
    if option == "task":
        return TASK_NAMES.get(value, value) if isinstance(value, str) else value
    if option == "class" and isinstance(value, str):
        return IMAGE_TYPES.get(value, value)
    return value


def gather(sources: Iterable[Source], likely_task: str | None = None) -> Options:
    """
    All that the sources say, as one set of options.

    Args:
        sources: The places; each may say any option.
        likely_task: The task that the weights look like. It tells what `model.type` and `model.n_head` stand for where nobody
            says the task.

    Raises:
        `ValueError`: a name that is not known, or two sources that differ; the message names both.
    """
    sources = list(sources)
    tasks = [same_word("task", source.values.get(name)) for source in sources for name in ("task", "task_name")]
    task = next((n for n in tasks if isinstance(n, str) and n in TASK_OPTIONS), likely_task or "image-classification")
    values: dict[str, Any] = {}
    said: dict[str, str] = {}
    in_config, unread = set(), []
    for source in sources:
        own = dict(flat(source.values))
        for name, value in own.items():
            option = option_of(name, task, source)
            if option is None:
                unread.append(name)
            if option is None or value is None:
                continue
            where = source.said.format(name)
            value = same_word(option, resolved(value, own, where))
            if option in values and values[option] != value:
                raise ValueError(
                    f"{said[option]} says {values[option]!r} and {where} says {value!r}: give one of them, or the same."
                )
            values.setdefault(option, value)
            if option not in said:
                said[option] = where
                in_config |= {option} if source.is_config else set()
            elif not source.is_config:
                in_config.discard(option)
    return Options(values, said, in_config, unread)

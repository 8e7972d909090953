# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The authors' options: read one by one, checked, and asked for where they are missing."""

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from ..energies_hyperset import PHI


# The authors' names of Φ and of the update rules, with ours.
PHI_NAMES = {"elup1" if name == "elu_plus_one" else name: name for name in PHI} | {"swish": "silu"}
UPDATE_RULE_NAMES = {
    "gd_with_learnable_step_size": "gradient_descent",
    "gd_momentum_with_learnable_step_size": "momentum",
    "rmsprop_with_fix_step_size": "rmsprop",
    "rmsprop_momentum_with_fix_step_size": "rmsprop_momentum",
    "adam_with_fix_step_size": "adam",
}

# All options that some model reads, by the names that the classes of the program give them.
NAMES = {
    "task": "image-classification (or ic), sudoku, masked-image-modeling (or mim)",
    "class": "images: the class of the model, such as HyperSETBasic",
    "model_type": "Sudoku: the model, such as hyper-set",
    "model": "masked images: hyper-set or transformer",
    "dataset": "images: c10, c100, svhn, in100 or in1k",
    "n_layer": "distinct layers",
    "n_recur": "iterations of each layer",
    "n_embd": "width",
    "head": "heads, of images and masked images",
    "n_head": "heads, of Sudoku",
    "num_classes": "classes",
    "input_cond": "whether step sizes depend on the first tokens",
    "img_size": "pixels of a side of the images",
    "patch": "patches per side of an image",
    "use_cls_token": "whether there is a class token",
    "is_cls_token": "the same, by its older name",
    "mlp_hidden": "images: width of the feedforward",
    "multiplier": "Sudoku and masked images: width of the feedforward, as a multiple of the model's",
    "time_emb": "width of the code of the iteration",
    "time_embed": "the same, by the name that image classes give it",
    "stepsize": "the fixed step size",
    "r": "rank of the depth-wise LoRA",
    "alpha": "scale of the depth-wise LoRA, times its rank",
    "attention": "alternative attention: bisoftmax, sigma or a Φ",
    "ff": "alternative feedforward: relu, softmax or a Φ",
    "phi_func": "masked images: Φ of linear attention and gated feedforward",
    "adaptive_mode": "Sudoku and masked images: the update rule",
    "vocab_size": "Sudoku: digits and the blank",
    "block_size": "Sudoku: cells",
    "pos_emb": "Sudoku: learnable or sincos",
    "codebook_size": "masked images: codes of the tokenizer, and so the id of the mask",
}

# What the program's own configs say where nobody says otherwise. Messages about missing options show it; it is never assumed.
PROGRAM_DEFAULTS: dict[str, dict[str, Any]] = {
    "image-classification": {"n_recur": 12, "head": 8, "alpha": 8, "patch": 16},
    "sudoku": {"n_recur": 24, "n_head": 12, "adaptive_mode": "gd_with_learnable_step_size"},
    "masked-image-modeling": {"n_recur": 12, "head": 12, "adaptive_mode": "gd_with_learnable_step_size"},
}


def is_number(value: Any, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


class Options:
    """
    The options of one checkpoint. An option that is `None` is not given.

    A missing option is noted, and [`check`] asks for all of them in one error. Until then a stand-in takes its place.

    Args:
        values: The options by the names of `NAMES`. Others are left alone.
        said: Where each was given, for messages.
        in_config: Which of them a whole file of options gave. It has options of all models, and those of others are no mistake.
        unread: What was given and decides nothing about the model, as it was named.
        task: The task, where it is known.

    Raises:
        `ValueError`: an option that is misspelt.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        said: Mapping[str, str] | None = None,
        in_config: Collection[str] = (),
        unread: Sequence[str] = (),
    ):
        self.values = {name: value for name, value in values.items() if value is not None}
        self.said, self.in_config, self.unread = said or {}, in_config, tuple(unread)
        self.task: str | None = None
        self.missing: dict[str, str] = {}
        for name in self.values.keys() - NAMES.keys():
            if close := difflib.get_close_matches(name, NAMES, n=1, cutoff=0.85):
                raise ValueError(f"The option {name!r} is not known; do you mean {close[0]!r}?")

    def get(self, name: str) -> Any:
        return self.values.get(name)

    def named(self, name: str) -> str:
        """The option as a message names it: with where it was given."""
        said = self.said.get(name, f"`{name}`")
        return f"The option {name!r}" + ("" if said == f"`{name}`" else f" ({said})")

    def read(
        self, name: str, default: Any, expected: str, fits: Callable[[Any], bool], stand_in: Any, hint: str = ""
    ) -> Any:
        """The option or its default, which must be as `expected`. A missing one is noted with the `hint`."""
        value = self.values.get(name, default)
        if value is None:
            usual = PROGRAM_DEFAULTS.get(self.task or "", {}).get(name)
            hint += "" if usual is None else f" ({usual!r} in the program's own configs)"
            self.missing[name] = expected + hint
            return stand_in
        if not fits(value):
            raise ValueError(f"{self.named(name)} must be {expected}, got {value!r}.")
        return value

    def choice(self, name: str, known: Iterable, default: Any = None, hint: str = "") -> Any:
        """The option, which must be one of `known`. The stand-in of a missing one is the first of them."""
        known = list(known)
        expected = f"one of {', '.join(map(repr, known))}"
        return self.read(name, default, expected, lambda x: type(x) in map(type, known) and x in known, known[0], hint)

    def count(self, name: str, default: int | None = None) -> int:
        """The option, a whole number of at least 1. The stand-in of a missing one is 1."""
        return self.read(name, default, "a whole number of at least 1", lambda x: is_number(x, int) and x >= 1, 1)

    def number(self, name: str) -> float:
        """The option, a number. The stand-in of a missing one is 1."""
        return self.read(name, None, "a number", lambda x: is_number(x, (int, float)) and math.isfinite(x), 1.0)

    def measured(self, name: str, value: Any) -> Any:
        """What the weights say. The option need not be given; if it is, it must say the same."""
        given = self.values.get(name, value)
        if given != value or isinstance(given, bool) != isinstance(value, bool):
            raise ValueError(f"{self.named(name)} is {given!r}, which contradicts the weights: they say {value!r}.")
        return value

    def check_layout(self, name: str, kinds: Sequence[str]) -> None:
        """The option that names the model must be one of the `kinds` that the weights have the tensors of, if any."""
        if name in self.values and kinds and self.values[name] not in kinds:
            raise ValueError(
                f"{self.named(name)} is {self.values[name]!r}, which contradicts the weights: they look like "
                f"{' or '.join(map(repr, kinds))}."
            )

    def refuse(self, names: Sequence[str], model: str) -> None:
        """Options that would make another function of the same weights, and that `model` does not have."""
        if given := {name: self.values[name] for name in names if name in self.values and name not in self.in_config}:
            raise ValueError(f"{model} has no option {', '.join(map(repr, given))}, got {list(given.values())}.")

    def check(self) -> None:
        """
        Raises:
            `ValueError`: options are missing; the message lists all of them.
        """
        if self.missing:
            listed = "; ".join(f"{name!r}: {expected}" for name, expected in self.missing.items())
            raise ValueError(f"The weights do not say these options, and they are not given: {listed}.")

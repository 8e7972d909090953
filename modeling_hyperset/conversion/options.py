# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The authors' options: read one by one, checked, and asked for where they are missing."""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..energies_hyperset import PHI


# The authors' names of Φ and of the update rules, with ours.
PHI_NAMES = {"elup1" if name == "elu_plus_one" else name: name for name in PHI}
UPDATE_RULE_NAMES = {
    "gd_with_learnable_step_size": "gradient_descent",
    "gd_momentum_with_learnable_step_size": "momentum",
    "rmsprop_with_fix_step_size": "rmsprop",
    "rmsprop_momentum_with_fix_step_size": "rmsprop_momentum",
    "adam_with_fix_step_size": "adam",
}

# All options that some model reads.
NAMES = set(
    "task class model_type model n_layer n_recur n_embd head n_head num_classes input_cond img_size patch is_cls_token "
    "mlp_hidden multiplier time_emb time_embed stepsize r alpha attention ff phi_func adaptive_mode vocab_size "
    "block_size pos_emb codebook_size".split()
)


def is_number(value: Any, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


class Options:
    """
    The options of one checkpoint. An option that is `None` is not given.

    A missing option is noted, and [`check`] asks for all of them in one error. Until then a stand-in takes its place.

    Raises:
        `ValueError`: an option that is misspelt.
    """

    def __init__(self, values: Mapping[str, Any]):
        self.values = {name: value for name, value in values.items() if value is not None}
        self.missing: dict[str, str] = {}
        for name in self.values.keys() - NAMES:
            if close := difflib.get_close_matches(name, NAMES, n=1, cutoff=0.85):
                raise ValueError(f"The option {name!r} is not known; do you mean {close[0]!r}?")

    def get(self, name: str) -> Any:
        return self.values.get(name)

    def read(
        self, name: str, default: Any, expected: str, fits: Callable[[Any], bool], stand_in: Any, hint: str = ""
    ) -> Any:
        """The option or its default, which must be as `expected`. A missing one is noted with the `hint`."""
        value = self.values.get(name, default)
        if value is None:
            self.missing[name] = expected + hint
            return stand_in
        if not fits(value):
            raise ValueError(f"The option {name!r} must be {expected}, got {value!r}.")
        return value

    def choice(self, name: str, known: Iterable, default: Any = None, hint: str = "") -> Any:
        """The option, which must be one of `known`. The stand-in of a missing one is the first of them."""
        known = list(known)
        expected = f"one of {', '.join(map(repr, known))}"
        return self.read(name, default, expected, known.__contains__, known[0], hint)

    def count(self, name: str, default: int | None = None) -> int:
        """The option, a whole number of at least 1. The stand-in of a missing one is 1."""
        return self.read(name, default, "a whole number of at least 1", lambda x: is_number(x, int) and x >= 1, 1)

    def number(self, name: str) -> float:
        """The option, a number. The stand-in of a missing one is 1."""
        return self.read(name, None, "a number", lambda x: is_number(x, (int, float)) and math.isfinite(x), 1.0)

    def measured(self, name: str, value: Any) -> Any:
        """What the weights say. The option need not be given; if it is, it must say the same."""
        if self.values.get(name, value) != value:
            raise ValueError(f"The option {name!r}={self.values[name]!r} contradicts the weights: {value!r}.")
        return value

    def refuse(self, names: Sequence[str], model: str) -> None:
        """Options that would make another function of the same weights, and that `model` does not have."""
        if given := {name: self.values[name] for name in names if name in self.values}:
            raise ValueError(f"{model} has no option {', '.join(map(repr, given))}, got {list(given.values())}.")

    def check(self) -> None:
        """
        Raises:
            `ValueError`: options are missing; the message lists all of them.
        """
        if self.missing:
            listed = "; ".join(f"{name!r}: {expected}" for name, expected in self.missing.items())
            raise ValueError(f"The weights do not say these options, and they are not given: {listed}.")

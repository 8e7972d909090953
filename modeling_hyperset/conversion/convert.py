# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""From the authors' tensors and options to a model."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..modeling_hyperset import (
    HyperSETForImageClassification,
    HyperSETForMaskedImageModeling,
    HyperSETForTokenClassification,
    HyperSETPreTrainedModel,
)
from .given import Source, gather
from .images import image_config
from .masked_images import masked_image_config
from .options import Options
from .sudoku import sudoku_config
from .weights import StateDict, check_fit, check_tensors, rename_state_dict


# For each task: what makes the config, the model, and a tensor that only checkpoints of the task hold. The tensor tells which
# options are to be asked for where the task is not given.
TASKS = {
    "image-classification": (image_config, HyperSETForImageClassification, "fc.1.weight"),
    "sudoku": (sudoku_config, HyperSETForTokenClassification, "head.weight"),
    "masked-image-modeling": (masked_image_config, HyperSETForMaskedImageModeling, "lm_head.1.weight"),
}


def likely_task(state_dict: StateDict) -> str | None:
    """The task that the weights look like, if any."""
    return next((task for task, (_, _, name) in TASKS.items() if name in state_dict), None)


def read_options(state_dict: StateDict, options: Mapping[str, Any] | Iterable[Source]) -> Options:
    """The options from all the places that say some; what they stand for may depend on the task that the weights look like."""
    return gather([Source(options)] if isinstance(options, Mapping) else options, likely_task(state_dict))


def convert_original_checkpoint(
    state_dict: StateDict, options: Mapping[str, Any] | Options | Iterable[Source]
) -> HyperSETPreTrainedModel:
    """
    Build the model of an original checkpoint.

    Args:
        state_dict: What [`load_original_state_dict`] returns.
        options: The authors' option names and values, with `task`: `"image-classification"`, `"sudoku"` or
            `"masked-image-modeling"` (`"ic"`, `"mim"`). The names are those of the program's classes (`head`) or of its Hydra
            configs, dotted (`model.n_head`) or nested. Or several [`Source`]s of them, or what [`read_options`] made of these.

    Returns:
        The model with the task's head, in evaluation mode.

    Raises:
        `ValueError`: options that are missing, all of them in one message; an option that is not known or that the model does
            not have; tensors that are missing, left over or of another shape, or no dense tensors of real numbers.
    """
    check_tensors(state_dict)
    given = options if isinstance(options, Options) else read_options(state_dict, options)
    layout = likely_task(state_dict)
    task = given.choice("task", TASKS, hint=f" (the weights look like {layout!r})" if layout else "")
    given.check_layout("task", (layout,) if layout else ())
    if "task" in given.missing and layout is None:
        given.check()
    given.task = layout if layout and "task" in given.missing else task
    make_config, model_class, _ = TASKS[given.task]
    config, renames = make_config(given, state_dict)
    renamed = rename_state_dict(state_dict, renames)
    # The Energy Transformer's projections are (heads, head_dim, width) there.
    renamed = {
        name: t.flatten(0, 1) if name.endswith(("q_proj.weight", "k_proj.weight")) else t
        for name, t in renamed.items()
    }
    model = model_class(config)
    check_fit(model.state_dict(), renamed)
    model.load_state_dict(renamed)
    return model.eval()

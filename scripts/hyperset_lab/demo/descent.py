# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the demonstration shows of a model: its answer and its energies after every iteration."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)


DIGITS_RECIPE = "python scripts/run_image_classification.py scripts/recipes/digits.yaml"
SUDOKU_RECIPE = "python scripts/run_sudoku.py scripts/recipes/sudoku_small.yaml"
BEYOND = 4  # times the trained depth that can be watched


@dataclass
class Descent:
    """
    One forward pass, watched.

    Args:
        probabilities (`np.ndarray` of shape `(depth, …, num_labels)`): The answer after 1, 2, … iterations.
        energies (`np.ndarray` of shape `(depth, 2)`, *optional*):
            Attention and feedforward energy after each; `None` for a layer that is derived from no energy.
        trained (`int`): The depth that the model was trained at.
    """

    probabilities: np.ndarray
    energies: np.ndarray | None
    trained: int

    @property
    def depth(self) -> int:
        return len(self.probabilities)

    @property
    def total_energy(self) -> np.ndarray | None:
        """The sum of both energies, of shape `(depth,)`."""
        return None if self.energies is None else self.energies.sum(axis=1)


def deepest(model: PreTrainedModel) -> int:
    """How many iterations can be watched: several times the trained ones, but not more than have adapters."""
    config = model.config
    return config.num_iterations if config.lora_rank else BEYOND * config.num_iterations


@torch.no_grad()
def descend(model: PreTrainedModel, **inputs: torch.Tensor) -> Descent:
    """
    The answer of a classifier of images or of tokens to one sample at every depth up to [`deepest`]: what it gives with
    `num_iterations=t`, for t = 1, 2, …

    Args:
        inputs: What the model takes, of batch size 1.
    """
    options = {"output_hidden_states": True, "output_energies": model.config.has_energies}
    options["energy_tolerance"] = False
    inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
    depths = range(1, deepest(model) + 1)
    if model.config.num_hidden_layers == 1:  # what shallower passes do is the start of what the deepest does
        outputs = model.base_model(**inputs, num_iterations=depths[-1], **options)
        states, energies = outputs.hidden_states[1:], outputs.energies
    else:
        passes = [model.base_model(**inputs, num_iterations=depth, **options) for depth in depths]
        states = [outputs.hidden_states[-1] for outputs in passes]
        energies = [outputs.energies[-1] for outputs in passes] if options["output_energies"] else None
    logits = [read_out(model, state)[0].float().softmax(dim=-1) for state in states]
    return Descent(
        probabilities=torch.stack(logits).cpu().numpy(),
        energies=torch.cat(list(energies)).double().cpu().numpy() if energies else None,
        trained=model.config.num_iterations,
    )


def read_out(model: PreTrainedModel, hidden_states: torch.Tensor) -> torch.Tensor:
    """The logits that the head reads off the tokens after some iteration."""
    base = model.base_model
    if not model.config.takes_token_ids:
        hidden_states = base.pool(hidden_states, None)
    return model.classifier(base.norm(hidden_states))


def load_digit_model(name: str, trust_remote_code: bool = False) -> tuple[PreTrainedModel, Any]:
    """
    A classifier of handwritten digits and its image processor.

    Raises:
        `ValueError`: there is no such model, or it does something else.
    """
    flag = "--model_name_or_path"
    model = load(flag, name, AutoModelForImageClassification, "ImageClassification", DIGITS_RECIPE, trust_remote_code)
    labels = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
    if labels != [str(digit) for digit in range(10)]:
        raise ValueError(
            f"`{flag}` must be a model of the ten digits, got {name!r} with the labels {', '.join(labels[:12])}. Train one:\n"
            f"    {DIGITS_RECIPE}"
        )
    try:
        processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ValueError(f"`{flag}`: {name!r} has no image processor beside its model: {error}") from error
    return model, processor


def load_sudoku_model(name: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """
    A solver of Sudokus.

    Raises:
        `ValueError`: there is no such model, or it does something else.
    """
    flag = "--sudoku_model"
    model = load(flag, name, AutoModelForTokenClassification, "TokenClassification", SUDOKU_RECIPE, trust_remote_code)
    config = model.config
    if not config.takes_token_ids or config.vocab_size < 10 or config.num_labels != 9 or config.num_positions < 81:
        raise ValueError(
            f"`{flag}` must be a model of 81 cells with ids 0 to 9 and nine labels, got {name!r} with vocab_size="
            f"{config.vocab_size}, {config.num_positions} positions and num_labels={config.num_labels}."
        )
    return model


def load(flag: str, name: str, auto_class, head: str, recipe: str, trust_remote_code: bool) -> PreTrainedModel:
    """
    A Hyper-SET or baseline with a `head`, in evaluation mode.

    Raises:
        `ValueError`: naming the `flag`, what was found and the `recipe` that trains such a model.
    """
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"`{flag}`: there is no model in {name!r}, neither as a folder nor on the Hub. Train one:\n    {recipe}\n{error}"
        ) from error
    architectures = config.architectures or []
    if config.model_type != "hyperset" or not any(architecture.endswith(head) for architecture in architectures):
        raise ValueError(
            f"`{flag}` must be a HyperSETFor{head}, got {name!r}, a {' or '.join(architectures) or config.model_type}."
        )
    try:
        model = auto_class.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"`{flag}`: the model in {name!r} could not be loaded: {error}") from error
    return model.eval()

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the demonstration shows of a model: its answer and its energies after every iteration."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from hyperset_lab.models import label_names
from hyperset_lab.sudoku.puzzles import takes_boards
from modeling_hyperset.analysis import answers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
)


DIGITS_RECIPE = "python scripts/run_image_classification.py scripts/recipes/digits.yaml"
TEXT_RECIPE = "python scripts/run_clm.py scripts/recipes/shakespeare_char.yaml --train_file input.txt"
SUDOKU_RECIPE = "python scripts/run_sudoku.py scripts/recipes/sudoku_small.yaml"
BEYOND = 4  # times the trained depth that can be watched


@dataclass
class Descent:
    """One forward pass, watched."""

    probabilities: np.ndarray  # `(depth, …, num_labels)`: the answer after 1, 2, … iterations
    energies: (
        np.ndarray | None
    )  # `(depth, 2)`: attention and feedforward energy after each; `None` if the layer has none
    trained: int  # the depth that the model was trained at

    @property
    def depth(self) -> int:
        return len(self.probabilities)

    @property
    def total_energy(self) -> np.ndarray | None:
        """The sum of both energies, of shape `(depth,)`."""
        return None if self.energies is None else self.energies.sum(axis=1)


def deepest(model: PreTrainedModel) -> int:
    """How many iterations can be watched: several times the trained ones; with depth-wise LoRA only the trained ones."""
    config = model.config
    return config.num_iterations if config.lora_rank else BEYOND * config.num_iterations


def descend(model: PreTrainedModel, **inputs: torch.Tensor) -> Descent:
    """The answer of a classifier of images or of tokens to `inputs` of batch size 1 at every depth up to [`deepest`]."""
    found = answers(model, inputs, deepest(model))
    return Descent(
        probabilities=found.logits[:, 0].softmax(dim=-1).cpu().numpy(),
        energies=None if found.energies is None else found.energies[:, 0].double().cpu().numpy(),
        trained=found.trained_iterations,
    )


def load_digit_model(name: str, trust_remote_code: bool = False) -> tuple[PreTrainedModel, Any]:
    """A classifier of handwritten digits and its image processor."""
    flag = "--model_name_or_path"
    model = load(flag, name, AutoModelForImageClassification, "ImageClassification", DIGITS_RECIPE, trust_remote_code)
    labels = label_names(model.config)
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
    """A solver of Sudokus."""
    flag = "--sudoku_model"
    model = load(flag, name, AutoModelForTokenClassification, "TokenClassification", SUDOKU_RECIPE, trust_remote_code)
    config = model.config
    if not takes_boards(config):
        raise ValueError(
            f"`{flag}` must be a model of 81 cells with ids 0 to 9 and nine labels, got {name!r} with vocab_size="
            f"{config.vocab_size}, {config.num_positions} positions and num_labels={config.num_labels}."
        )
    return model


def load_text_model(name: str, trust_remote_code: bool = False) -> tuple[PreTrainedModel, Any]:
    """A model that writes text, and its tokenizer."""
    flag = "--text_model"
    model = load(flag, name, AutoModelForCausalLM, "CausalLM", TEXT_RECIPE, trust_remote_code)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ValueError(f"`{flag}`: {name!r} has no tokenizer beside its model: {error}") from error
    return model, tokenizer


def load(flag: str, name: str, auto_class, head: str, recipe: str, trust_remote_code: bool) -> PreTrainedModel:
    """A Hyper-SET or baseline with a `head`, in evaluation mode."""
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"`{flag}`: there is no folder and no model of the Hub {name!r}. Train one:\n    {recipe}\n{error}"
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

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Small models and inputs for the tests."""

import contextlib

import torch

from modeling_hyperset import (
    HyperSETConfig,
    HyperSETForCausalLM,
    HyperSETForImageClassification,
    HyperSETForMaskedImageModeling,
    HyperSETForMaskedLM,
    HyperSETForSequenceClassification,
    HyperSETForTokenClassification,
    HyperSETModel,
)


SMALL = {"hidden_size": 32, "num_attention_heads": 4, "num_iterations": 3, "step_size_time_dim": 16, "num_labels": 5}
IMAGES = {"image_size": 12, "patch_size": 4}
TEXT = {"vocab_size": 20, "max_position_embeddings": 16}

# Every head, in every kind of input that it takes.
CASES = {
    "images": (HyperSETModel, IMAGES),
    "tokens": (HyperSETModel, TEXT),
    "image-classification": (HyperSETForImageClassification, IMAGES),
    "sequence-classification": (HyperSETForSequenceClassification, TEXT),
    "token-classification": (HyperSETForTokenClassification, TEXT),
    "masked-lm": (HyperSETForMaskedLM, TEXT),
    "causal-lm": (HyperSETForCausalLM, TEXT | {"attention_energy": "causal_softmax"}),
    "masked-pixels": (HyperSETForMaskedImageModeling, IMAGES),
    "masked-codes": (HyperSETForMaskedImageModeling, TEXT | {"position_embedding_type": "sinusoidal_2d"}),
}
HEADS = [name for name in CASES if name not in ("images", "tokens")]
AUTO_OF_CASE = {
    "images": "AutoModel",
    "tokens": "AutoModel",
    "image-classification": "AutoModelForImageClassification",
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "masked-lm": "AutoModelForMaskedLM",
    "causal-lm": "AutoModelForCausalLM",
    "masked-pixels": "AutoModelForMaskedImageModeling",
    "masked-codes": "AutoModelForMaskedImageModeling",
}


def make_config(**fields) -> HyperSETConfig:
    """A small config; it is one of images unless `vocab_size` is given."""
    kind = TEXT if "vocab_size" in fields else IMAGES
    return HyperSETConfig(**(SMALL | kind | fields))


@contextlib.contextmanager
def threads(number: int):
    """Within it, torch computes on so many threads. Several add in an order of their own: one trains the same model twice."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def wake(model):
    """Give every parameter a random value, so that nothing is zero at the start (the step sizes above all)."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def make_model(case: str, **fields):
    """A small model of one of the `CASES` with random weights, in evaluation mode."""
    model_class, kind = CASES[case]
    return wake(model_class(HyperSETConfig(**(SMALL | kind | fields)))).eval()


def make_inputs(case: str, batch_size: int = 2, labels: bool = False) -> dict[str, torch.Tensor]:
    """Inputs for a model of one of the `CASES`."""
    if case in ("images", "image-classification", "masked-pixels"):
        inputs = {"pixel_values": torch.randn(batch_size, 3, 12, 12)}
    else:
        inputs = {"input_ids": torch.randint(0, 19, (batch_size, 16))}
    if not labels:
        return inputs
    if case == "image-classification" or getattr(CASES[case][0], "reads_pooled", False):
        inputs["labels"] = torch.arange(batch_size) % 5
    elif case in ("masked-pixels", "masked-codes"):
        tokens = 9 if case == "masked-pixels" else 16
        inputs["bool_masked_pos"] = torch.arange(tokens).expand(batch_size, -1) % 3 == 0
    else:
        inputs["labels"] = inputs["input_ids"] % 5
    return inputs


def main_output(outputs) -> torch.Tensor:
    """The tensor that a head is for."""
    for name in ("logits", "reconstruction", "last_hidden_state"):
        if outputs.get(name) is not None:
            return outputs[name]
    raise AssertionError(f"none of the outputs {list(outputs)} is a main one")

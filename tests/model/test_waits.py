# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
On an accelerator a training step waits for nothing: no value is read in forward, loss or backward of any head.

No GPU is needed: the checks are told that the tensors are not on the CPU, and a dispatch mode looks at every operator.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from modeling_hyperset import checks_hyperset
from modeling_hyperset.layers_hyperset import LAYERS
from support.builders import HEADS, make_inputs, make_model


# Operators that end in a wait: the host needs a value, or a size that depends on values, or copies its own numbers over.
WAITS = (
    "_local_scalar_dense",
    "item",
    "is_nonzero",
    "nonzero",
    "masked_select",
    "equal",
    "unique",
    "_unique2",
    "lift_fresh",
)


class NoWaits(TorchDispatchMode):
    """Fails at operators that would wait for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in WAITS, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def on_an_accelerator(monkeypatch):
    monkeypatch.setattr(checks_hyperset, "can_read_values", lambda tensor: False)


def train_a_step(model, inputs):
    with NoWaits():
        loss = model(**inputs).loss
        loss.backward()
    assert any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("attn_implementation", ["fused", "eager", "sdpa"])
@pytest.mark.parametrize("case", HEADS)
def test_heads(case, attn_implementation, dtype):
    if case == "causal-lm" and attn_implementation == "fused":
        pytest.skip("its energy has no such implementation")
    model = make_model(case).to(dtype).train()
    model.set_attn_implementation(attn_implementation)
    inputs = make_inputs(case, labels=True)
    if "input_ids" in inputs and case != "masked-codes":
        inputs["attention_mask"] = torch.ones(inputs["input_ids"].shape, dtype=torch.long)
    inputs = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in inputs.items()}
    train_a_step(model, inputs)


VARIANTS = [{"layer_type": name} for name in LAYERS]
VARIANTS += [{"attention_energy": name, "feedforward_energy": "gated"} for name in ("sigmoid", "linear")]
VARIANTS += [{"update_rule": "adam", "lora_rank": 2}, {"step_size_condition": "initial", "num_hidden_layers": 2}]
VARIANTS += [{"pooling": "mean", "position_embedding_type": "learned"}, {"step_size_type": "fixed"}]


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_variants(fields):
    model = make_model("sequence-classification", **fields).train()
    train_a_step(model, make_inputs("sequence-classification", labels=True) | {"attention_mask": torch.ones(2, 16)})


@pytest.mark.parametrize("problem_type", ["regression", "multi_label_classification"])
def test_other_losses(problem_type):
    model = make_model("image-classification", problem_type=problem_type).train()
    train_a_step(model, make_inputs("image-classification") | {"labels": torch.rand(2, 5)})


def test_num_items_in_batch():
    model = make_model("token-classification").train()
    train_a_step(model, make_inputs("token-classification", labels=True) | {"num_items_in_batch": torch.tensor(7)})


@pytest.mark.parametrize(
    "wait", [lambda ids: ids.max().item(), torch.nonzero, lambda ids: bool(ids.any()), lambda ids: torch.tensor([1.0])]
)
def test_a_wait_is_found(wait):
    with NoWaits(), pytest.raises(AssertionError, match="waits for the device"):
        wait(torch.ones(3, dtype=torch.long))


def test_an_additive_mask_stops_the_device():
    mask = torch.zeros(2, 16).masked_fill(torch.arange(16) > 4, -1e9)
    with pytest.raises(RuntimeError, match="`attention_mask` must hold 1 for tokens"):
        make_model("sequence-classification")(**make_inputs("tokens"), attention_mask=mask)

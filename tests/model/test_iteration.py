# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the iteration saves changes no number: the last iteration of a classifier, and step sizes computed ahead."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from modeling_hyperset import steps_hyperset
from modeling_hyperset.attention_hyperset import bi_softmax_eager
from support.builders import make_inputs, make_model


VARIANTS = {
    "default": {},
    "layers": {"num_hidden_layers": 2},
    "one-iteration": {"num_iterations": 1},
    "initial": {"step_size_condition": "initial"},
    "fixed": {"step_size_type": "fixed"},
    "adam": {"update_rule": "adam"},
    "lora": {"lora_rank": 2},
    "sigmoid": {"attention_energy": "sigmoid"},
    "linear": {"attention_energy": "linear"},
    "transformer": {"layer_type": "transformer"},
}


def losses_and_gradients(model, **inputs):
    """The loss, the logits and the gradients of all parameters that get one."""
    outputs = model(**inputs)
    gradients = torch.autograd.grad(outputs.loss, list(model.parameters()), allow_unused=True)
    return outputs.loss, outputs.logits, *[gradient for gradient in gradients if gradient is not None]


@pytest.mark.parametrize("attn_implementation", ["fused", "eager"])
@pytest.mark.parametrize("case", ["image-classification", "sequence-classification"])
@pytest.mark.parametrize("name", VARIANTS)
def test_pruning_the_last_iteration_is_exact(name, case, attn_implementation):
    model, inputs = make_model(case, **VARIANTS[name]), make_inputs(case, labels=True)
    if attn_implementation not in type(model.hyperset.layers[0]).attn_implementations(model.config):
        pytest.skip("this layer has no such implementation")
    model.set_attn_implementation(attn_implementation)
    if case == "sequence-classification":  # padding on the left, where the first token moves, and on the right
        inputs["attention_mask"] = torch.ones(2, 16, dtype=torch.long)
        inputs["attention_mask"][0, :5] = inputs["attention_mask"][1, 11:] = 0
    pruned = losses_and_gradients(model, **inputs)
    model.config.prune_last_iteration = False
    for actual, expected in zip(pruned, losses_and_gradients(model, **inputs), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def tokens_of_feedforward(model, **inputs) -> list[int]:
    """How many tokens each call of the feedforward sees."""
    seen = []
    feedforward = model.hyperset.layers[0].feedforward
    hook = feedforward.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].shape[1]))
    model(**inputs)
    hook.remove()
    return seen


def test_pruning_computes_one_token_and_only_where_nothing_else_is_returned():
    model, inputs = make_model("image-classification"), make_inputs("image-classification")
    assert tokens_of_feedforward(model, **inputs) == [10, 10, 1]
    for name in ("output_hidden_states", "output_attentions", "output_energies"):
        assert tokens_of_feedforward(model, **inputs, **{name: True}) == [10, 10, 10]
    for name in ("output_hidden_states", "output_energies"):
        setattr(model.config, name, True)
        assert tokens_of_feedforward(model, **inputs) == [10, 10, 10]
        setattr(model.config, name, False)
    model.config.prune_last_iteration = False
    assert tokens_of_feedforward(model, **inputs) == [10, 10, 10]
    assert tokens_of_feedforward(make_model("image-classification", pooling="mean"), **inputs) == [9, 9, 9]
    tokens = make_inputs("token-classification")
    assert tokens_of_feedforward(make_model("token-classification"), **tokens) == [16, 16, 16]
    assert make_model("images")(**inputs).last_hidden_state.shape == (2, 10, 32)


@pytest.mark.parametrize(
    "fields", [{}, {"step_size_sum_norm": True, "step_size_token_norm": False}], ids=["", "norms"]
)
@pytest.mark.parametrize("ahead", [1, 16 * 32 * 2 * 2, 2**22], ids=["one-by-one", "two-by-two", "together"])
def test_step_sizes_ahead_are_those_of_each_iteration(ahead, fields, monkeypatch):
    fields = {"step_size_condition": "initial", "num_iterations": 5, "num_hidden_layers": 2} | fields
    fields["step_size_per_layer"] = True
    model, inputs = (
        make_model("token-classification", **fields).train(),
        make_inputs("token-classification", labels=True),
    )
    model.gradient_checkpointing_enable()  # where the layer computes its own
    expected = losses_and_gradients(model, **inputs)
    model.gradient_checkpointing_disable()
    monkeypatch.setattr(steps_hyperset, "AHEAD", ahead)
    calls = []
    hook = model.hyperset.step_sizes[0].projection.register_forward_hook(lambda *_: calls.append(1))
    actual = losses_and_gradients(model, **inputs)
    hook.remove()
    assert len(calls) == {1: 5, 2048: 3, 2**22: 1}[ahead]
    for value, wanted in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-5)


def test_attention_weights_are_those_of_the_fused_output():
    """`output_attentions` takes the reference; its weights times the tokens are what the kernels give."""
    model, inputs = make_model("images"), make_inputs("images")
    assert model.config._attn_implementation == "fused"
    fused = model(**inputs).last_hidden_state
    recorded = model(**inputs, output_attentions=True)
    torch.testing.assert_close(recorded.last_hidden_state, fused, rtol=1e-4, atol=1e-5)
    attention = model.layers[0].attention
    tokens = torch.nn.functional.rms_norm(attention.subspaces(recorded_input(model, inputs)), (8,), eps=attention.eps)
    query_gain, key_gain, _ = (norm.weight for norm in attention.qkv_norms)
    _, weights = bi_softmax_eager(tokens * query_gain, tokens * key_gain, tokens, 8**-0.5)
    torch.testing.assert_close(recorded.attentions[0], weights, rtol=1e-4, atol=1e-5)


def recorded_input(model, inputs) -> torch.Tensor:
    """X_0."""
    return model(**inputs, output_hidden_states=True).hidden_states[0]


def test_a_layer_that_is_replaced_keeps_the_read_out_whole():
    """A head whose layer cannot prune still reads the first token."""
    model, inputs = make_model("sequence-classification", layer_type="crate"), make_inputs("sequence-classification")
    base = model.hyperset(**inputs)
    torch.testing.assert_close(model(**inputs).logits, model.classifier(base.last_hidden_state[:, 0]))


@pytest.mark.skipif(torch.__version__.startswith("2.6."), reason="torch 2.6 traces no layer of transformers 5")
@pytest.mark.parametrize(
    ("name", "case", "most"),
    [
        ("default", "image-classification", 2),
        ("initial", "sequence-classification", 2),
        pytest.param("layers", "image-classification", 2, marks=pytest.mark.slow),
        pytest.param("transformer", "sequence-classification", 2, marks=pytest.mark.slow),
        pytest.param("adam", "image-classification", 3, marks=pytest.mark.slow),
    ],
)
def test_compiled_layers_serve_any_depth(name, case, most):
    """The same outputs and gradients, and the number of graphs does not grow with depth."""
    torch.compiler.reset()
    model, inputs = make_model(case, **VARIANTS[name]), make_inputs(case, labels=True)
    expected = [losses_and_gradients(model, **inputs, num_iterations=depth) for depth in (3, 2, 5)]
    counter = CompileCounterWithBackend("aot_eager")
    model.compile_repeated_blocks(backend=counter, fullgraph=True)
    for depth, wanted in zip((3, 2, 5), expected, strict=True):
        for actual, one in zip(losses_and_gradients(model, **inputs, num_iterations=depth), wanted, strict=True):
            torch.testing.assert_close(actual, one, rtol=1e-4, atol=1e-5)
    assert 1 <= counter.frame_count <= most
    torch.compiler.reset()

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The answer after t iterations is what a pass of t iterations answers, and takes one pass where there is one layer."""

import pytest
import torch

from modeling_hyperset.analysis import analyze, answers
from support.builders import make_inputs, make_model


@pytest.mark.parametrize("num_hidden_layers", [1, 2])
@pytest.mark.parametrize("layer_type", ["hyperset", "transformer"])
@pytest.mark.parametrize("case", ["image-classification", "sequence-classification", "token-classification"])
def test_answers_are_those_of_shallower_passes(case, layer_type, num_hidden_layers):
    model = make_model(case, layer_type=layer_type, num_hidden_layers=num_hidden_layers)
    inputs, passes = make_inputs(case), []
    if case == "sequence-classification":  # one text of full length, one with padding
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["attention_mask"][1, 9:] = 0
    model.base_model.register_forward_hook(lambda *_: passes.append(1))
    found = answers(model, inputs, 5)
    assert len(passes) == (1 if num_hidden_layers == 1 else 5)
    assert found.trained_iterations == model.config.num_iterations and len(found.logits) == 5
    has_energies = layer_type == "hyperset"
    assert (found.energies is not None) == has_energies
    for depth in range(1, 6):
        with torch.no_grad():
            outputs = model(**inputs, num_iterations=depth, output_energies=has_energies)
        torch.testing.assert_close(found.logits[depth - 1], outputs.logits)
        if found.energies is not None:
            torch.testing.assert_close(found.energies[depth - 1], outputs.energies[-1])


def test_answers_leave_the_model_and_refuse_what_has_none():
    model = make_model("image-classification").train()
    answers(model, make_inputs("image-classification"))
    assert (
        model.training
        and len(answers(model, make_inputs("image-classification")).logits) == model.config.num_iterations
    )
    with pytest.raises(ValueError, match="`model` must have an answer"):
        answers(model.base_model, make_inputs("image-classification"))
    with pytest.raises(ValueError, match="`num_iterations`"):
        answers(model, make_inputs("image-classification"), 0)


def test_the_analysis_counts_the_same_answers():
    model, inputs = make_model("image-classification"), make_inputs("image-classification")
    labels = torch.zeros(len(inputs["pixel_values"]), dtype=torch.long)
    right = (answers(model, inputs, 3).logits.argmax(dim=-1) == labels).double().mean(dim=1)
    analysis = analyze(model, inputs | {"labels": labels}, 3, ["accuracy"])
    assert analysis.mean("accuracy").tolist() == pytest.approx(right.tolist())

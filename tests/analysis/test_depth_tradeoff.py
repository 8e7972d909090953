# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Accuracy against mean iterations is what the model gives, sample by sample."""

import pytest
import torch

from modeling_hyperset.analysis import accuracy_at_depths
from support.builders import make_inputs, make_model


FIELDS = {"num_iterations": 5, "step_size_type": "fixed", "hidden_act": "relu", "num_hidden_layers": 2}


@pytest.mark.parametrize("case", ["sequence-classification", "token-classification"])
def test_points_are_what_the_model_gives(case):
    model = make_model(case, **FIELDS).train()
    input_ids = torch.randint(0, 19, (7, 16))
    labels = torch.arange(7) % 5
    if case == "token-classification":
        labels = (input_ids % 5).masked_fill(input_ids < 4, -100)
    batches = [{"input_ids": input_ids[part], "labels": labels[part]} for part in (slice(4), slice(4, 7))]
    points = accuracy_at_depths(model, batches, [0.01, 0.0], num_iterations=[2, 5], most_iterations=7)
    assert model.training
    model.eval()
    assert [(point.energy_tolerance, point.num_iterations) for point in points] == [
        (0.01, 7),
        (0.0, 7),
        (None, 2),
        (None, 5),
    ]
    for point in points:
        tolerance = False if point.energy_tolerance is None else point.energy_tolerance
        outputs = model(input_ids, num_iterations=point.num_iterations, energy_tolerance=tolerance)
        right = (outputs.logits.argmax(dim=-1) == labels)[labels != -100]
        assert point.accuracy == pytest.approx(right.double().mean().item()) and point.num_samples == 7
        used = outputs.num_iterations_used
        assert point.mean_iterations == (2 * point.num_iterations if used is None else used.double().mean())


def test_bad_batches():
    model = make_model("sequence-classification", **FIELDS)
    with pytest.raises(ValueError, match="labels"):
        accuracy_at_depths(model, [{"input_ids": torch.zeros(2, 16, dtype=torch.long)}], [0.1])
    images = make_model("image-classification")
    batch = make_inputs("image-classification")
    with pytest.raises(ValueError, match="`batches` must hold `labels` that are classes, got pixel_values"):
        accuracy_at_depths(images, batch, [0.1])
    with pytest.raises(ValueError, match="`batches` must hold mappings"):
        accuracy_at_depths(images, [tuple(batch.values())], [0.1])
    with pytest.raises(ValueError, match="HyperSETModel has no head"):
        accuracy_at_depths(make_model("images"), batch, [0.1])
    with pytest.raises(ValueError, match="batches"):
        accuracy_at_depths(model, [], [0.1])
    assert not model.training

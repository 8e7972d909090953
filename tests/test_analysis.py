# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Effective rank and angles of tokens whose answers are known."""

import math

import pytest
import torch
from builders import make_model

from modeling_hyperset.analysis import angle_of_mean_cosine, effective_rank, mean_angle, subspace_tokens


def test_orthogonal_tokens():
    tokens = 3 * torch.eye(5)[None]
    assert effective_rank(tokens).tolist() == pytest.approx([5.0])
    assert angle_of_mean_cosine(tokens).tolist() == mean_angle(tokens).tolist() == pytest.approx([90.0])


def test_equal_tokens():
    tokens = torch.ones(2, 4, 3)
    assert effective_rank(tokens).tolist() == pytest.approx([1.0, 1.0], abs=1e-3)
    assert mean_angle(tokens).tolist() == pytest.approx([0.0, 0.0], abs=0.1)


def test_the_two_averages_differ():
    tokens = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])  # cosines 1, -1, -1
    assert mean_angle(tokens).item() == pytest.approx(120.0)
    assert angle_of_mean_cosine(tokens).item() == pytest.approx(math.degrees(math.acos(-1 / 3)))


def test_refusals():
    with pytest.raises(ValueError, match="at least two tokens"):
        mean_angle(torch.randn(1, 4))
    with pytest.raises(ValueError, match="HyperSETLayer"):
        subspace_tokens(make_model("images", layer_type="transformer").layers[0], torch.randn(1, 3, 32))

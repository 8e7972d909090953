# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Effective rank and angles of tokens whose answers are known, and running statistics."""

import math

import pytest
import torch
from torch.nn import functional as F

from modeling_hyperset.analysis import (
    angle_of_mean_cosine,
    average_angles,
    effective_rank,
    geometry,
    mean_angle,
    ranks,
    subspace_tokens,
)
from modeling_hyperset.analysis.statistics import RunningStatistics
from support.builders import make_model, threads


def test_orthogonal_tokens():
    tokens = 3 * torch.eye(5)[None]
    assert effective_rank(tokens).tolist() == pytest.approx([5.0])
    assert angle_of_mean_cosine(tokens).tolist() == mean_angle(tokens).tolist() == pytest.approx([90.0])


def test_equal_tokens():
    tokens = torch.ones(2, 4, 3)
    assert effective_rank(tokens).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert mean_angle(tokens).tolist() == pytest.approx([0.0, 0.0], abs=0.1)


def test_the_two_averages_differ():
    tokens = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])  # cosines 1, -1, -1
    assert mean_angle(tokens).item() == pytest.approx(120.0)
    assert angle_of_mean_cosine(tokens).item() == pytest.approx(math.degrees(math.acos(-1 / 3)))


def rank_by_svd(tokens: torch.Tensor) -> torch.Tensor:
    values = torch.linalg.svdvals(tokens.double())
    shares = values / values.sum(dim=-1, keepdim=True)
    return torch.special.entr(shares).sum(dim=-1).exp()


@pytest.mark.parametrize("shape", [(3, 2, 17, 24), (3, 2, 40, 8), (5, 4)])
@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])
def test_rank_equals_the_one_by_singular_values(shape, spread):
    """Also of tokens that nearly coincide, where a Gram matrix in float32 has lost the small singular values."""
    tokens = torch.randn(*shape[:-2], 1, shape[-1]) + spread * torch.randn(shape)
    torch.testing.assert_close(effective_rank(tokens).double(), rank_by_svd(tokens), rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 17, 24), (3, 40, 8)])
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_full_rank_is_the_number_of_dimensions(dtype, shape, rank):
    """Of tokens in some dimensions, of which the last is a thousandth as wide. Padding adds none."""
    left, right = torch.randn(*shape[:-1], rank, dtype=dtype), torch.randn(shape[0], rank, shape[-1], dtype=dtype)
    left[..., -1] /= 1000 if rank > 1 else 1
    assert ranks(left @ right)[1].tolist() == [rank] * 3
    masked = torch.cat((left @ right, torch.randn(shape, dtype=dtype)), dim=1)
    mask = torch.arange(masked.shape[1]) < shape[1]
    assert ranks(masked, mask.expand(3, -1))[1].tolist() == [rank] * 3
    assert all(value.isnan().all() for value in ranks(torch.zeros(shape, dtype=dtype)))


def test_rank_on_several_threads():
    tokens = torch.randn(31, 2, 6, 5)
    one = effective_rank(tokens)
    with threads(3):
        torch.testing.assert_close(effective_rank(tokens), one)


@pytest.mark.parametrize("pairs", [geometry.PAIRS, 50])
def test_angles_equal_those_of_all_pairs(pairs, monkeypatch):
    """However many of them are held at once; padding is in no pair."""
    monkeypatch.setattr(geometry, "PAIRS", pairs)
    tokens, mask = torch.randn(2, 3, 7, 4), torch.ones(2, 1, 7, dtype=torch.bool)
    mask[1, :, 4:] = False
    found = average_angles(tokens, mask)
    for sample, count in enumerate((7, 4)):
        directions = F.normalize(tokens[sample, :, :count], dim=-1)
        first, second = torch.triu_indices(count, count, offset=1)
        cosines = (directions @ directions.mT)[:, first, second]
        torch.testing.assert_close(found[0][sample], cosines.mean(dim=-1).arccos().rad2deg(), rtol=1e-4, atol=0)
        torch.testing.assert_close(found[1][sample], cosines.arccos().mean(dim=-1).rad2deg(), rtol=1e-4, atol=0)
        alone = average_angles(tokens[sample, :, :count])
        torch.testing.assert_close((found[0][sample], found[1][sample]), alone)
        rank = effective_rank(tokens, mask)[sample]
        torch.testing.assert_close(rank, effective_rank(tokens[sample, :, :count]), rtol=1e-5, atol=0)


def test_refusals():
    with pytest.raises(ValueError, match="at least two tokens"):
        mean_angle(torch.randn(1, 4))
    for layer_type in ("transformer", "energy_transformer"):
        with pytest.raises(ValueError, match="`layer` must project queries and keys with one matrix"):
            subspace_tokens(make_model("images", layer_type=layer_type).layers[0], torch.randn(1, 3, 32))


@pytest.mark.parametrize("offset", [0.0, 1e7])
def test_running_statistics_equal_those_of_all_at_once(offset):
    values = torch.randn(3, 50, 2, dtype=torch.float64) + offset
    weights = torch.arange(50) % 4
    plain, weighted = RunningStatistics(), RunningStatistics()
    for batch, counts in zip(values.split([7, 1, 42], dim=1), weights.split([7, 1, 42]), strict=True):
        plain.update(batch)
        weighted.update(batch.masked_fill((counts == 0)[None, :, None], math.nan), counts)
    torch.testing.assert_close(plain.mean, values.mean(dim=1))
    torch.testing.assert_close(plain.std, values.std(dim=1, correction=0), rtol=1e-6, atol=0)
    repeated = values.repeat_interleave(weights, dim=1)
    torch.testing.assert_close(weighted.mean, repeated.mean(dim=1))
    torch.testing.assert_close(weighted.std, repeated.std(dim=1, correction=0), rtol=1e-6, atol=0)
    assert weighted.to_dict()["count"] == weights.sum()
    weighted.update(torch.full((3, 1, 2), math.nan))
    assert weighted.to_dict()["mean"] == [[None, None]] * 3

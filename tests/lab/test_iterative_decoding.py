# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Filling in masked VQ codes step by step, for any masks, numbers of steps and predictions."""

import importlib
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st


SCRIPTS = Path(__file__).parents[2] / "scripts"
NUM_CODES = 7


@pytest.fixture(scope="module")
def decoding():
    return importlib.import_module("hyperset_lab.masked_images.decoding")


def predictor(seed: int, num_cells: int):
    """Logits of each cell that depend on all codes of its image, and on nothing else."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(NUM_CODES + 1, num_cells, NUM_CODES, generator=generator, dtype=torch.float64)
    return lambda codes: torch.stack([3 * own[row, torch.arange(num_cells)] + own[row].mean(0) for row in codes])


def generators(seeds) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@given(num_masked=st.integers(0, 300), num_steps=st.integers(1, 40))
def test_every_step_of_the_schedule_fixes_some_and_all_steps_fix_all(decoding, num_masked, num_steps):
    counts = decoding.decoding_schedule(num_masked, num_steps)
    assert sum(counts) == num_masked and len(counts) == min(num_masked, num_steps)
    assert all(count >= 1 for count in counts)


def test_the_schedule_is_arccos(decoding):
    counts = decoding.decoding_schedule(10_000, 12)
    weights = [math.acos(1 - step / 11) for step in range(12)]
    assert counts == pytest.approx([10_000 * weight / sum(weights) for weight in weights], abs=1.5)
    assert decoding.decoding_schedule(5, 1) == [5]
    for arguments in ((-1, 3), (3, 0)):
        with pytest.raises(ValueError, match=r"num_masked.*num_steps"):
            decoding.decoding_schedule(*arguments)


@given(
    masked=st.integers(1, 12).flatmap(
        lambda cells: st.lists(st.lists(st.booleans(), min_size=cells, max_size=cells), min_size=1, max_size=4)
    ),
    num_steps=st.integers(1, 15),
    temperature=st.sampled_from([0.0, 0.3, 1.0]),
    choice_temperature=st.sampled_from([0.0, 4.5]),
    seed=st.integers(0, 2**31),
)
def test_steps(decoding, masked, num_steps, temperature, choice_temperature, seed):
    """
    Only masked codes change, each once and to a code of the codebook; every step fixes at least one of each image that has any
    left; in the end none is masked; the same generators give the same, for each image alone too.
    """
    masked = torch.tensor(masked)
    codes = torch.randint(NUM_CODES, masked.shape, generator=torch.Generator().manual_seed(seed))
    predict, seeds = predictor(seed, masked.shape[1]), range(seed, seed + len(masked))
    options = {"temperature": temperature, "choice_temperature": choice_temperature}

    def decode(codes, masked, seeds):
        return decoding.iterative_decode(predict, codes, masked, NUM_CODES, num_steps, generators(seeds), **options)

    before_codes, before = codes.masked_fill(masked, NUM_CODES), masked
    steps = list(decoding.decoding_steps(predict, codes, masked, NUM_CODES, num_steps, generators(seeds), **options))
    assert len(steps) == min(num_steps, int(masked.sum(dim=1).max()))
    for after_codes, after in steps:
        assert not (after & ~before).any() and torch.equal(after_codes[~before], before_codes[~before])
        assert torch.equal(after_codes == NUM_CODES, after)
        assert ((before.sum(dim=1) - after.sum(dim=1) >= 1) | ~before.any(dim=1)).all()
        before_codes, before = after_codes, after
    assert not before.any()

    decoded = decode(codes, masked, seeds)
    assert torch.equal(decoded, steps[-1][0] if steps else codes)
    assert torch.equal(decoded[~masked], codes[~masked]) and ((decoded >= 0) & (decoded < NUM_CODES)).all()
    # What a masked cell holds is not looked at.
    assert torch.equal(decode(codes.masked_fill(masked, 0), masked, seeds), decoded)
    for index in range(len(masked)):
        alone = slice(index, index + 1)
        assert torch.equal(decode(codes[alone], masked[alone], seeds[alone]), decoded[alone])


def test_codes_are_drawn_from_the_softmax(decoding):
    logits = torch.tensor([0.0, 1.0, 2.0])
    codes = torch.zeros(4000, 1, dtype=torch.long)
    for temperature in (1.0, 0.5):
        decoded = decoding.iterative_decode(
            lambda codes: logits.expand(len(codes), 1, 3),
            codes,
            torch.ones_like(codes, dtype=torch.bool),
            3,
            1,
            generators(range(4000)),
            temperature=temperature,
        )
        shares = torch.bincount(decoded.flatten(), minlength=3) / 4000
        torch.testing.assert_close(shares, (logits / temperature).softmax(0), atol=0.025, rtol=0)


def test_the_most_certain_codes_are_fixed_first(decoding):
    """Without noise, and each step sees what the ones before it fixed."""
    seen = []

    def predict(codes):
        seen.append(codes.clone())
        certainty = torch.tensor([1.0, 5.0, 3.0, 4.0])
        return torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 0]]), 3) * certainty[:, None]

    codes, masked = torch.tensor([[2, 2, 2, 2]]), torch.tensor([[True, True, True, False]])
    steps = decoding.decoding_steps(
        predict, codes, masked, 3, 3, generators([0]), temperature=0.0, choice_temperature=0.0
    )
    assert [codes.tolist() for codes, _ in steps] == [[[3, 1, 3, 2]], [[3, 1, 2, 2]], [[0, 1, 2, 2]]]
    assert [codes.tolist() for codes in seen] == [[[3, 3, 3, 2]], [[3, 1, 3, 2]], [[3, 1, 2, 2]]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masked": torch.ones(2, 3, dtype=torch.bool)}, "masked"),
        ({"codes": torch.zeros(2, 2, 2), "masked": torch.ones(2, 2, 2)}, "num_cells"),
        ({"generators": generators([0])}, "generators"),
        ({"temperature": -1.0}, "temperature"),
        ({"choice_temperature": -1.0}, "choice_temperature"),
        ({"num_steps": 0}, "num_steps"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_bad_input(decoding, changes, message):
    arguments = {
        "predict": predictor(0, 4),
        "codes": torch.zeros(2, 4, dtype=torch.long),
        "masked": torch.ones(2, 4, dtype=torch.bool),
        "mask_token_id": NUM_CODES,
        "num_steps": 3,
        "generators": generators([0, 1]),
    }
    with pytest.raises(ValueError, match=message):
        decoding.iterative_decode(**(arguments | changes))

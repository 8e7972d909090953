# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Many calls leak nothing, threads do not disturb each other, and the same seed gives the same weights."""

import copy
import gc
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from support.builders import CASES, SMALL, make_inputs, make_model, threads


TINY = {"hidden_size": 8, "num_attention_heads": 2, "num_iterations": 2, "step_size_time_dim": 4}
MEBIBYTE = 2**20


def memory() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def check_no_leak(call, times: int, capsys) -> None:
    """
    `call` keeps neither objects nor memory, `times` calls after the first. The allocator may take more memory once and keep
    it; a leak takes more in every part of the calls.
    """
    sizes, of_part = [], times // 5
    for _part in range(6):
        for _ in range(of_part):
            call()
        gc.collect()
        sizes.append((memory(), len(gc.get_objects())))
    growth = [after - before for (before, _), (after, _) in itertools.pairwise(sizes)]
    left = sizes[-1][1] - sizes[0][1]
    with capsys.disabled():
        parts = ", ".join(f"{size / MEBIBYTE:+.2f}" for size in growth)
        print(f"\n{times} calls: {parts} MiB, {left:+d} objects.")
    assert left < times // 100  # far less than one for a call
    assert min(growth) < of_part * 1024  # less than a KiB for each, as a tensor of these models has


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory from /proc")


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"output_energies": True, "output_hidden_states": True}], ids=["plain", "energies"]
)
def test_calls_leak_nothing(options, capsys):
    model, inputs = make_model("image-classification", **TINY), make_inputs("image-classification")
    with torch.no_grad():
        check_no_leak(lambda: model(**inputs, **options), 2_000, capsys)


@needs_proc
@pytest.mark.slow
def test_steps_of_training_leak_nothing(capsys):
    model, inputs = (
        make_model("image-classification", **TINY).train(),
        make_inputs("image-classification", labels=True),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step():
        model(**inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    check_no_leak(step, 500, capsys)


def everything(model, inputs, **options) -> list[torch.Tensor]:
    with torch.no_grad():
        outputs = model(**inputs, **options)
    parts = [part for value in outputs.values() for part in (value if isinstance(value, tuple) else (value,))]
    return [part for part in parts if isinstance(part, torch.Tensor)]  # no cache


RECORDED = {"output_hidden_states": True, "output_energies": True}


@pytest.mark.parametrize("case", CASES)
def test_eight_threads_at_once_equal_one_after_the_other(case):
    """
    The hooks that record outputs are installed by the first call that asks for them, here by eight at once, and each thread
    gets its own record. Some ask for nothing, or for another number of iterations.
    """
    options = [RECORDED, {}, RECORDED | {"num_iterations": 5}, RECORDED | {"output_attentions": True}]
    calls = [(make_inputs(case, batch_size=1 + index % 3), options[index % 4]) for index in range(32)]
    model = make_model(case)
    other = copy.deepcopy(model)  # so that none has its hooks yet
    serial = [everything(other, inputs, **asked) for inputs, asked in calls]
    with ThreadPoolExecutor(8) as pool:
        at_once = list(pool.map(lambda call: everything(model, call[0], **call[1]), calls))
    for wanted, got in zip(serial, at_once, strict=True):
        assert len(wanted) == len(got) and all(map(torch.equal, wanted, got))


def test_threads_share_no_memory_of_the_kernels():
    """Sequences of many blocks, of several lengths, forward and backward."""
    model = make_model("tokens", max_position_embeddings=700, hidden_size=8, num_attention_heads=2)
    calls = [torch.randn(1, length, 8) for length in (1, 64, 333, 700)] * 4

    def gradient(embeds):
        embeds = embeds.clone().requires_grad_()
        model(inputs_embeds=embeds).last_hidden_state.square().sum().backward(inputs=[embeds])
        return embeds.grad

    serial = list(map(gradient, calls))
    with ThreadPoolExecutor(8) as pool:
        assert all(map(torch.equal, serial, pool.map(gradient, calls)))


def trained(case: str, num_threads: int) -> dict[str, torch.Tensor]:
    """The weights after five steps from a seed, with dropout."""
    with threads(num_threads):
        torch.manual_seed(3)
        model_class, kind = CASES[case]
        model = model_class(model_class.config_class(**(SMALL | kind | {"embedding_dropout": 0.1}))).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for _ in range(5):
            model(**make_inputs(case, labels=True)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return model.state_dict()


@pytest.mark.parametrize("case", ["image-classification", "masked-lm", "masked-pixels"])
def test_same_seed_same_weights(case):
    """Bit for bit with the same number of threads; with another one sums are rounded in another order."""
    weights, again, on_two = trained(case, 1), trained(case, 1), trained(case, 2)
    for name, tensor in weights.items():
        assert torch.equal(tensor, again[name]), name
    torch.testing.assert_close(weights, on_two, rtol=1e-2, atol=1e-4)

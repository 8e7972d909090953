# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The attention kernels against the plain reference in float64."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional as F

from hyperset_lab.gpu_check.report import Check, Found
from modeling_hyperset.attention_hyperset import bi_softmax_eager, bi_softmax_fused


@dataclass(frozen=True)
class Case:
    """
    Tokens to attend to. `is_strided` says that the heads lie as the model lays them out. `spread` multiplies the gains. If it
    is not 1, tokens also have lengths of their own, so that scores lie far apart.
    """

    dtype: str
    head_dim: int
    seq_len: int = 257
    num_heads: int = 3
    is_masked: bool = False
    tf32: bool = False
    is_strided: bool = True
    spread: float = 1.0

    def __str__(self) -> str:
        words = [self.dtype, f"head {self.head_dim}", f"{self.seq_len} tokens"]
        words += ["mask"] * self.is_masked + ["TF32"] * self.tf32 + ["contiguous"] * (not self.is_strided)
        return ", ".join(words + [f"gain {self.spread:g}"] * (self.spread != 1))


# The error of a vector is relative to its length. A number has 24, 11 (TF32 and float16) or 8 bits.
LIMITS = {"float32": 1e-5, "tf32": 1e-2, "float16": 1e-2, "bfloat16": 4e-2}
HEAD_DIMS = (64, 32, 128, 80, 256, 16)


def cases_of(dtypes: list[tuple[str, bool]], head_dims: tuple[int, ...] = HEAD_DIMS) -> list[Case]:
    """The dtypes and heads that users have first. One head has all the lengths, masks and layouts."""
    cases = [Case(dtype, 64, tf32=tf32, is_masked=masked) for masked in (False, True) for dtype, tf32 in dtypes]
    for dtype, tf32 in dtypes:
        cases += [Case(dtype, size, tf32=tf32, is_masked=size % 3 == 2) for size in head_dims if size != 64]
    for dtype, tf32 in dtypes:
        cases += [
            Case(dtype, 64, 256, tf32=tf32, is_masked=True, is_strided=False),
            Case(dtype, 64, 1, tf32=tf32),
            Case(dtype, 64, 70, 1, tf32=tf32, is_masked=True),
        ]
    # Scores of hundreds: each softmax has an exponential of its own there. Half precision cannot hold such scores.
    cases += [Case("float32", 64, spread=24.0, is_masked=True)]
    return cases


@contextlib.contextmanager
def tf32(is_allowed: bool) -> Iterator[None]:
    """float32 products on tensor cores, or not."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if is_allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def relative(value: torch.Tensor, wanted: torch.Tensor, least: float = 1e-30) -> float:
    """The length of the error over that of what is wanted, or over `least` if that is more."""
    return float((value.double() - wanted.double()).norm() / wanted.double().norm().clamp(min=least))


def operands(case: Case, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Tokens of unit RMS, the gain, the mask, and the gradient of the output."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, case.seq_len, case.num_heads, case.head_dim)
    dtype = getattr(torch, case.dtype)

    def random(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator)

    tokens = F.rms_norm(random(*shape), shape[-1:]).to(device, dtype).transpose(1, 2)
    if case.spread != 1:
        tokens = tokens * torch.linspace(0.3, 1, case.seq_len, device=device, dtype=dtype)[:, None]
    tokens = tokens if case.is_strided else tokens.contiguous()
    gain = (case.spread * case.head_dim**-0.5 * (1 + 0.3 * random(case.head_dim))).to(device)
    mask = None
    if case.is_masked:
        mask = torch.rand(2, case.seq_len, generator=generator) > 0.3
        mask[:, 0] = True
        mask = mask.to(device)
    cotangent = random(2, case.num_heads, case.seq_len, case.head_dim).to(device, dtype)
    return tokens.requires_grad_(), gain.requires_grad_(), mask, cotangent


def first_row(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[..., :1, :]


def check_case(case: Case, device: torch.device) -> Found:
    """Output, gradients, one row alone, and the same numbers again."""
    tokens, gain, mask, cotangent = operands(case, device)
    with tf32(False):
        exact = [tensor.detach().double().requires_grad_() for tensor in (tokens, gain)]
        expected, _ = bi_softmax_eager(exact[0] * exact[1], exact[0], exact[0], 1.0, mask)
        wanted = expected, *torch.autograd.grad(expected, exact, cotangent.double())
    limit = LIMITS["tf32" if case.tf32 else case.dtype] * max(1.0, case.spread)
    with tf32(case.tf32):
        poison = torch.full((2**22,), float("nan"), device=device)
        del poison  # memory that a kernel asks for and does not write shows NaN
        output = bi_softmax_fused(tokens, gain, mask)
        values = output, *torch.autograd.grad(output, (tokens, gain), cotangent)
        row = bi_softmax_fused(tokens, gain, mask, rows=first_row)
        again = torch.autograd.grad(bi_softmax_fused(tokens, gain, mask), (tokens, gain), cotangent)
    names = ("output", "dz", "dgain")
    least = 0.01 * float(
        cotangent.double().norm()
    )  # where softmaxes choose one token, the gradient of the gain is zero
    measured = {name: relative(value, want, least) for name, value, want in zip(names, values, wanted, strict=True)}
    measured["one row"] = relative(row, first_row(wanted[0]))
    limits = dict.fromkeys(measured, limit)
    measured["differs when repeated"] = float(
        any(not torch.equal(*pair) for pair in zip(again, values[1:], strict=True))
    )
    return Found(measured, limits | {"differs when repeated": 0.0})


def check_read_out(spread: float, device: torch.device) -> Found:
    """The row that a classifier reads, computed alone, against the same row of all. (A GPU rounds the scores of both alike.)"""
    tokens, gain, _, _ = operands(Case("bfloat16", 64, num_heads=2, spread=spread), device)
    with torch.no_grad():
        alone = bi_softmax_fused(tokens, gain, rows=first_row)
        limit = 1e-2 if device.type == "cuda" else LIMITS["bfloat16"]
        return Found({"difference": relative(alone, first_row(bi_softmax_fused(tokens, gain)))}, {"difference": limit})


def check_size(shape: tuple[int, int, int, int], device: torch.device) -> Found:
    """The last matrix of very many, or a very long one, against the reference in float64 where that fits."""
    tokens = torch.randn(shape, device=device, dtype=torch.bfloat16)
    gain = torch.full(shape[-1:], 0.3 * shape[-1] ** -0.5, device=device)
    with torch.no_grad():
        output = bi_softmax_fused(tokens, gain)[-1:]
        measured = {"not finite": float((~torch.isfinite(output)).sum())}
        limits = {"not finite": 0.0}
        if shape[2] <= 4096:
            exact = tokens[-1:].double()
            measured["output"] = relative(output, bi_softmax_eager(exact * gain, exact, exact, 1.0)[0])
            limits["output"] = LIMITS["bfloat16"]
    return Found(measured, limits)


def checked_cases(is_tiny: bool) -> list[Case]:
    """The cases of [`checks`], in their order."""
    if is_tiny:
        return [Case("float32", 16, 9), Case("bfloat16", 8, 9, is_masked=True), Case("float32", 16, 9, spread=24.0)]
    return cases_of([("bfloat16", False), ("float32", False), ("float16", False), ("float32", True)])


def checks(device: torch.device, is_tiny: bool) -> list[Check]:
    """Those of numbers, the most important first."""
    cases = checked_cases(is_tiny)
    found = [Check("numbers", str(case), 20, partial(check_case, case, device)) for case in cases]
    for spread in (1.0, 8.0, 64.0):
        name = f"the row of a classifier, gain {spread:g}"
        found.append(Check("numbers", name, 20, partial(check_read_out, spread, device)))
    return found


def size_checks(device: torch.device, is_tiny: bool) -> list[Check]:
    """Those of sizes at which indices of 16 or 32 bits end."""
    sizes = {
        "more than 65,535 matrices": (70000, 1, 16, 64),
        "more than 2³¹ numbers": (530000, 1, 64, 64),
        "65,536 tokens": (1, 2, 65536, 64),
    }
    if is_tiny:
        sizes = {"many matrices": (40, 1, 4, 8), "long": (1, 1, 600, 8)}
    return [Check("sizes", name, 20, partial(check_size, shape, device)) for name, shape in sizes.items()]

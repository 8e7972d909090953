# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Bi-softmax attention (Eq. 7) on a GPU in Triton, with the formulas of `attention_cpu_hyperset.py`. Each program works on a block
of rows. Because S is symmetric, the program of rows i can compute all of the gradient of z_i, without atomics. One sweep over
the columns gives y. In the backward pass one sweep gives δ and one gives dz. All sums are in float32. Matrix products take
operands in the dtype of the tokens.
"""

import torch

from .attention_cpu_hyperset import Kernels


try:  # a CPU does not need this, but transformers would require every import of a checkpoint's code that is outside a `try`
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError("The kernels for GPUs are written in Triton: pip install triton") from error


LOG2E = tl.constexpr(1.4426950408889634)  # exponentials have base two here


@triton.jit
def load_rows(pointer, rows, channels, seq_len, HEAD_DIM: tl.constexpr):
    """(rows, channels) of one matrix, zero outside it."""
    inside = (rows[:, None] < seq_len) & (channels[None, :] < HEAD_DIM)
    return tl.load(pointer + rows[:, None] * HEAD_DIM + channels[None, :], mask=inside, other=0.0)


@triton.jit
def store_rows(pointer, value, rows, channels, seq_len, HEAD_DIM: tl.constexpr):
    inside = (rows[:, None] < seq_len) & (channels[None, :] < HEAD_DIM)
    value = value.to(pointer.dtype.element_ty)
    tl.store(pointer + rows[:, None] * HEAD_DIM + channels[None, :], value, mask=inside)


@triton.jit
def are_tokens(mask, rows, seq_len, HAS_MASK: tl.constexpr):
    """Which of these rows are not padding."""
    inside = rows < seq_len
    if HAS_MASK:
        inside = inside & (tl.load(mask + rows, mask=inside, other=0) != 0)
    return inside


@triton.jit
def normaliser_kernel(
    tokens,
    gain,
    mask,
    normaliser,
    heads,
    seq_len,
    HAS_MASK: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """r of a block of rows; +∞ at padding."""
    matrix = tl.program_id(0).to(tl.int64)
    tokens += matrix * seq_len * HEAD_DIM
    mask += matrix // heads * seq_len
    rows, channels = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.arange(0, CHANNELS)
    gains = tl.load(gain + channels, mask=channels < HEAD_DIM, other=0.0).to(tl.float32) * LOG2E
    row_tokens = load_rows(tokens, rows, channels, seq_len, HEAD_DIM)
    query = (row_tokens * gains[None, :]).to(row_tokens.dtype)

    maximum, total = tl.full((ROWS,), -1e30, tl.float32), tl.zeros((ROWS,), tl.float32)
    for first in range(0, seq_len, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        column_tokens = load_rows(tokens, columns, channels, seq_len, HEAD_DIM)
        scores = tl.dot(query, tl.trans(column_tokens), input_precision=PRECISION)
        scores = tl.where(are_tokens(mask, columns, seq_len, HAS_MASK)[None, :], scores, float("-inf"))
        larger = tl.maximum(maximum, tl.max(scores, 1))
        total = total * tl.exp2(maximum - larger) + tl.sum(tl.exp2(scores - larger[:, None]), 1)
        maximum = larger
    result = (maximum + tl.log2(total)) / LOG2E
    result = tl.where(are_tokens(mask, rows, seq_len, HAS_MASK), result, float("inf"))
    tl.store(normaliser + matrix * seq_len + rows, result, mask=rows < seq_len)


@triton.jit
def forward_kernel(
    tokens,
    gain,
    mask,
    normaliser,
    output,
    heads,
    seq_len,
    HAS_MASK: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """y of a block of rows."""
    matrix = tl.program_id(0).to(tl.int64)
    tokens += matrix * seq_len * HEAD_DIM
    normaliser += matrix * seq_len
    mask += matrix // heads * seq_len
    rows, channels = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.arange(0, CHANNELS)
    gains = tl.load(gain + channels, mask=channels < HEAD_DIM, other=0.0).to(tl.float32) * LOG2E
    row_tokens = load_rows(tokens, rows, channels, seq_len, HEAD_DIM)
    query = (row_tokens * gains[None, :]).to(row_tokens.dtype)
    row_normaliser = tl.load(normaliser + rows, mask=rows < seq_len, other=float("inf")) * LOG2E

    attended = tl.zeros((ROWS, CHANNELS), tl.float32)
    for first in range(0, seq_len, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        column_tokens = load_rows(tokens, columns, channels, seq_len, HEAD_DIM)
        # +∞ at padding makes its share of the softmax over queries zero.
        column_normaliser = tl.load(normaliser + columns, mask=columns < seq_len, other=float("inf")) * LOG2E
        scores = tl.dot(query, tl.trans(column_tokens), input_precision=PRECISION)
        over_keys = tl.exp2(scores - row_normaliser[:, None])
        over_keys = tl.where(are_tokens(mask, columns, seq_len, HAS_MASK)[None, :], over_keys, 0.0)
        weights = over_keys + tl.exp2(scores - column_normaliser[None, :])
        attended += tl.dot(weights.to(column_tokens.dtype), column_tokens, input_precision=PRECISION)
    attended = tl.where(are_tokens(mask, rows, seq_len, HAS_MASK)[:, None], attended, 0.0)
    store_rows(output + matrix * seq_len * HEAD_DIM, attended, rows, channels, seq_len, HEAD_DIM)


@triton.jit
def delta_kernel(
    tokens,
    gain,
    mask,
    normaliser,
    grad_output,
    delta,
    heads,
    seq_len,
    HAS_MASK: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """δ of a block of rows."""
    matrix = tl.program_id(0).to(tl.int64)
    tokens += matrix * seq_len * HEAD_DIM
    grad_output += matrix * seq_len * HEAD_DIM
    normaliser += matrix * seq_len
    mask += matrix // heads * seq_len
    rows, channels = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.arange(0, CHANNELS)
    gains = tl.load(gain + channels, mask=channels < HEAD_DIM, other=0.0).to(tl.float32) * LOG2E
    row_tokens = load_rows(tokens, rows, channels, seq_len, HEAD_DIM)
    row_grad = load_rows(grad_output, rows, channels, seq_len, HEAD_DIM)
    query = (row_tokens * gains[None, :]).to(row_tokens.dtype)
    row_normaliser = tl.load(normaliser + rows, mask=rows < seq_len, other=float("inf")) * LOG2E

    total = tl.zeros((ROWS,), tl.float32)
    for first in range(0, seq_len, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        column_tokens = load_rows(tokens, columns, channels, seq_len, HEAD_DIM)
        column_grad = load_rows(grad_output, columns, channels, seq_len, HEAD_DIM)
        scores = tl.dot(query, tl.trans(column_tokens), input_precision=PRECISION)
        over_keys = tl.exp2(scores - row_normaliser[:, None])
        over_keys = tl.where(are_tokens(mask, columns, seq_len, HAS_MASK)[None, :], over_keys, 0.0)
        of_pairs = tl.dot(row_grad, tl.trans(column_tokens), input_precision=PRECISION)
        of_pairs += tl.dot(row_tokens, tl.trans(column_grad), input_precision=PRECISION)
        total += tl.sum(over_keys * of_pairs, 1)
    tl.store(delta + matrix * seq_len + rows, total, mask=rows < seq_len)


@triton.jit
def backward_kernel(
    tokens,
    gain,
    mask,
    normaliser,
    grad_output,
    delta,
    grad_tokens,
    grad_gain,
    heads,
    seq_len,
    OF_NORMALISER: tl.constexpr,
    HAS_MASK: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """dz of a block of rows, and the block's part of dgain. `OF_NORMALISER`: the loss only depends on r, and `delta` is dr."""
    matrix = tl.program_id(0).to(tl.int64)
    tokens += matrix * seq_len * HEAD_DIM
    normaliser += matrix * seq_len
    delta += matrix * seq_len
    mask += matrix // heads * seq_len
    rows, channels = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.arange(0, CHANNELS)
    gains = tl.load(gain + channels, mask=channels < HEAD_DIM, other=0.0).to(tl.float32)
    row_tokens = load_rows(tokens, rows, channels, seq_len, HEAD_DIM)
    query = (row_tokens * (gains * LOG2E)[None, :]).to(row_tokens.dtype)
    row_normaliser = tl.load(normaliser + rows, mask=rows < seq_len, other=float("inf")) * LOG2E
    row_delta = tl.load(delta + rows, mask=rows < seq_len, other=0.0)
    of_values, of_scores = tl.zeros((ROWS, CHANNELS), tl.float32), tl.zeros((ROWS, CHANNELS), tl.float32)
    if not OF_NORMALISER:
        grad_output += matrix * seq_len * HEAD_DIM
        row_grad = load_rows(grad_output, rows, channels, seq_len, HEAD_DIM)

    for first in range(0, seq_len, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        column_tokens = load_rows(tokens, columns, channels, seq_len, HEAD_DIM)
        column_normaliser = tl.load(normaliser + columns, mask=columns < seq_len, other=float("inf")) * LOG2E
        column_delta = tl.load(delta + columns, mask=columns < seq_len, other=0.0)
        scores = tl.dot(query, tl.trans(column_tokens), input_precision=PRECISION)
        over_keys = tl.exp2(scores - row_normaliser[:, None])
        over_keys = tl.where(are_tokens(mask, columns, seq_len, HAS_MASK)[None, :], over_keys, 0.0)
        over_queries = tl.exp2(scores - column_normaliser[None, :])
        if OF_NORMALISER:
            grad_scores = over_keys * row_delta[:, None] + over_queries * column_delta[None, :]
        else:
            column_grad = load_rows(grad_output, columns, channels, seq_len, HEAD_DIM)
            of_pairs = tl.dot(row_grad, tl.trans(column_tokens), input_precision=PRECISION)
            of_pairs += tl.dot(row_tokens, tl.trans(column_grad), input_precision=PRECISION)
            weights = (over_keys + over_queries).to(column_grad.dtype)
            of_values += tl.dot(weights, column_grad, input_precision=PRECISION)
            grad_scores = over_keys * (of_pairs - row_delta[:, None]) + over_queries * (
                of_pairs - column_delta[None, :]
            )
        of_scores += tl.dot(grad_scores.to(column_tokens.dtype), column_tokens, input_precision=PRECISION)

    is_token = are_tokens(mask, rows, seq_len, HAS_MASK)[:, None]
    of_scores = tl.where(is_token, of_scores, 0.0)
    gradient = tl.where(is_token, of_values, 0.0) + of_scores * gains[None, :]
    store_rows(grad_tokens + matrix * seq_len * HEAD_DIM, gradient, rows, channels, seq_len, HEAD_DIM)
    partial = tl.sum(row_tokens.to(tl.float32) * of_scores, 0) / 2
    block = matrix * tl.num_programs(1) + tl.program_id(1)
    tl.store(grad_gain + block * HEAD_DIM + channels, partial, mask=channels < HEAD_DIM)


def tf32_is_allowed() -> bool:
    """Whether torch multiplies float32 matrices in TF32. The newer setting is used if torch has it."""
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        return matmul.allow_tf32
    precision = matmul.fp32_precision
    return (torch.backends.fp32_precision if precision == "none" else precision) == "tf32"  # type: ignore[attr-defined]


class Launch:
    """The grid and the constants of a kernel for these tokens, and the first arguments of all kernels."""

    def __init__(self, tokens: torch.Tensor, gain: torch.Tensor, mask: torch.Tensor | None, is_backward: bool):
        self.tokens = tokens.contiguous()
        batch_size, self.heads, self.seq_len, head_dim = tokens.shape
        channels = max(16, triton.next_power_of_2(head_dim))
        # Accumulators and tiles must fit into registers and shared memory: four bytes or wide heads need smaller blocks.
        wide = channels * tokens.element_size() // 2 > 64
        rows, columns = (32, 32) if wide and is_backward else (64, 32) if wide else (64, 64)
        if channels * tokens.element_size() > 512:
            rows, columns = 32, 16
        self.blocks = triton.cdiv(self.seq_len, rows)
        self.grid = (batch_size * self.heads, self.blocks)  # the second must be at most 65,535
        # Without a mask the kernel reads none, but it still needs a pointer.
        self.operands = (
            self.tokens,
            gain.contiguous(),
            self.tokens if mask is None else mask.to(torch.uint8).contiguous(),
        )
        exact = tokens.dtype != torch.float32 or not tf32_is_allowed()
        self.constants = {
            "HAS_MASK": mask is not None,
            "HEAD_DIM": head_dim,
            "CHANNELS": channels,
            "ROWS": rows,
            "COLUMNS": columns,
            "PRECISION": "ieee" if exact else "tf32",
            "num_stages": 1 if wide else 3,
        }

    def run(self, kernel, *arguments, **constants) -> None:
        with torch.cuda.device_of(self.tokens):  # Triton launches on the current device
            kernel[self.grid](*self.operands, *arguments, self.heads, self.seq_len, **constants, **self.constants)

    def new_normaliser(self) -> torch.Tensor:
        return self.tokens.new_empty(self.tokens.shape[:-1], dtype=torch.float32)

    def new_grad_gain(self) -> torch.Tensor:
        """A row for each program. They are added up later, always in the same order."""
        return self.tokens.new_empty(self.grid[0] * self.grid[1], self.tokens.shape[-1], dtype=torch.float32)


def normaliser_forward(tokens, gain, mask):
    """r."""
    launch = Launch(tokens, gain, mask, is_backward=False)
    normaliser = launch.new_normaliser()
    launch.run(normaliser_kernel, normaliser)
    return normaliser


def forward(tokens, gain, mask):
    """y and r."""
    launch = Launch(tokens, gain, mask, is_backward=False)
    normaliser, output = launch.new_normaliser(), torch.empty_like(launch.tokens)
    launch.run(normaliser_kernel, normaliser)
    launch.run(forward_kernel, normaliser, output)
    return output, normaliser


def backward(grad_output, tokens, gain, mask, normaliser):
    """dz and dgain."""
    launch = Launch(tokens, gain, mask, is_backward=True)
    grad_output = grad_output.to(tokens.dtype).contiguous()
    delta, grad_tokens, grad_gain = launch.new_normaliser(), torch.empty_like(launch.tokens), launch.new_grad_gain()
    launch.run(delta_kernel, normaliser, grad_output, delta)
    launch.run(backward_kernel, normaliser, grad_output, delta, grad_tokens, grad_gain, OF_NORMALISER=False)
    return grad_tokens, grad_gain.sum(dim=0).to(gain.dtype)


def normaliser_backward(grad_normaliser, tokens, gain, mask, normaliser):
    """dz and dgain of a loss of r."""
    launch = Launch(tokens, gain, mask, is_backward=True)
    grad_normaliser = grad_normaliser.float().contiguous()
    grad_tokens, grad_gain = torch.empty_like(launch.tokens), launch.new_grad_gain()
    launch.run(backward_kernel, normaliser, launch.tokens, grad_normaliser, grad_tokens, grad_gain, OF_NORMALISER=True)
    return grad_tokens, grad_gain.sum(dim=0).to(gain.dtype)


TRITON = Kernels(forward, backward, normaliser_forward, normaliser_backward)

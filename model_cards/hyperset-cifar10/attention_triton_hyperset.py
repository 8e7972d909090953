# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Bi-softmax attention (Eq. 7) on a GPU in Triton, with the formulas of `attention_cpu_hyperset.py`. Each program works on a block
of rows. Because S is symmetric, the program of rows i can compute all of the gradient of z_i, without atomics. One sweep over
the columns gives r, and one y. In the backward pass one sweep gives δ and one gives dz. All sums are in float32. Matrix
products take operands in the dtype of the tokens. `attention_launch_hyperset.py` chooses the blocks and starts the kernels.
"""

import math


try:  # a CPU does not need this, but transformers would require every import of a checkpoint's code that is outside a `try`
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError("The kernels for GPUs are written in Triton: pip install triton") from error


LOG2E = tl.constexpr(math.log2(math.e))  # exponentials have base two here
NEAR = tl.constexpr(60.0)  # how far apart, as powers of two, r may lie for one exponential to serve both softmaxes


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
def compare_normalisers(normaliser, row_normaliser, seq_len, SHARES: tl.constexpr, COLUMNS: tl.constexpr):
    """
    Whether one exponential serves both softmaxes: Q_ij = P_ij 2^(r_i − r_j), here with r in powers of two. If r_i − r_j ≤ 60
    for all columns, what P loses below the smallest float32 is less than 2^−66 in Q. Also returns m, the largest r of these
    rows, and their factors 2^(r_i − m). Those of the columns are 2^(m − r_j). Without `SHARES` it is not asked.
    """
    if not SHARES:
        return False, 0.0, row_normaliser
    lowest = tl.full((COLUMNS,), float("inf"), tl.float32)
    for first in range(0, seq_len, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        lowest = tl.minimum(lowest, tl.load(normaliser + columns, mask=columns < seq_len, other=float("inf")))
    is_token = row_normaliser < float("inf")
    highest = tl.max(tl.where(is_token, row_normaliser, -1e30), 0)
    row_factor = tl.exp2(tl.where(is_token, row_normaliser - highest, 0.0))
    return highest - tl.min(lowest, 0) * LOG2E <= NEAR, highest, row_factor


@triton.jit
def softmax_over_queries(scores, over_keys, column_normaliser, highest, row_factor, IS_NEAR: tl.constexpr):
    """Q. r = +∞ at padding makes it zero there."""
    if IS_NEAR:
        return over_keys * (row_factor[:, None] * tl.exp2(highest - column_normaliser)[None, :])
    return tl.exp2(scores - column_normaliser[None, :])


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
def sum_of_values(
    tokens,
    mask,
    normaliser,
    query,
    row_normaliser,
    highest,
    row_factor,
    channels,
    seq_len,
    IS_NEAR: tl.constexpr,
    HAS_MASK: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """(P + Q) z of a block of rows."""
    attended = tl.zeros((ROWS, CHANNELS), tl.float32)
    for first in range(0, seq_len, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        column_tokens = load_rows(tokens, columns, channels, seq_len, HEAD_DIM)
        column_normaliser = tl.load(normaliser + columns, mask=columns < seq_len, other=float("inf")) * LOG2E
        scores = tl.dot(query, tl.trans(column_tokens), input_precision=PRECISION)
        over_keys = tl.exp2(scores - row_normaliser[:, None])
        over_keys = tl.where(are_tokens(mask, columns, seq_len, HAS_MASK)[None, :], over_keys, 0.0)
        weights = over_keys + softmax_over_queries(scores, over_keys, column_normaliser, highest, row_factor, IS_NEAR)
        attended += tl.dot(weights.to(column_tokens.dtype), column_tokens, input_precision=PRECISION)
    return attended


@triton.jit
def forward_kernel(
    tokens,
    gain,
    mask,
    normaliser,
    output,
    heads,
    seq_len,
    SHARES: tl.constexpr,
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
    is_near, highest, row_factor = compare_normalisers(normaliser, row_normaliser, seq_len, SHARES, COLUMNS)

    if is_near:
        attended = sum_of_values(
            tokens,
            mask,
            normaliser,
            query,
            row_normaliser,
            highest,
            row_factor,
            channels,
            seq_len,
            True,
            HAS_MASK,
            HEAD_DIM,
            CHANNELS,
            ROWS,
            COLUMNS,
            PRECISION,
        )
    else:
        attended = sum_of_values(
            tokens,
            mask,
            normaliser,
            query,
            row_normaliser,
            highest,
            row_factor,
            channels,
            seq_len,
            False,
            HAS_MASK,
            HEAD_DIM,
            CHANNELS,
            ROWS,
            COLUMNS,
            PRECISION,
        )
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
def sums_of_gradients(
    tokens,
    mask,
    normaliser,
    grad_output,
    delta,
    query,
    row_tokens,
    row_grad,
    row_normaliser,
    row_delta,
    highest,
    row_factor,
    channels,
    seq_len,
    IS_NEAR: tl.constexpr,
    OF_NORMALISER: tl.constexpr,
    HAS_MASK: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """(P + Q) dy and M z of a block of rows."""
    of_values, of_scores = tl.zeros((ROWS, CHANNELS), tl.float32), tl.zeros((ROWS, CHANNELS), tl.float32)
    for first in range(0, seq_len, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        column_tokens = load_rows(tokens, columns, channels, seq_len, HEAD_DIM)
        column_normaliser = tl.load(normaliser + columns, mask=columns < seq_len, other=float("inf")) * LOG2E
        column_delta = tl.load(delta + columns, mask=columns < seq_len, other=0.0)
        scores = tl.dot(query, tl.trans(column_tokens), input_precision=PRECISION)
        over_keys = tl.exp2(scores - row_normaliser[:, None])
        over_keys = tl.where(are_tokens(mask, columns, seq_len, HAS_MASK)[None, :], over_keys, 0.0)
        over_queries = softmax_over_queries(scores, over_keys, column_normaliser, highest, row_factor, IS_NEAR)
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

    return of_values, of_scores


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
    SHARES: tl.constexpr,
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
    is_near, highest, row_factor = compare_normalisers(normaliser, row_normaliser, seq_len, SHARES, COLUMNS)
    row_delta = tl.load(delta + rows, mask=rows < seq_len, other=0.0)
    row_grad = row_tokens
    if not OF_NORMALISER:
        grad_output += matrix * seq_len * HEAD_DIM
        row_grad = load_rows(grad_output, rows, channels, seq_len, HEAD_DIM)

    if is_near:
        of_values, of_scores = sums_of_gradients(
            tokens,
            mask,
            normaliser,
            grad_output,
            delta,
            query,
            row_tokens,
            row_grad,
            row_normaliser,
            row_delta,
            highest,
            row_factor,
            channels,
            seq_len,
            True,
            OF_NORMALISER,
            HAS_MASK,
            HEAD_DIM,
            CHANNELS,
            ROWS,
            COLUMNS,
            PRECISION,
        )
    else:
        of_values, of_scores = sums_of_gradients(
            tokens,
            mask,
            normaliser,
            grad_output,
            delta,
            query,
            row_tokens,
            row_grad,
            row_normaliser,
            row_delta,
            highest,
            row_factor,
            channels,
            seq_len,
            False,
            OF_NORMALISER,
            HAS_MASK,
            HEAD_DIM,
            CHANNELS,
            ROWS,
            COLUMNS,
            PRECISION,
        )
    is_token = are_tokens(mask, rows, seq_len, HAS_MASK)[:, None]
    of_scores = tl.where(is_token, of_scores, 0.0)
    gradient = tl.where(is_token, of_values, 0.0) + of_scores * gains[None, :]
    store_rows(grad_tokens + matrix * seq_len * HEAD_DIM, gradient, rows, channels, seq_len, HEAD_DIM)
    partial = tl.sum(row_tokens.to(tl.float32) * of_scores, 0) / 2
    block = matrix * tl.num_programs(1) + tl.program_id(1)
    tl.store(grad_gain + block * HEAD_DIM + channels, partial, mask=channels < HEAD_DIM)

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Bi-softmax attention (Eq. 7) on a CPU, forward and backward, in blocks that fit its cache. It takes any floating dtype, and
never holds the scores of all pairs of tokens of a long sequence. Half precision is computed in float32, except for the matrix
products of bfloat16, if the CPU has instructions for them.

Queries, keys and values are one tensor z, each with its own gain. The caller applies the gain of the values. The gains of
queries and keys only appear as a product: `gain` is this product, times the inverse temperature. So the scores
S_ij = Σ_c gain_c z_ic z_jc are symmetric, and one normaliser r_i = log Σ_j exp(S_ij) serves both softmaxes. With
P_ij = exp(S_ij − r_i) and Q = Pᵀ:

    y = (P + Q) z

    G = dy zᵀ + z dyᵀ,    δ_i = Σ_j P_ij G_ij
    M = P ⊙ (G − δ_i) + Q ⊙ (G − δ_j)                    (dS + dSᵀ)
    dz = (P + Q) dy + gain ⊙ M z,    dgain = ½ Σ_i z_i ⊙ (M z)_i

Shapes: `tokens` (batch_size, num_heads, seq_len, head_dim), `gain` (head_dim,), normalisers (batch_size, num_heads, seq_len),
masks (batch_size, seq_len). A mask is `True` for tokens. All sums leave padding out: its r is +∞, its y and gradients are zero.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch


class Kernels(NamedTuple):
    """The functions of an implementation."""

    forward: Callable  # tokens, gain, mask → y, r
    backward: Callable  # dy, tokens, gain, mask, r → dz, dgain
    normaliser_forward: Callable  # tokens, gain, mask → r
    normaliser_backward: Callable  # dr, tokens, gain, mask, r → dz, dgain


# The scores in a block for each thread: 1 MiB in float32, about the size of a core's own cache.
SCORES_PER_THREAD = 2**18
# If |S| is at most this, exp(S) and its sums and products stay well inside the range of the dtype.
SINGLE_EXP_BOUND = {torch.float32: 40.0, torch.float64: 300.0}
# If |S| is at most this, rounding S to bfloat16, as the plain reference does under autocast, changes exp(S) by 6 % at most.
ROUNDED_BOUND = 32.0


def multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for matrix products of bfloat16."""
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())


MULTIPLIES_BFLOAT16 = multiplies_bfloat16()


def wide_dtype(tensor: torch.Tensor) -> torch.dtype:
    """The dtype for computing."""
    return torch.promote_types(tensor.dtype, torch.float32)


class Workspace:
    """Memory that all blocks of one call share. New memory for each block would cost as much time as the arithmetic."""

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype
        self.buffers: dict[str, torch.Tensor] = {}

    def take(self, name: str, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        size = math.prod(shape)
        if name not in self.buffers or self.buffers[name].numel() < size:
            self.buffers[name] = torch.empty(size, dtype=dtype or self.dtype)
        return self.buffers[name][:size].view(shape)


class Scores:
    """
    The scores of a few samples and heads, one block of rows at a time. Shapes: tokens (matrices, seq_len, head_dim), mask
    (matrices, seq_len), blocks (matrices, rows, seq_len), r of rows (matrices, seq_len, 1), r of columns its transpose.
    """

    padding = torch.inf  # r at padding

    def __init__(self, tokens, gain, mask, rows, workspace):
        self.tokens, self.mask, self.rows, self.workspace = tokens, mask, rows, workspace
        self.query = (tokens * gain).to(tokens.dtype)

    def row_blocks(self) -> list[slice]:
        length = self.tokens.shape[1]
        return [slice(start, min(start + self.rows, length)) for start in range(0, length, self.rows)]

    def product(self, name: str, left: torch.Tensor, right: torch.Tensor, add_to: bool = False) -> torch.Tensor:
        """left rightᵀ of each matrix, in the memory called `name`."""
        out = self.workspace.take(name, len(left), left.shape[1], right.shape[1])
        return torch.baddbmm(out, left, right.transpose(1, 2), beta=float(add_to), out=out)

    def times(self, block: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
        """A block times a tensor (matrices, seq_len, head_dim)."""
        return block @ tensor

    def like(self, name: str, block: torch.Tensor) -> torch.Tensor:
        return self.workspace.take(name, *block.shape)

    def block(self, rows: slice) -> torch.Tensor:
        """S of these rows; −∞ if one of the two tokens is padding."""
        scores = self.product("scores", self.query[:, rows], self.tokens)
        if self.mask is not None:
            scores.masked_fill_(~(self.mask[:, rows, None] & self.mask[:, None, :]), -torch.inf)
        return scores

    def normaliser(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """r of all rows, and the block if there is only one."""
        parts = []
        for rows in self.row_blocks():
            block = self.block(rows)
            parts.append(self.sum_of(block))
        normaliser = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        if self.mask is not None:
            normaliser.masked_fill_(~self.mask[:, :, None], self.padding)
        return normaliser, block if len(parts) == 1 else None

    def sum_of(self, block: torch.Tensor) -> torch.Tensor:
        """log Σ_j exp(S_ij)."""
        return block.logsumexp(dim=-1, keepdim=True)

    def softmax(self, block: torch.Tensor, normaliser: torch.Tensor, name: str = "softmax") -> torch.Tensor:
        """exp(S − r): P with r of rows, Q with r of columns."""
        return torch.sub(block, normaliser, out=self.like(name, block)).exp_()

    def weights(self, block: torch.Tensor, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        """P + Q."""
        return self.softmax(block, row).add_(self.softmax(block, column, "other"))

    def delta(self, block: torch.Tensor, grad: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        """δ = Σ_j P_ij G_ij."""
        return self.softmax(block, row).mul_(grad).sum(dim=-1, keepdim=True)

    def grad_scores(self, block, grad, row, column, row_delta, column_delta) -> torch.Tensor:
        """M. It overwrites G."""
        difference = torch.sub(grad, row_delta, out=self.like("other", block))
        of_rows = self.softmax(block, row).mul_(difference)
        return grad.sub_(column_delta).mul_(self.softmax(block, column, "other")).add_(of_rows)

    @staticmethod
    def to_logarithm(normaliser: torch.Tensor) -> torch.Tensor:
        return normaliser

    from_logarithm = to_logarithm


class BoundedScores(Scores):
    """
    Scores so small that exp(S) does not become zero or infinite. So one exponential E serves both softmaxes: a block is E, and
    the factor e^−r replaces r.
    """

    padding = 0.0

    def block(self, rows):
        return super().block(rows).exp_()

    def sum_of(self, block):
        return block.sum(dim=-1, keepdim=True).reciprocal_()

    def softmax(self, block, normaliser, name="softmax"):
        return torch.mul(block, normaliser, out=self.like(name, block))

    def weights(self, block, row, column):
        return torch.add(row, column, out=self.like("softmax", block)).mul_(block)

    def delta(self, block, grad, row):
        return torch.mul(block, grad, out=self.like("softmax", block)).sum(dim=-1, keepdim=True).mul_(row)

    def grad_scores(self, block, grad, row, column, row_delta, column_delta):
        both = torch.add(row, column, out=self.like("softmax", block))
        return grad.mul_(both).sub_(row * row_delta).sub_(column * column_delta).mul_(block)

    @staticmethod
    def to_logarithm(normaliser):
        return -normaliser.log()

    @staticmethod
    def from_logarithm(normaliser):
        return (-normaliser).exp()


class RoundedScores(BoundedScores):
    """The same with products of bfloat16, rounded as in the plain reference. All between them is in float32."""

    def product(self, name, left, right, add_to=False):
        rounded = self.workspace.take("rounded", len(left), left.shape[1], right.shape[1], dtype=left.dtype)
        torch.bmm(left, right.transpose(1, 2), out=rounded)
        out = self.like(name, rounded)
        return out.add_(rounded) if add_to else out.copy_(rounded)

    def times(self, block, tensor):
        return self.workspace.take("rounded", *block.shape, dtype=tensor.dtype).copy_(block) @ tensor


def groups(tokens, gain, mask) -> Iterator[tuple[slice, Scores]]:
    """The matrices (one for each sample and head) in groups that fit a block. If one is too large, it is split by rows."""
    num_matrices, seq_len, _ = tokens.shape
    if not tokens.numel():
        return
    threads = torch.get_num_threads()
    budget = SCORES_PER_THREAD * threads
    together = max(1, budget // seq_len**2)
    together = max(together // threads * threads, min(together, threads))  # as much work for each thread
    rows = seq_len if seq_len**2 <= budget else max(64, budget // seq_len)
    dtype = wide_dtype(tokens)
    workspace, gain = Workspace(dtype), gain.to(dtype)
    # |S_ij| ≤ max |gain| ‖z_i‖ ‖z_j‖.
    length = torch.linalg.vector_norm(tokens, dim=-1, dtype=dtype).amax()
    bound = float(length.square() * gain.abs().amax())
    scores_class = BoundedScores if bound <= SINGLE_EXP_BOUND[dtype] else Scores
    if MULTIPLIES_BFLOAT16 and tokens.dtype == torch.bfloat16 and bound <= ROUNDED_BOUND:
        scores_class, dtype = RoundedScores, tokens.dtype
    if mask is not None:
        mask = mask.repeat_interleave(num_matrices // len(mask), dim=0)
    for start in range(0, num_matrices, together):
        index = slice(start, start + together)
        yield (
            index,
            scores_class(tokens[index].to(dtype), gain, None if mask is None else mask[index], rows, workspace),
        )


def forward(tokens, gain, mask):
    """y and r."""
    tokens = tokens.contiguous()
    output, normaliser = torch.empty_like(tokens), tokens.new_empty(tokens.shape[:-1], dtype=wide_dtype(tokens))
    outputs, normalisers = output.flatten(0, 1), normaliser.flatten(0, 1).unsqueeze(-1)
    for index, scores in groups(tokens.flatten(0, 1), gain, mask):
        row, only_block = scores.normaliser()
        normalisers[index] = scores.to_logarithm(row)
        for rows in scores.row_blocks():
            block = scores.block(rows) if only_block is None else only_block
            outputs[index, rows] = scores.times(
                scores.weights(block, row[:, rows], row.transpose(1, 2)), scores.tokens
            )
    return output, normaliser


def backward(grad_output, tokens, gain, mask, normaliser):
    """dz and dgain."""
    tokens, grad_output = tokens.contiguous(), grad_output.contiguous()
    grad_tokens, grad_gain = torch.empty_like(tokens), torch.zeros_like(gain, dtype=wide_dtype(tokens))
    grad_outputs, normalisers = grad_output.flatten(0, 1), normaliser.flatten(0, 1).unsqueeze(-1)
    for index, scores in groups(tokens.flatten(0, 1), gain, mask):
        grad, row = grad_outputs[index].to(scores.tokens.dtype), scores.from_logarithm(normalisers[index])
        column, row_blocks = row.transpose(1, 2), scores.row_blocks()

        def products(rows, scores=scores, grad=grad, row=row):
            """The block of S, G and δ."""
            block, of_pairs = scores.block(rows), scores.product("grad", grad[:, rows], scores.tokens)
            if of_pairs.shape[1] == of_pairs.shape[2]:
                of_pairs = torch.add(of_pairs, of_pairs.transpose(1, 2), out=scores.like("both", of_pairs))
            else:
                scores.product("grad", scores.tokens[:, rows], grad, add_to=True)
            return block, of_pairs, scores.delta(block, of_pairs, row[:, rows])

        # M of any row needs δ of all columns.
        deltas = [products(rows)[-1] for rows in row_blocks] if len(row_blocks) > 1 else None
        part = torch.empty_like(scores.tokens, dtype=grad_gain.dtype)
        for rows in row_blocks:
            block, of_pairs, delta = products(rows)
            column_delta = (delta if deltas is None else torch.cat(deltas, dim=1)).transpose(1, 2)
            part[:, rows] = scores.times(scores.weights(block, row[:, rows], column), grad)
            grad_scores = scores.grad_scores(block, of_pairs, row[:, rows], column, delta, column_delta)
            add_grad_scores(grad_scores, scores, gain, rows, part, grad_gain)
        grad_tokens.flatten(0, 1)[index] = part
    return grad_tokens, grad_gain.to(gain.dtype)


def add_grad_scores(grad_scores, scores, gain, rows, grad_tokens, grad_gain):
    """Add the part of dz and dgain from M of these rows."""
    product = scores.times(grad_scores, scores.tokens)
    # Two passes, but 15 to 50 times faster than einsum, which makes a product of one row and one column for each channel.
    grad_gain += (product * scores.tokens[:, rows]).sum(dim=(0, 1), dtype=grad_gain.dtype) / 2
    grad_tokens[:, rows] += product.mul_(gain)


def normaliser_forward(tokens, gain, mask):
    """r."""
    normaliser = tokens.new_empty(tokens.shape[:-1], dtype=wide_dtype(tokens))
    for index, scores in groups(tokens.contiguous().flatten(0, 1), gain, mask):
        normaliser.flatten(0, 1)[index] = scores.to_logarithm(scores.normaliser()[0]).squeeze(-1)
    return normaliser


def normaliser_backward(grad_normaliser, tokens, gain, mask, normaliser):
    """dz and dgain, with M = P ⊙ dr_i + Q ⊙ dr_j."""
    tokens = tokens.contiguous()
    grad_tokens, grad_gain = torch.empty_like(tokens), torch.zeros_like(gain, dtype=wide_dtype(tokens))
    rows_of = [tensor.flatten(0, 1).unsqueeze(-1) for tensor in (normaliser, grad_normaliser.contiguous())]
    for index, scores in groups(tokens.flatten(0, 1), gain, mask):
        row, grad = scores.from_logarithm(rows_of[0][index]), rows_of[1][index]
        part = torch.zeros_like(scores.tokens, dtype=grad_gain.dtype)
        for rows in scores.row_blocks():
            block = scores.block(rows)
            grad_scores = scores.softmax(block, row[:, rows]).mul_(grad[:, rows])
            grad_scores.add_(scores.softmax(block, row.transpose(1, 2), "other").mul_(grad.transpose(1, 2)))
            add_grad_scores(grad_scores, scores, gain, rows, part, grad_gain)
        grad_tokens.flatten(0, 1)[index] = part
    return grad_tokens, grad_gain.to(gain.dtype)


BLOCKED = Kernels(forward, backward, normaliser_forward, normaliser_backward)

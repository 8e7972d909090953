# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""How the kernels of `attention_triton_hyperset.py` are started: in which blocks, and on which memory."""

from typing import NamedTuple

import torch

from .attention_cpu_hyperset import Kernels
from .attention_triton_hyperset import backward_kernel, delta_kernel, forward_kernel, normaliser_kernel


try:  # a CPU does not need this, but transformers would require every import of a checkpoint's code that is outside a `try`
    import triton
except ImportError as error:
    raise ImportError("The kernels for GPUs are written in Triton: pip install triton") from error


def tf32_is_allowed() -> bool:
    """Whether torch multiplies float32 matrices in TF32. The newer setting is used if torch has it."""
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        return matmul.allow_tf32
    precision = matmul.fp32_precision
    return (torch.backends.fp32_precision if precision == "none" else precision) == "tf32"  # type: ignore[attr-defined]


class Tile(NamedTuple):
    """A block of scores, the warps that compute it, and how many blocks of columns are in shared memory at a time."""

    rows: int
    columns: int
    num_warps: int
    num_stages: int


# For tensor cores, by the bytes of a row of tokens: of the kernels of the forward pass, and of those of the backward pass. At
# capability 8.6 and 9.0 a thread's numbers fit its registers, and a program's the 99 KiB that the smallest GPUs have.
# `check_gpu.py --parts tiles` compiles them and says so.
TILES = {
    64: (Tile(64, 64, 4, 3), Tile(64, 32, 4, 3)),
    128: (Tile(64, 64, 4, 3), Tile(64, 32, 4, 3)),
    256: (Tile(64, 32, 4, 2), Tile(32, 32, 4, 2)),
    512: (Tile(32, 16, 4, 2), Tile(32, 16, 8, 2)),
    1024: (Tile(16, 16, 4, 2), Tile(16, 16, 4, 1)),
}


def tiles_of(channels: int, element_size: int, is_exact: bool, is_backward: bool) -> list[Tile]:
    """
    The tiles to try: the device takes the first one that its shared memory holds. All have the same rows.

    Args:
        channels: The dimension of a head, as a power of two.
        element_size: Bytes of a number.
        is_exact: Whether four bytes are multiplied without tensor cores. A thread then holds whole rows of both factors.
    """
    if element_size == 4 and is_exact:
        first = Tile(32, 32, 8, 2) if channels <= 64 else Tile(16, 16, 8, 2)
    else:
        first = TILES[max(64, channels * element_size)][is_backward]
    smaller = [first._replace(num_stages=stages) for stages in range(first.num_stages - 1, 0, -1)]
    return list(dict.fromkeys([first, *smaller, first._replace(columns=16, num_stages=1)]))


def of_tile(tile: Tile) -> dict[str, int]:
    """What the kernels and Triton call the parts of a tile."""
    return {"ROWS": tile.rows, "COLUMNS": tile.columns, "num_warps": tile.num_warps, "num_stages": tile.num_stages}


TAKEN: dict[tuple, int] = {}  # which of the tiles a device holds, for each kernel and its constants


class Launch:
    """The grid and the constants of a kernel for these tokens, and the first arguments of all kernels."""

    def __init__(self, tokens: torch.Tensor, gain: torch.Tensor, mask: torch.Tensor | None, is_backward: bool):
        self.tokens = tokens.contiguous()
        batch_size, self.heads, self.seq_len, head_dim = tokens.shape
        channels = max(16, triton.next_power_of_2(head_dim))
        is_exact = tokens.dtype != torch.float32 or not tf32_is_allowed()
        # Without tensor cores, products take so long that exponentials do not matter, and need the registers of a second loop.
        self.shares = tokens.dtype != torch.float32 or not is_exact
        self.tiles = tiles_of(channels, tokens.element_size(), is_exact, is_backward)
        self.blocks = triton.cdiv(self.seq_len, self.tiles[0].rows)
        self.grid = (batch_size * self.heads, self.blocks)  # the second must be at most 65,535
        # Without a mask the kernel reads none, but it still needs a pointer.
        self.operands = (
            self.tokens,
            gain.contiguous(),
            self.tokens if mask is None else mask.view(torch.uint8).contiguous(),
        )
        self.constants = {
            "HAS_MASK": mask is not None,
            "HEAD_DIM": head_dim,
            "CHANNELS": channels,
            "PRECISION": "ieee" if is_exact else "tf32",
        }

    def run(self, kernel, *arguments, **constants) -> None:
        """
        Raises:
            `RuntimeError`: the device has too little shared memory for every tile.
        """
        operands = (*self.operands, *arguments, self.heads, self.seq_len)
        constants |= self.constants
        key = (kernel, self.tokens.device, self.tokens.dtype, *constants.values())
        with torch.cuda.device_of(self.tokens):  # Triton launches on the current device
            for number in range(TAKEN.get(key, 0), len(self.tiles)):
                tile = self.tiles[number]
                try:
                    self.start(kernel, tile, operands, constants)
                except triton.OutOfResources:  # nothing was launched
                    continue
                TAKEN[key] = number
                return
        raise RuntimeError(
            f"{self.tokens.device} has too little shared memory for attention with heads of "
            f"{self.constants['HEAD_DIM']} channels in {self.tokens.dtype}: set `attn_implementation` to 'eager'."
        )

    def start(self, kernel, tile: Tile, operands: tuple, constants: dict) -> None:
        kernel[self.grid](*operands, **constants, **of_tile(tile))

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
    launch.run(forward_kernel, normaliser, output, SHARES=launch.shares)
    return output, normaliser


def backward(grad_output, tokens, gain, mask, normaliser):
    """dz and dgain."""
    launch = Launch(tokens, gain, mask, is_backward=True)
    grad_output = grad_output.to(tokens.dtype).contiguous()
    delta, grad_tokens, grad_gain = launch.new_normaliser(), torch.empty_like(launch.tokens), launch.new_grad_gain()
    launch.run(delta_kernel, normaliser, grad_output, delta)
    constants = {"OF_NORMALISER": False, "SHARES": launch.shares}
    launch.run(backward_kernel, normaliser, grad_output, delta, grad_tokens, grad_gain, **constants)
    return grad_tokens, grad_gain.sum(dim=0).to(gain.dtype)


def normaliser_backward(grad_normaliser, tokens, gain, mask, normaliser):
    """dz and dgain of a loss of r."""
    launch = Launch(tokens, gain, mask, is_backward=True)
    grad_normaliser = grad_normaliser.float().contiguous()
    grad_tokens, grad_gain = torch.empty_like(launch.tokens), launch.new_grad_gain()
    constants = {"OF_NORMALISER": True, "SHARES": launch.shares}
    launch.run(backward_kernel, normaliser, launch.tokens, grad_normaliser, grad_tokens, grad_gain, **constants)
    return grad_tokens, grad_gain.sum(dim=0).to(gain.dtype)


TRITON = Kernels(forward, backward, normaliser_forward, normaliser_backward)

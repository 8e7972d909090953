# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Bi-softmax attention as operators of torch. They never hold the scores of all pairs of tokens. On a CPU they work in blocks, on
a GPU they use Triton. `torch.compile` puts them into its graph unchanged. They only have first derivatives.

`attention_cpu_hyperset.py` explains the formulas.
"""

import functools
import importlib.util
import math
import re
import warnings
import zlib

import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import register_flop_formula

from .attention_cpu_hyperset import BLOCKED, Kernels, wide_dtype


HAS_TRITON = importlib.util.find_spec("triton") is not None  # the kernels for a GPU need it
LARGEST_HEAD_DIM = 256  # of the kernels for a GPU

# The code of a checkpoint and the package may both be loaded. So each has its own operators, under a name that torch accepts.
NAMESPACE = re.sub(r"[^0-9A-Za-z_]", "_", __name__) + f"_{zlib.crc32(__name__.encode()):x}"


def runs_on(tensor: torch.Tensor) -> bool:
    """
    Whether there is an implementation for the device, the dtype and the last dimension of `tensor`. The first call for a GPU
    tries a kernel on it. If that fails, there is one warning.
    """
    if tensor.device.type == "cuda":
        fits = tensor.dtype != torch.float64 and tensor.shape[-1] <= LARGEST_HEAD_DIM
        return fits and runs_on_gpu(tensor.device.index)
    return tensor.device.type in ("cpu", "meta")


@torch.compiler.assume_constant_result  # while torch.compile traces a model, this is not traced but called
def runs_on_gpu(index: int | None) -> bool:
    """Whether our kernels run on this GPU."""
    return tried_on_gpu(torch.cuda.current_device() if index is None else index)


@functools.cache
def tried_on_gpu(index: int) -> bool:
    """[`runs_on_gpu`] for the first time: warns of what is in the way."""
    problem = problem_on_gpu(index)
    if problem is not None:
        warnings.warn(
            f"Bi-softmax attention uses its plain reference on cuda:{index}, which is slower and takes more memory: {problem} "
            "To see no warning, set `attn_implementation` to 'eager' or 'sdpa'.",
            stacklevel=2,
        )
    return problem is None


def problem_on_gpu(index: int) -> str | None:
    """What keeps our kernels from running on this GPU. It launches the smallest one, and waits for nothing."""
    if not HAS_TRITON:
        return "Triton is not installed (pip install triton)."
    capability = torch.cuda.get_device_capability(index)
    if capability < (8, 0):
        name = torch.cuda.get_device_name(index)
        return f"{name} has compute capability {capability[0]}.{capability[1]}, and our kernels need 8.0."
    try:
        with (
            _disable_current_modes(),
            torch.no_grad(),
        ):  # a mode of the caller, as one that counts FLOPs, is not for this
            from .attention_launch_hyperset import TRITON

            tokens = torch.zeros(1, 1, 16, 16, device=torch.device("cuda", index))
            TRITON.normaliser_forward(tokens, tokens[0, 0, 0], None)
    except Exception as error:  # of Triton, its compilers, the file system or the driver
        reason = (str(error).strip().splitlines() or [""])[-1][:300]
        return (
            f"a Triton kernel could not be built or started ({type(error).__name__}: {reason}). Triton needs a C compiler and "
            "a cache folder (TRITON_CACHE_DIR) that it can write to."
        )
    return None


def query_of(tokens: torch.Tensor, gain: torch.Tensor, device_type: str) -> torch.Tensor:
    """gain ⊙ tokens, in float32 at least, and rounded as the kernels for that type of device round it."""
    wide = wide_dtype(tokens)
    if device_type != "cuda":
        return tokens.to(wide) * gain.to(wide)
    log2e = math.log2(math.e)  # their exponentials have base two
    return (tokens.to(wide) * (gain.to(wide) * log2e)).to(tokens.dtype).to(wide) / log2e


def kernels(tensor: torch.Tensor) -> Kernels:
    """The implementation for the device of `tensor`."""
    if tensor.device.type != "cuda":
        return BLOCKED
    from .attention_launch_hyperset import TRITON  # imported only for a GPU, because it is slow

    return TRITON


def plain(tensor: torch.Tensor) -> torch.autocast:
    """Autocast off: it would go on inside an operator, but the kernels choose their dtypes themselves."""
    return torch.autocast(tensor.device.type, enabled=False)


@torch.library.custom_op(f"{NAMESPACE}::bi_softmax", mutates_args=())
def bi_softmax(
    tokens: torch.Tensor, gain: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """y and r."""
    with plain(tokens):
        return kernels(tokens).forward(tokens, gain, mask)


@torch.library.custom_op(f"{NAMESPACE}::bi_softmax_backward", mutates_args=())
def bi_softmax_backward(
    grad_output: torch.Tensor,
    tokens: torch.Tensor,
    gain: torch.Tensor,
    mask: torch.Tensor | None,
    normaliser: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """dz and dgain."""
    with plain(tokens):
        return kernels(tokens).backward(grad_output, tokens, gain, mask, normaliser)


@torch.library.custom_op(f"{NAMESPACE}::normaliser", mutates_args=())
def normaliser(tokens: torch.Tensor, gain: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """r of shape (batch_size, num_heads, seq_len)."""
    with plain(tokens):
        return kernels(tokens).normaliser_forward(tokens, gain, mask)


@torch.library.custom_op(f"{NAMESPACE}::normaliser_backward", mutates_args=())
def normaliser_backward(
    grad_normaliser: torch.Tensor,
    tokens: torch.Tensor,
    gain: torch.Tensor,
    mask: torch.Tensor | None,
    normaliser: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """dz and dgain."""
    with plain(tokens):
        return kernels(tokens).normaliser_backward(grad_normaliser, tokens, gain, mask, normaliser)


def new_like(tokens: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(tokens, memory_format=torch.contiguous_format)


def normaliser_like(tokens: torch.Tensor) -> torch.Tensor:
    return tokens.new_empty(tokens.shape[:-1], dtype=wide_dtype(tokens))


@bi_softmax.register_fake
def _(tokens, gain, mask):
    return new_like(tokens), normaliser_like(tokens)


@bi_softmax_backward.register_fake
def _(grad_output, tokens, gain, mask, normaliser):
    return new_like(tokens), torch.empty_like(gain)


@normaliser.register_fake
def _(tokens, gain, mask):
    return normaliser_like(tokens)


@normaliser_backward.register_fake
def _(grad_normaliser, tokens, gain, mask, normaliser):
    return new_like(tokens), torch.empty_like(gain)


def keep_bi_softmax(ctx, inputs, output):
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*inputs, output[1])


def keep_normaliser(ctx, inputs, output):
    ctx.save_for_backward(*inputs, output)


def backward_of_bi_softmax(ctx, grad_output, _):
    return *bi_softmax_backward(grad_output, *ctx.saved_tensors), None


def backward_of_normaliser(ctx, grad_normaliser):
    return *normaliser_backward(grad_normaliser, *ctx.saved_tensors), None


# For FLOP counters: the matrix products, with two operations for each pair of factors. The kernels for a GPU compute some again
# instead of keeping scores of all pairs. So do those for a CPU where a sequence needs several blocks, which is not counted.


def count_products(operator: str, on_cpu: int, on_gpu: int, place: int) -> None:
    """Let FLOP counters count so many products of an operator, whose argument at `place` are the tokens."""

    @register_flop_formula(getattr(getattr(torch.ops, NAMESPACE), operator), get_raw=True)
    def _(*arguments, out_val=None, **keywords) -> int:
        tokens = arguments[place]
        batch_size, num_heads, seq_len, head_dim = tokens.shape
        number = on_gpu if tokens.device.type == "cuda" else on_cpu
        return number * 2 * batch_size * num_heads * seq_len**2 * head_dim  # of z zᵀ, or of scores times z


count_products("bi_softmax", on_cpu=2, on_gpu=3, place=0)  # S, y; on a GPU S for r and again for y
count_products("bi_softmax_backward", on_cpu=4, on_gpu=8, place=1)  # S, G, (P + Q) dy, M z; S, G in two parts, twice
count_products("normaliser", on_cpu=1, on_gpu=1, place=0)  # S
count_products("normaliser_backward", on_cpu=2, on_gpu=2, place=1)  # S, M z


bi_softmax.register_autograd(backward_of_bi_softmax, setup_context=keep_bi_softmax)
normaliser.register_autograd(backward_of_normaliser, setup_context=keep_normaliser)

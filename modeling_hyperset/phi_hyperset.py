# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Elementwise functions Φ of the linear attention and gated feedforward energies (Tables 19 and 20), with their derivatives."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F


Elementwise = Callable[[torch.Tensor], torch.Tensor]


class Phi(NamedTuple):
    """Φ and Φ′, each from a tensor to one of the same shape."""

    function: Elementwise
    derivative: Elementwise


def sigmoid_derivative(x: torch.Tensor) -> torch.Tensor:
    sigmoid = x.sigmoid()
    return sigmoid * (1 - sigmoid)


def silu_derivative(x: torch.Tensor) -> torch.Tensor:
    sigmoid = x.sigmoid()
    return sigmoid * (1 + x * (1 - sigmoid))


def gelu_derivative(x: torch.Tensor) -> torch.Tensor:
    density = torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)
    return 0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * density


def elu_derivative(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(max=0).exp()


PHI: dict[str, Phi] = {
    "sigmoid": Phi(torch.sigmoid, sigmoid_derivative),
    "relu": Phi(F.relu, lambda x: (x > 0).to(x.dtype)),
    "tanh": Phi(torch.tanh, lambda x: 1 - x.tanh().square()),
    "softplus": Phi(F.softplus, torch.sigmoid),
    "silu": Phi(F.silu, silu_derivative),
    "gelu": Phi(F.gelu, gelu_derivative),
    "elu": Phi(F.elu, elu_derivative),
    "elu_plus_one": Phi(lambda x: F.elu(x) + 1, elu_derivative),
}

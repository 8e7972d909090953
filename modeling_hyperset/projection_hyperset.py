# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""W and D, each one weight used in both directions, also where depth-wise LoRA, PEFT or torchao changes it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .configuration_hyperset import HyperSETConfig


# The weights of torchao that stand for a float weight of their shape.
WEIGHT_ONLY = {"Float8Tensor", "Int8Tensor", "IntxUnpackedToInt8Tensor"}


def dequantized(weight: torch.Tensor) -> torch.Tensor:
    """
    `weight`, or the numbers that torchao keeps in its place: its quantised weights know one direction only.

    Raises:
        `TypeError`: a quantisation that rounds what the weight is multiplied with too, or one that is not known.
    """
    if type(weight) in (torch.Tensor, nn.Parameter):  # first of all, and in words that torch.compile understands
        return weight
    if not type(weight).__module__.startswith("torchao."):
        return weight
    rounds_inputs = any(
        getattr(weight, name, None) is not None for name in ("act_quant_kwargs", "activation_quantization")
    )
    if type(weight).__name__ not in WEIGHT_ONLY or rounds_inputs:
        raise TypeError(
            "A Hyper-SET projection uses one weight in both directions; torchao can quantise the weight alone, as "
            f"`Int8WeightOnlyConfig` does, got a {type(weight).__name__}{' that quantises inputs' if rounds_inputs else ''}."
        )
    return weight.dequantize()


class BothDirections:
    """One `weight` W of shape `(out_features, in_features)`, used in both directions: x ↦ x Wᵀ, and back y ↦ y W."""

    weight: torch.Tensor
    __call__: Callable[..., torch.Tensor]  # its `forward`

    def effective_weight(self, tensor: torch.Tensor, delta: torch.Tensor | None) -> torch.Tensor:
        """The weight of both directions, W + ΔW, in the dtype of `tensor`."""
        weight = dequantized(self.weight)
        weight = weight if delta is None else weight + delta
        return weight.to(tensor.dtype)

    def forward(self, tensor: torch.Tensor, delta: torch.Tensor | None = None, back: bool = False) -> torch.Tensor:
        """`(…, in_features)` → `(…, out_features)`, or the other way with `back`."""
        weight = self.effective_weight(tensor, delta)
        return tensor @ weight if back else F.linear(tensor, weight)

    def back(self, tensor: torch.Tensor, delta: torch.Tensor | None = None) -> torch.Tensor:
        """`(…, out_features)` → `(…, in_features)`. A call of the module, for its hooks, which may fetch the weight."""
        return self(tensor, delta, back=True)


class HyperSETProjection(BothDirections, nn.Linear):
    """W or D, or a baseline's weight that works in both directions."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features, bias=False)


class AdaptedProjection(BothDirections):
    """
    What an adapter of PEFT makes of a projection: the weight of its forward direction, for both.

    The images of the unit vectors are the columns of that weight, whatever the adapter computes it from, merged, disabled or
    several at once, and gradients reach the adapter through them. Dropout of an adapter's input takes one mask for all tokens
    and both directions: it drops columns of the change of the weight.
    """

    def __init__(self, adapter: nn.Module):
        self.adapter = adapter
        self.is_known = False

    def effective_weight(self, tensor: torch.Tensor, delta: torch.Tensor | None) -> torch.Tensor:
        if not self.is_known:  # by the first direction, for both
            self.weight, self.is_known = self.images_of_units(tensor.device), True
        return super().effective_weight(tensor, delta)

    def images_of_units(self, device: torch.device) -> torch.Tensor:
        """The weight, computed on `device`: that of the adapter itself says nothing while accelerate keeps the weights away."""
        base: Any = self.adapter.weight  # PEFT's adapters show the weight of what they wrap
        # A batch of one, so that a call that mixes adapters in a larger batch (`adapter_names`) is an error of PEFT.
        units = torch.eye(base.shape[1], dtype=base.dtype, device=device)[None]
        with torch.autocast(device.type, enabled=False):
            return self.adapter(units)[0].t()

    __call__ = BothDirections.forward


# The packages of `peft.tuners` whose layers of a Linear are linear: each is tried in `tests/ecosystem/test_peft.py`.
LINEAR_TUNERS = {"adalora", "boft", "hra", "ia3", "loha", "lokr", "lora", "oft", "vera"}


def is_linear_adapter(module: nn.Module) -> bool:
    """Whether `module` is PEFT's, around a projection, and gives a weight times its input, nothing else."""
    names = [*type(module).__module__.split("."), "", ""]
    if names[:3] == ["peft", "utils", "other"] and type(module).__name__ == "ModulesToSaveWrapper":
        return isinstance(module.original_module, HyperSETProjection)  # trained in place of the original
    if names[:2] != ["peft", "tuners"] or names[2] not in LINEAR_TUNERS:
        return False
    biases, variants = getattr(module, "lora_bias", {}), getattr(module, "lora_variant", {})
    if any(biases.values()) or any(type(variant).__name__ != "DoraLinearVariant" for variant in variants.values()):
        return False
    return isinstance(module.base_layer, HyperSETProjection) or is_linear_adapter(module.base_layer)  # type: ignore[arg-type]


def symmetric(projection: nn.Module) -> BothDirections:
    """
    `projection` with the same weight in both directions, also with an adapter of PEFT in its place.

    Raises:
        `TypeError`: something else stands there, which would change one direction alone, or is no weight at all.
    """
    if isinstance(projection, HyperSETProjection):
        return projection
    if is_linear_adapter(projection):
        return AdaptedProjection(projection)
    raise TypeError(
        "A Hyper-SET projection uses one weight in both directions and cannot be replaced by "
        f"{type(projection).__module__}.{type(projection).__qualname__}, which would change one of them alone or is no "
        f"weight. PEFT adapters can be: {', '.join(sorted(LINEAR_TUNERS))}, without `lora_bias` and, of LoRA's variants, with "
        "DoRA alone."
    )


class HyperSETDepthwiseLoRA(nn.Module):
    """
    W_t = W + s B_t A_t, and D_t likewise, with s = `lora_alpha / lora_rank`. The adapters of iteration t serve every layer,
    and the effective weight serves both directions.
    """

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.scaling = config.lora_scaling
        self.num_iterations = config.num_iterations
        self.zero_init = config.lora_init == "zeros"
        iterations, rank, d = config.num_iterations, config.lora_rank, config.hidden_size
        self.bases_a = nn.Parameter(torch.zeros(iterations, rank, d))
        self.bases_b = nn.Parameter(torch.zeros(iterations, d, rank))
        self.directions_a = nn.Parameter(torch.zeros(iterations, rank, d))
        self.directions_b = nn.Parameter(torch.zeros(iterations, config.intermediate_size, rank))  # type: ignore[arg-type]

    def forward(self, iteration: int) -> tuple[torch.Tensor, torch.Tensor]:
        """ΔW of shape `(hidden_size, hidden_size)` and ΔD of shape `(intermediate_size, hidden_size)` of iteration t ≥ 1."""
        index = iteration - 1
        return (
            self.scaling * (self.bases_b[index] @ self.bases_a[index]),
            self.scaling * (self.directions_b[index] @ self.directions_a[index]),
        )

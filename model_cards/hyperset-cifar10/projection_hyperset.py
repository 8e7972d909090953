# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""W and D: each is one weight used in both directions, even if depth-wise LoRA, PEFT or torchao changes it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils import logging

from .configuration_hyperset import HyperSETConfig


logger = logging.get_logger(__name__)

# The quantised weights of torchao that can become a float weight of the same shape.
WEIGHT_ONLY = {"Float8Tensor", "Int8Tensor", "IntxUnpackedToInt8Tensor"}


def dequantized(weight: torch.Tensor) -> torch.Tensor:
    """
    `weight` as numbers, because torchao's quantised weights only work in one direction.

    Raises:
        `TypeError`: a quantisation that also rounds the inputs, or an unknown one.
    """
    if type(weight) in (torch.Tensor, nn.Parameter):  # first, and in a form that torch.compile understands
        return weight
    if not type(weight).__module__.startswith("torchao."):
        return weight
    rounds_inputs = any(
        getattr(weight, name, None) is not None for name in ("act_quant_kwargs", "activation_quantization")
    )
    if type(weight).__name__ not in WEIGHT_ONLY or rounds_inputs:
        raise TypeError(
            "A Hyper-SET projection uses one weight in both directions, so torchao must quantise weights only: use "
            f"`Int8WeightOnlyConfig`. Got a {type(weight).__name__}{' that quantises inputs' if rounds_inputs else ''}."
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
        """`(…, in_features)` → `(…, out_features)`, or with `back` the reverse."""
        weight = self.effective_weight(tensor, delta)
        return tensor @ weight if back else F.linear(tensor, weight)

    def back(self, tensor: torch.Tensor, delta: torch.Tensor | None = None) -> torch.Tensor:
        """`(…, out_features)` → `(…, in_features)`. It calls the module, because its hooks may fetch the weight."""
        return self(tensor, delta, back=True)


class HyperSETProjection(BothDirections, nn.Linear):
    """W or D, or a baseline's weight that works in both directions."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features, bias=False)


class AdaptedProjection(BothDirections):
    """
    A projection with an adapter of PEFT: the adapted weight of the forward direction, for both directions.

    The columns of that weight are the images of the unit vectors. This is right for any adapter: merged, disabled or several at
    once. Gradients reach the adapter through these columns. The adapter's dropout has one mask for all tokens and both
    directions: it drops columns of the weight's change.
    """

    def __init__(self, adapter: nn.Module):
        self.adapter = adapter
        self.is_known = False

    def effective_weight(self, tensor: torch.Tensor, delta: torch.Tensor | None) -> torch.Tensor:
        if not self.is_known:  # the first direction computes it for both
            self.weight, self.is_known = self.images_of_units(tensor.device), True
        return super().effective_weight(tensor, delta)

    def images_of_units(self, device: torch.device) -> torch.Tensor:
        """The weight, computed on `device`. (The adapter's device may be meta, because accelerate offloads weights.)"""
        base: Any = self.adapter.weight  # PEFT's adapters show the weight of the layer that they wrap
        # A batch of one: PEFT raises an error if a call mixes adapters in a larger batch (`adapter_names`).
        units = torch.eye(base.shape[1], dtype=base.dtype, device=device)[None]
        with torch.autocast(device.type, enabled=False):
            return self.adapter(units)[0].t()

    __call__ = BothDirections.forward


# The packages of `peft.tuners` whose adapters of a Linear are linear. `tests/ecosystem/test_peft.py` tests each.
LINEAR_TUNERS = {"adalora", "boft", "hra", "ia3", "loha", "lokr", "lora", "oft", "vera"}


def is_linear_adapter(module: nn.Module) -> bool:
    """Whether `module` is a PEFT adapter of a projection, and its output is a weight times its input."""
    names = [*type(module).__module__.split("."), "", ""]
    if names[:3] == ["peft", "utils", "other"] and type(module).__name__ == "ModulesToSaveWrapper":
        return isinstance(module.original_module, HyperSETProjection)  # a trained copy replaces the original
    if names[:2] != ["peft", "tuners"] or names[2] not in LINEAR_TUNERS:
        return False
    biases, variants = getattr(module, "lora_bias", {}), getattr(module, "lora_variant", {})
    if any(biases.values()) or any(type(variant).__name__ != "DoraLinearVariant" for variant in variants.values()):
        return False
    return isinstance(module.base_layer, HyperSETProjection) or is_linear_adapter(module.base_layer)  # type: ignore[arg-type]


def symmetric(projection: nn.Module) -> BothDirections:
    """
    `projection` with the same weight in both directions, even if an adapter of PEFT has replaced it.

    Raises:
        `TypeError`: another module has replaced it, so that the directions would differ.
    """
    if isinstance(projection, HyperSETProjection):
        return projection
    if is_linear_adapter(projection):
        return AdaptedProjection(projection)
    raise TypeError(
        "A Hyper-SET projection uses one weight in both directions, so it cannot be replaced by "
        f"{type(projection).__module__}.{type(projection).__qualname__}. PEFT adapters can be: "
        f"{', '.join(sorted(LINEAR_TUNERS))}. Do not use `lora_bias`, nor any variant of LoRA except DoRA."
    )


def check_adapters(model: nn.Module, step_sizes: Sequence[nn.Module]) -> None:
    """
    What goes wrong in silence with adapters of PEFT. This reads values, so it is called once. `step_sizes` are the last Linears
    of the step sizes of `model`. A warning if they are zero and frozen: then W and D have no effect, and no gradient.

    Raises:
        `ValueError`: DoRA of a weight with rows of zeros. It divides by their norm.
    """
    for name, module in model.named_modules():
        for magnitude in getattr(module, "lora_magnitude_vector", {}).values():
            if not magnitude.weight.is_meta and bool((magnitude.weight == 0).any()):
                raise ValueError(
                    f"DoRA divides by the norm of each row of a weight, and {name!r} has rows of zeros: leave it out of "
                    "`target_modules`, train it first, or set `use_dora=False`."
                )
    parameters = [parameter for module in step_sizes for parameter in module.parameters()]
    if parameters and not any(parameter.requires_grad or parameter.is_meta for parameter in parameters):
        if not any(bool(parameter.any()) for parameter in parameters):
            logger.warning(
                "All step sizes are zero and frozen, as in an untrained model. Adapters of W and D get no gradient and train "
                'nothing. Train the model first, or its step sizes too (`modules_to_save=["step_sizes.0"]`), or use '
                '`step_size_type="fixed"`.'
            )


class HyperSETDepthwiseLoRA(nn.Module):
    """
    W_t = W + s B_t A_t, and the same for D_t, with s = `lora_alpha / lora_rank`. All layers share the adapters of iteration t,
    and both directions share the resulting weight.
    """

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.scaling = config.lora_scaling
        self.num_iterations = config.num_iterations
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

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The paths of one sample's tokens on the spheres, projected to three dimensions (Figure 1)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from transformers import PreTrainedModel

from ..layers_hyperset import HyperSETLayer
from ..projection_hyperset import symmetric
from .geometry import subspace_tokens
from .measuring import base_of, batches_of, check_model, watching


@dataclass
class Trajectories:
    """
    Points on the unit sphere in three dimensions, before the first iteration and after each iteration.

    Args:
        layer, head (`int`): The number of the layer and of its head, both from 1.
        trained_iterations, num_iterations (`int`): Iterations of the layer in training and here.
        subspace (`torch.Tensor` of shape `(num_iterations + 1, num_tokens, 3)`):
            The tokens in the subspace of the head, W_h x. Padding is left out.
        tokens (`torch.Tensor` of shape `(num_iterations + 1, num_tokens, 3)`): The tokens themselves, x / ‖x‖.
        anchors (`torch.Tensor` of shape `(num_anchors, 3)`):
            Columns of D, d_m / ‖d_m‖: those most aligned with the tokens after the last iteration. Empty for baselines.
        subspace_share, tokens_share (`float`):
            The share of the squared length of the points in the three dimensions. Near 1, the drawing shows almost everything.
    """

    layer: int
    head: int
    trained_iterations: int
    num_iterations: int
    subspace: torch.Tensor
    tokens: torch.Tensor
    anchors: torch.Tensor
    subspace_share: float
    tokens_share: float

    def to_dict(self) -> dict[str, Any]:
        """Tensors as lists, for JSON."""
        return {name: value.tolist() if torch.is_tensor(value) else value for name, value in asdict(self).items()}


def trajectories(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    sample: int = 0,
    layer: int = 1,
    head: int = 1,
    num_iterations: int | None = None,
    num_anchors: int = 6,
) -> Trajectories:
    """
    Follow the tokens of one sample through the iterations of one layer.

    The three dimensions hold the most squared length of all points together. They are the leading right singular vectors,
    uncentred, so that the centre of the sphere does not move. Each point is then put back on the unit sphere.

    Args:
        model ([`HyperSETPreTrainedModel`]): A model whose layer has [`subspace_tokens`].
        inputs (`Mapping`): A batch, as the model takes it. `labels` are ignored.
        sample (`int`): The number of the sample in the batch, from 0.
        layer, head (`int`): The numbers of the layer and the head, from 1.
        num_iterations (`int`, *optional*): Iterations of each layer. Default: the config's.
        num_anchors (`int`): How many columns of D to return.

    Raises:
        `ValueError`: a number is out of range, the layer has no subspaces, or the sample is only padding.
    """
    num_iterations = check_model(model, num_iterations)
    config = model.config
    for name, value, most in (("layer", layer, config.num_hidden_layers), ("head", head, config.num_attention_heads)):
        if not 1 <= value <= most:
            raise ValueError(f"`{name}` must lie between 1 and {most}, got {value}.")
    if num_anchors < 0:
        raise ValueError(f"`num_anchors` must not be negative, got {num_anchors}.")
    states: list[torch.Tensor] = []
    masks: list[torch.Tensor | None] = []

    def see(module: nn.Module, positional: tuple, options: dict[str, Any], outputs: tuple) -> None:
        if not states:
            if not 0 <= sample < len(outputs[0]):
                raise ValueError(f"`sample` must lie in [0, {len(outputs[0])}), got {sample}.")
            states.append(positional[0][sample])
            masks.append(options["attention_mask"])
        states.append(outputs[0][sample])

    module = base_of(model).layers[layer - 1]
    (batch,) = batches_of(inputs, model.device)
    batch = {name: value for name, value in batch.items() if name != "labels"}
    handle = module.register_forward_hook(see, with_kwargs=True)
    try:
        with watching(model):
            model(**batch, num_iterations=num_iterations, energy_tolerance=False, return_dict=True)
            tokens = torch.stack(states)
            in_subspace = subspace_tokens(module, tokens)[:, head - 1]
            tokens = tokens.float()
    finally:
        handle.remove()
    if masks[0] is not None:
        kept = masks[0][sample]
        if not kept.any():
            raise ValueError(f"`sample` must have tokens that are not padding, got {sample}: it is only padding.")
        tokens, in_subspace = tokens[:, kept], in_subspace[:, kept]

    anchors = tokens.new_zeros(0, tokens.shape[-1])
    if isinstance(module, HyperSETLayer):
        weight = symmetric(module.feedforward.directions).effective_weight(tokens, None).detach()
        alignment = F.relu(F.normalize(tokens[-1], dim=-1) @ F.normalize(weight, dim=-1).T).square().mean(dim=0)
        anchors = weight[alignment.topk(min(num_anchors, len(weight))).indices]
    subspace, _, subspace_share = to_three(in_subspace, in_subspace[0, :0])
    points, anchors, tokens_share = to_three(tokens, anchors)
    return Trajectories(
        layer=layer,
        head=head,
        trained_iterations=config.num_iterations,
        num_iterations=num_iterations,
        subspace=subspace,
        tokens=points,
        anchors=anchors,
        subspace_share=subspace_share,
        tokens_share=tokens_share,
    )


def to_three(points: torch.Tensor, more: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """
    `points`, `(…, dim)` → `(…, 3)` on the unit sphere. The three dimensions hold the most squared length of the normalised
    points. Also returns `more`, projected the same way, and the share of that length. If `dim` < 3, the rest is zero.
    """
    points, more = (F.normalize(group.cpu().double(), dim=-1) for group in (points, more))
    flat = points.flatten(0, -2)
    _, values, directions = torch.linalg.svd(flat, full_matrices=False)
    directions, squares = directions[:3], values.square()
    # A singular vector can have any sign. This makes it the same on every machine.
    largest = directions.abs().argmax(dim=-1, keepdim=True)
    directions = directions * directions.gather(-1, largest).sign()
    missing = 3 - len(directions)
    points, more = (F.pad(F.normalize(group @ directions.T, dim=-1), (0, missing)) for group in (points, more))
    return points, more, float(squares[:3].sum() / squares.sum())

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Measure a forward pass after every iteration, with hooks on the layers. It needs no second pass and keeps no tokens."""

import contextlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import nn

from transformers import PreTrainedModel

from ..checks_hyperset import check_num_iterations, check_sample_labels, check_token_labels
from ..layers_hyperset import HyperSETLayer, IteratedLayer, as_keyword, rms_on_projections
from ..modeling_hyperset import (
    HyperSETForCausalLM,
    HyperSETForImageClassification,
    HyperSETForMaskedImageModeling,
    HyperSETForSequenceClassification,
    HyperSETModel,
    HyperSETPreTrainedModel,
)
from ..order_hyperset import Order
from .geometry import average_angles, has_subspaces, ranks, subspace_tokens


# What can be measured, and the names of the results. Each is a value per iteration and sample; some are also per head.
QUANTITIES: dict[str, tuple[str, ...]] = {
    "energies": ("attention_energy", "feedforward_energy", "total_energy"),
    "rank": ("effective_rank", "full_rank"),  # and per head
    "angles": ("angle_of_mean_cosine", "mean_angle"),  # in degrees, and per head
    "step_sizes": tuple(
        f"{side}_step_size{kind}" for side in ("attention", "feedforward") for kind in ("", "_deviation", "_positive")
    ),
    "accuracy": ("accuracy", "token_accuracy"),
}
HEADS = ("classifier", "decoder", "lm_head")  # the last Linear of a model
SAMPLE_HEADS = (HyperSETForImageClassification, HyperSETForSequenceClassification)  # the others classify every token
PER_HEAD = {"effective_rank", "full_rank", "angle_of_mean_cosine", "mean_angle"}


def base_of(model: PreTrainedModel) -> HyperSETModel:
    """The model below the head, as a [`HyperSETModel`] for type checkers."""
    return cast(HyperSETModel, model.base_model)


def undefined(model: PreTrainedModel) -> dict[str, str]:
    """The [`QUANTITIES`] that `model` does not have with any inputs, and the reasons."""
    layer = cast(IteratedLayer, base_of(model).layers[0])
    name, reasons = type(layer).__name__, {}
    if not model.config.has_energies:
        reasons["energies"] = f"{name} is not derived from an energy"
    if not has_subspaces(layer):
        reasons["rank"] = reasons["angles"] = f"{name} has different matrices for queries and keys"
    if not model.config.has_step_sizes:
        reasons["step_sizes"] = f"{name} has no step sizes"
    if not any(hasattr(model, head) for head in HEADS):
        reasons["accuracy"] = f"{type(model).__name__} has no head"
    elif isinstance(model, HyperSETForMaskedImageModeling) and not model.config.takes_token_ids:
        reasons["accuracy"] = f"{type(model).__name__} of pixels has no classes"
    return reasons


def check_quantities(model: PreTrainedModel, quantities: Collection[str] | str | None) -> set[str]:
    """
    The `quantities` as a set. `None` means all.

    Raises:
        `ValueError`: a quantity that does not exist, or that this model does not have.
    """
    wanted = set(QUANTITIES if quantities is None else [quantities] if isinstance(quantities, str) else quantities)
    if unknown := wanted - set(QUANTITIES):
        got = ", ".join(sorted(map(str, unknown)))
        raise ValueError(f"`quantities` must be among {', '.join(QUANTITIES)}, got {got}.")
    reasons = undefined(model)
    if quantities is not None and (missing := sorted(wanted & set(reasons))):
        raise ValueError(f"`quantities`: {missing[0]!r} does not exist here: {reasons[missing[0]]}.")
    return wanted


def check_model(model: Any, num_iterations: int | None) -> int:
    """
    `num_iterations`, or the model's own.

    Raises:
        `ValueError`: `model` is not a model of this family, or the number does not fit it.
    """
    if not isinstance(model, HyperSETPreTrainedModel):
        # The analysis checks the classes of layers. The code in a checkpoint has other classes.
        raise ValueError(
            "`model` must be an instance of one of this package's model classes, without a wrapper, got "
            f"{type(model).__module__}.{type(model).__name__}. Pass PEFT's `get_base_model()`, or DataParallel's `module`."
        )
    if num_iterations is None:
        num_iterations = model.config.num_iterations
    lora = base_of(model).lora
    check_num_iterations(num_iterations, None if lora is None else lora.num_iterations)
    return num_iterations


def batches_of(batches: Mapping[str, Any] | Iterable[Mapping[str, Any]], device: torch.device) -> Iterator[dict]:
    """
    The batches, or the one batch, with their tensors on `device`.

    Raises:
        `ValueError`: a batch is not a mapping of names to inputs.
    """
    for batch in [batches] if isinstance(batches, Mapping) else batches:
        if not isinstance(batch, Mapping):
            raise ValueError(f"`batches` must hold mappings from input names to inputs, got {type(batch).__name__}.")
        yield {key: value.to(device) if torch.is_tensor(value) else value for key, value in batch.items()}


@contextlib.contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Inside it, `model` is in evaluation mode without gradients. Afterwards every module has its old mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def watching(model: PreTrainedModel) -> Iterator[None]:
    """Like [`evaluating`], the last iteration computes all tokens too, and no cache is filled."""
    config = model.config
    before = config.prune_last_iteration, config.use_cache
    config.prune_last_iteration = config.use_cache = False
    try:
        with evaluating(model):
            yield
    finally:
        config.prune_last_iteration, config.use_cache = before


class Recorder:
    """
    Measures every iteration of the forward passes of `model` inside the `with` block.

    Args:
        model ([`HyperSETPreTrainedModel`]): Any model of the family.
        wanted: Names of [`QUANTITIES`].
    """

    def __init__(self, model: PreTrainedModel, wanted: set[str]):
        self.model, self.wanted = model, wanted
        self.labels: torch.Tensor | None = None  # of the next batch
        self.batch_size = 0  # of the last batch
        self.measured: dict[str, list[torch.Tensor]] = {}
        self.weights: dict[str, torch.Tensor] = {}  # the weight of each sample of the batch, if not all are 1
        self.step_sizes: deque[torch.Tensor] = deque()  # of the next iterations

    def __enter__(self) -> "Recorder":
        base = base_of(self.model)
        self.handles = [layer.register_forward_hook(self.see_layer, with_kwargs=True) for layer in base.layers]
        if "step_sizes" in self.wanted and base.config.step_size_type == "learned":
            for step_size in base.step_sizes:
                projection = cast(nn.Module, step_size.projection)
                self.handles.append(projection.register_forward_hook(self.see_step_sizes))
        return self

    def __exit__(self, *_) -> None:
        for handle in self.handles:
            handle.remove()

    def take(self) -> dict[str, tuple[torch.Tensor, torch.Tensor | None]]:
        """
        The measurements since the last call, by name. Each has values of shape `(steps, batch_size)` or, per head, `(steps,
        batch_size, num_heads)`, and weights of the samples, of shape `(batch_size,)`, or `None` if all are 1.
        """
        measured = {name: (torch.stack(values), self.weights.get(name)) for name, values in self.measured.items()}
        self.measured, self.weights = {}, {}
        self.step_sizes.clear()
        return measured

    def add(self, **values: torch.Tensor) -> None:
        for name, value in values.items():
            self.measured.setdefault(name, []).append(value)

    def see_step_sizes(self, module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        # The step sizes of one iteration, or of several that were computed ahead.
        self.step_sizes.extend(output.unbind(0) if output.ndim == 4 else [output])

    def see_layer(self, layer: IteratedLayer, inputs: tuple, options: dict[str, Any], outputs: tuple) -> None:
        tokens, mask = outputs[0], options["attention_mask"]
        self.batch_size, z = len(tokens), None
        if has_subspaces(layer) and self.wanted & {"energies", "rank", "angles"}:
            z = subspace_tokens(layer, tokens)
        if "energies" in self.wanted:
            attention, feedforward = energies(layer, tokens, z, mask, options.get("order"))
            self.add(attention_energy=attention, feedforward_energy=feedforward, total_energy=attention + feedforward)
        heads_mask = None if mask is None else mask[:, None]
        if z is not None and "rank" in self.wanted:
            effective_rank, full_rank = ranks(z, heads_mask)
            self.add(effective_rank=effective_rank, full_rank=full_rank)
        if z is not None and "angles" in self.wanted and tokens.shape[1] > 1:  # a single token has no angle
            angle_of_mean_cosine, mean_angle = average_angles(z, heads_mask)
            self.add(angle_of_mean_cosine=angle_of_mean_cosine, mean_angle=mean_angle)
        if mask is not None:
            count = mask.sum(dim=-1)
            for quantity, least in (("rank", 1), ("angles", 2), ("step_sizes", 1)):
                self.weights |= dict.fromkeys(QUANTITIES[quantity], count >= least)
        if "step_sizes" in self.wanted:
            self.see_sizes(tokens, mask)
        if self.labels is not None and "accuracy" in self.wanted:
            self.see_answers(tokens, mask)

    def see_sizes(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> None:
        """For each sample: mean, deviation and share of positive values of α and γ, over tokens and channels."""
        config = self.model.config
        if config.step_size_type == "learned":
            sizes = self.step_sizes.popleft().unflatten(-1, (2, -1)).float()
        else:
            sizes = tokens.new_tensor([config.step_size_attention, config.step_size_feedforward]).float()
            sizes = sizes.view(1, 1, 2, 1).expand(*tokens.shape[:2], 2, 1)
        weights = sizes.new_ones(sizes.shape[:2]) if mask is None else mask.to(sizes.dtype)
        weights = weights / (weights.sum(dim=1, keepdim=True).clamp(min=1) * sizes.shape[-1])

        def average(values: torch.Tensor) -> torch.Tensor:
            """`(batch_size, seq_len, 2, channels)` → `(batch_size, 2)`."""
            return torch.einsum("bns,bn->bs", values.sum(dim=-1), weights)

        mean = average(sizes)
        deviation = average((sizes - mean[:, None, :, None]).square()).sqrt()
        positive = average((sizes.sign() + 1) / 2)
        for kind, values in (("", mean), ("_deviation", deviation), ("_positive", positive)):
            attention, feedforward = values.unbind(dim=-1)
            self.add(**{f"attention_step_size{kind}": attention, f"feedforward_step_size{kind}": feedforward})

    def see_answers(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> None:
        """Whether the head predicts the labels from these tokens, as if this iteration were the last."""
        labels, is_first = cast(torch.Tensor, self.labels), "accuracy" not in self.measured
        logits = answer_of(self.model, tokens, mask)
        if is_first:
            check_labels(self.model, labels, logits)
        if isinstance(self.model, SAMPLE_HEADS):
            self.add(accuracy=logits.argmax(dim=-1) == labels)
            return
        wanted = labels != -100
        right = logits.argmax(dim=-1) == labels
        count = wanted.sum(dim=-1)
        self.weights["accuracy"], self.weights["token_accuracy"] = count > 0, count
        share = (right & wanted).sum(dim=-1) / count.clamp(min=1)
        self.add(accuracy=(right | ~wanted).all(dim=-1), token_accuracy=share)


def answer_of(model: PreTrainedModel, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """
    What the head of `model` answers from the tokens after an iteration, as if it were the last: `(batch_size, seq_len,
    hidden_size)` and a boolean mask of what is no padding → logits of shape `(batch_size, num_labels)`, or of `(batch_size,
    seq_len, num_labels)` where the head answers for every token.
    """
    base = base_of(model)
    head = cast(nn.Module, next(getattr(model, name) for name in HEADS if hasattr(model, name)))
    return head(base.norm(base.pool(tokens, mask) if isinstance(model, SAMPLE_HEADS) else tokens))


def energies(
    layer: IteratedLayer,
    hidden_states: torch.Tensor,
    tokens: torch.Tensor | None,
    mask: torch.Tensor | None,
    order: Order | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The same as `layer.energies`, as two tensors of shape `(batch_size,)`. For Hyper-SET it uses `tokens`, the
    [`subspace_tokens`], to save time, unless the layer has other norms than these tokens, or an `order` of them.
    """
    has_spheres = order is None and isinstance(layer, HyperSETLayer) and rms_on_projections(layer.attention.config)
    if tokens is None or not has_spheres:
        # Without the cache, which this iteration has filled.
        alone = as_keyword(None if order is None else order.alone())
        attention, feedforward = layer.energies(hidden_states, mask, **alone).unbind(dim=-1)
        return attention, feedforward
    with torch.autocast(hidden_states.device.type, enabled=False):
        wide = hidden_states.to(tokens.dtype)
        own = cast(HyperSETLayer, layer)
        return own.attention.energy.value(tokens, mask), own.feedforward.value(wide, mask)


def labels_of(model: PreTrainedModel, batch: Mapping[str, Any]) -> torch.Tensor | None:
    """
    The labels of a batch if they are classes, one for each sample or for each token. Otherwise `None`. Those of a causal model
    are moved to the token that predicts them.
    """
    labels, config = batch.get("labels"), model.config
    if not isinstance(labels, torch.Tensor) or labels.is_floating_point():
        return None
    if isinstance(model, HyperSETForCausalLM) and labels.ndim == 2:
        return nn.functional.pad(labels[:, 1:], (0, 1), value=-100)  # token i predicts label i + 1
    if not isinstance(model, SAMPLE_HEADS):
        return labels.flatten(1) if labels.ndim > 1 else labels
    has_one_class = config.problem_type in (None, "single_label_classification") and cast(int, config.num_labels) > 1
    return labels if has_one_class else None


def check_labels(model: PreTrainedModel, labels: torch.Tensor, logits: torch.Tensor) -> None:
    """
    Raises:
        `ValueError`: `labels`, from [`labels_of`], do not fit the `logits` of shape `(…, num_classes)`.
    """
    if isinstance(model, SAMPLE_HEADS):
        check_sample_labels(labels, len(logits), model.config)
    else:
        check_token_labels(labels, logits.shape[:-1], logits.shape[-1], "number of classes")

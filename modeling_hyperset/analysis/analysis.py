# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Analyse what a model of the family does to its tokens, over a whole data set."""

import csv
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from transformers import PreTrainedModel

from ..files import write_json, write_whole
from .measuring import (
    PER_HEAD,
    QUANTITIES,
    Recorder,
    batches_of,
    check_model,
    check_quantities,
    labels_of,
    undefined,
    watching,
)
from .statistics import RunningStatistics


@dataclass
class Analysis:
    """
    The results of [`analyze`]: mean and standard deviation of each quantity over the samples, after every step.

    A step is one iteration of one layer. Steps are in order, layer by layer: step `i` (from 0) is iteration
    `i % num_iterations + 1` of layer `i // num_iterations + 1`.

    Args:
        layer_type (`str`): As in the config.
        num_layers, num_heads, num_parameters (`int`): Of the model.
        trained_iterations (`int`): Iterations of each layer in the config.
        num_iterations (`int`): Iterations of each layer that were run.
        num_samples (`int`): How many samples were analysed.
        statistics (`dict`): By name: `{"mean": …, "std": …, "count": …}`. `mean` and `std` are lists with an entry per step.
            For `effective_rank`, `full_rank`, `angle_of_mean_cosine` and `mean_angle` each entry is a list with a number per
            head. `std` divides by the number of samples (Σ/n). Values that are not finite are `None`. `count` is the number of
            samples that have a value; for `token_accuracy` it counts tokens.
        absent (`dict`): The quantities that were not measured, each with the reason.
    """

    layer_type: str
    num_layers: int
    num_heads: int
    num_parameters: int
    trained_iterations: int
    num_iterations: int
    num_samples: int
    statistics: dict[str, dict[str, Any]]
    absent: dict[str, str]

    def mean(self, name: str) -> torch.Tensor:
        """The mean of a quantity over samples, `(steps,)` or `(steps, num_heads)`, in float64. NaN for a missing value."""
        return self._tensor(name, "mean")

    def std(self, name: str) -> torch.Tensor:
        """The standard deviation over samples, shaped like [`mean`]."""
        return self._tensor(name, "std")

    def _tensor(self, name: str, kind: str) -> torch.Tensor:
        if name not in self.statistics:
            group = next((group for group, names in QUANTITIES.items() if name in names), None)
            reason = f": {self.absent[group]}" if group in self.absent else ""
            raise ValueError(f"`name` must be one of {', '.join(self.statistics)}, got {name!r}{reason}.")
        values = self.statistics[name][kind]
        if name in PER_HEAD:
            values = [[math.nan if value is None else value for value in row] for row in values]
        else:
            values = [math.nan if value is None else value for value in values]
        return torch.tensor(values, dtype=torch.float64)

    def to_dict(self) -> dict[str, Any]:
        """Everything as lists, numbers and strings, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Analysis":
        """The reverse of [`to_dict`]."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each number: `quantity`, `layer` and `iteration` (from 1), `head` (from 1, or ""), `mean` and `std`."""
        for name, values in self.statistics.items():
            for step, pair in enumerate(zip(values["mean"], values["std"], strict=True)):
                layer, iteration = divmod(step, self.num_iterations)
                row = {"quantity": name, "layer": layer + 1, "iteration": iteration + 1}
                if name not in PER_HEAD:
                    yield row | {"head": "", "mean": pair[0], "std": pair[1]}
                    continue
                for head, (mean, std) in enumerate(zip(*pair, strict=True)):
                    yield row | {"head": head + 1, "mean": mean, "std": std}

    def save(self, path: str | PathLike) -> None:
        """
        Write a `.json` file that [`load`] reads, or a `.csv` file with the [`rows`].

        Raises:
            `ValueError`: `path` has another ending.
        """
        path = Path(path)
        if path.suffix == ".json":
            write_json(path, self.to_dict())
        elif path.suffix == ".csv":
            write_whole(path, self._write_csv)
        else:
            raise ValueError(f"`path` must end in .json or .csv, got {str(path)!r}.")

    def _write_csv(self, path: str) -> None:
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["quantity", "layer", "iteration", "head", "mean", "std"])
            writer.writeheader()
            writer.writerows(self.rows())

    @classmethod
    def load(cls, path: str | PathLike) -> "Analysis":
        """Read what [`save`] wrote as JSON."""
        return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))

    def table(self) -> str:
        """A line for each step, for the terminal. Rank and angle are means over the heads."""
        columns = {
            "E_ATTN": ("attention_energy", ".2f"),
            "E_FF": ("feedforward_energy", ".2f"),
            "E": ("total_energy", ".2f"),
            "rank": ("effective_rank", ".2f"),
            "angle, °": ("mean_angle", ".2f"),
            "α": ("attention_step_size", ".4f"),
            "γ": ("feedforward_step_size", ".4f"),
            "accuracy": ("accuracy", ".4f"),
            "of tokens": ("token_accuracy", ".4f"),
        }
        columns = {title: column for title, column in columns.items() if column[0] in self.statistics}
        means = {name: self.mean(name) for name, _ in columns.values()}
        titles = (["layer"] if self.num_layers > 1 else []) + ["iteration"]
        lines = ["  ".join([f"{title:>9}" for title in titles] + [f"{title:>12}" for title in columns])]
        for step in range(self.num_layers * self.num_iterations):
            layer, iteration = divmod(step, self.num_iterations)
            numbers = ([layer + 1] if self.num_layers > 1 else []) + [iteration + 1]
            cells = [f"{number:>9}" for number in numbers]
            for name, style in columns.values():
                value = means[name][step]
                cells.append(f"{float(value.mean()):>12{style}}")
            lines.append("  ".join(cells))
        return "\n".join(lines)


# The quantities that `detail_samples` limits.
DETAILS = {"rank", "angles", "step_sizes"}


def length(batches: Any) -> int | None:
    """The number of batches, if it is known."""
    try:
        return len(batches)
    except TypeError:  # a data loader of a stream has a `__len__`, but it raises an error
        return None


def analyze(
    model: PreTrainedModel,
    batches: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    num_iterations: int | None = None,
    quantities: Collection[str] | None = None,
    detail_samples: int | None = 1024,
    progress: bool = True,
) -> Analysis:
    """
    Run `model` over a batch, or over all batches of a data set, and measure every iteration. It makes one forward pass per
    batch, in evaluation mode, without gradients and without adaptive depth. Memory does not grow with the data. Afterwards the
    model is as before.

    Args:
        model ([`HyperSETPreTrainedModel`]): Any model of the family, with any head, Hyper-SET or baseline.
        batches (`Mapping`, or iterable of `Mapping` like a `DataLoader`):
            The inputs of the model, as tensors on any device. `labels` are only for the accuracy: a class for each sample, or
            for each token, with -100 for tokens without a label.
        num_iterations (`int`, *optional*): Iterations of each layer. They can be more than in training.
        quantities (collection of `str`, *optional*):
            What to measure. Default: everything that the model and the batches have.

            - `energies`: `attention_energy`, `feedforward_energy`, `total_energy`, as `output_energies=True` returns them.
            - `rank`: `effective_rank` (Eq. 17) and `full_rank` of the [`subspace_tokens`], per head.
            - `angles`: average angles of [`subspace_tokens`], per head, in degrees: `angle_of_mean_cosine` as in Eq. 18, and
              `mean_angle` as in the authors' plots.
            - `step_sizes`: mean of α (`attention_step_size`) and γ (`feedforward_step_size`) over the tokens and channels of a
              sample, their `…_deviation`, and the share of them that is `…_positive` (zero counts one half).
            - `accuracy`: the share of samples with all labels predicted by the head from the tokens of this step, and
              `token_accuracy`, the same share of labelled tokens. With one layer this is the accuracy of the model with this
              `num_iterations`. With several layers, the tokens of earlier layers are not finished. The head runs once per step:
              leave `accuracy` out for a large vocabulary.

            Padding is left out. A sample is not counted if it has no value, for example no rank because it is only padding.
        detail_samples (`int`, *optional*, defaults to 1024): `rank`, `angles` and `step_sizes` together cost more than the
            forward pass of a small model. So they are measured on about this many samples, in whole batches spread evenly over
            the data. `None`, or `batches` without a length: on all samples.
        progress (`bool`): Whether to show a progress bar for more than one batch.

    Returns:
        [`Analysis`]

    Raises:
        `ValueError`: a model of another family; a quantity that does not exist, or that this model or batch does not have; no
            batch; or as in the model's `forward`.
    """
    num_iterations = check_model(model, num_iterations)
    wanted, absent = check_quantities(model, quantities), undefined(model)
    absent |= {name: "not asked for" for name in QUANTITIES if name not in wanted}
    if detail_samples is not None and (not isinstance(detail_samples, int) or detail_samples < 1):
        raise ValueError(f"`detail_samples` must be a positive integer or None, got {detail_samples!r}.")
    if isinstance(batches, Mapping):
        batches, progress = [batches], False

    running: dict[str, RunningStatistics] = {}
    num_samples, wanted, count = 0, wanted - set(absent), length(batches)
    chosen, of = 1, 1  # `chosen` batches out of `of` are measured in detail
    bar = logging.tqdm(batches, desc="Analysing", unit="batch", disable=not progress)
    with watching(model), Recorder(model, wanted) as recorder:
        for index, batch in enumerate(batches_of(bar, model.device)):
            recorder.labels = labels_of(model, batch)
            if recorder.labels is None and "accuracy" in wanted:
                reason = "the batch has no `labels` that are classes"
                if quantities is not None or num_samples:
                    raise ValueError(f"`quantities`: 'accuracy' does not exist here: {reason}.")
                absent["accuracy"] = reason
                wanted = wanted - {"accuracy"}
            is_chosen = index * chosen // of > (index - 1) * chosen // of  # the first is
            recorder.wanted = wanted if is_chosen else wanted - DETAILS
            inputs = {key: value for key, value in batch.items() if key != "labels"}
            model(**inputs, num_iterations=num_iterations, energy_tolerance=False, return_dict=True)
            for name, (values, weights) in recorder.take().items():
                running.setdefault(name, RunningStatistics()).update(values, weights)
            num_samples += recorder.batch_size
            if index == 0 and detail_samples is not None and count is not None:
                chosen, of = min(count, math.ceil(detail_samples / num_samples)), count
    if num_samples == 0:
        raise ValueError("`batches` is empty: there is nothing to analyse.")

    names = [name for group in QUANTITIES.values() for name in group if name in running]
    statistics = {name: running[name].to_dict() for name in names if running[name].weight > 0}
    for quantity in wanted:
        if not statistics.keys() & set(QUANTITIES[quantity]):
            absent[quantity] = "no sample has a value"
    config = model.config
    return Analysis(
        layer_type=config.layer_type,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        num_parameters=model.num_parameters(),
        trained_iterations=config.num_iterations,
        num_iterations=num_iterations,
        num_samples=num_samples,
        statistics=statistics,
        absent={name: absent[name] for name in QUANTITIES if name in absent},
    )

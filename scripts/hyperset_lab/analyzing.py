# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""For `analyze.py`: its flags, the task of a checkpoint, and the pictures of an analysis."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from hyperset_lab.arguments import check_choice, check_least, option
from hyperset_lab.classes import Relabelled, listed, positions
from hyperset_lab.models import is_unnamed, label_names
from hyperset_lab.recipes import behind, is_empty, is_recipe, read_flags, read_recipe
from hyperset_lab.tasks import NAMES, Task, task_named
from modeling_hyperset import HyperSETForCausalLM
from modeling_hyperset.analysis import (
    Analysis,
    DepthPoint,
    TextAnalysis,
    Trajectories,
    analyze_text,
    comparison_figures,
    figures,
)
from modeling_hyperset.analysis.depth import default_multiple
from modeling_hyperset.analysis.figures import STYLES
from modeling_hyperset.analysis.sphere_figures import draw_trajectories
from modeling_hyperset.analysis.text_figures import draw_text, draw_token_energies
from modeling_hyperset.checks_hyperset import check_energy_tolerance
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel


@dataclass
class AnalyzeArguments:
    """What to analyse and to draw."""

    task: str | None = option(None, f"The task of the checkpoint, if its head does not tell it: {', '.join(NAMES)}.")
    depth_multiple: float | None = option(
        None,
        "How deep to run, as a multiple of the trained iterations: 2 if not given, or 1 with depth-wise LoRA, "
        "which has weights only for these.",
    )
    compare_with: list[str] | None = option(  # noqa: RUF009
        None,
        "Other checkpoints with the same head, to compare accuracy, depth, parameters, rank and angle with. Those of the same "
        "config (several seeds) become one curve of accuracy with a band. Those of the same layer type, width, layers and "
        "iterations become one point of the trade-off with an error bar.",
    )
    energy_tolerances: list[float] | None = option(  # noqa: RUF009
        None, "Also measure adaptive depth with these tolerances beside fixed depths, as 0 0.001 0.01."
    )
    layer: int = option(1, "The layer, from 1, whose trajectories to draw.")
    head: int = option(1, "The head, from 1, whose rank, angle and trajectories to draw.")
    sample: int = option(0, "The sample of the first batch, from 0, whose trajectories to draw.")
    detail_samples: int | None = option(1024, "Samples to measure rank, angles and step sizes on; 0 for all.")
    figure_format: str = option("png", "png, pdf or svg.")

    def __post_init__(self):
        if self.depth_multiple is not None and not self.depth_multiple > 0:
            raise ValueError(f"`--depth_multiple` must be positive, got {self.depth_multiple}.")
        check_choice(self, "figure_format", ("png", "pdf", "svg"))
        check_least(self, 0, "detail_samples")
        self.detail_samples = self.detail_samples or None


def task_and_config(words: Sequence[str]) -> tuple[Task, PreTrainedConfig | None]:
    """The task and the config of the checkpoint that a command line names; for `--help`, some task and no config."""
    known = ("model_name_or_path", "cache_dir", "model_revision", "token", "task")
    recipe = read_recipe(words[0]) if words and is_recipe(words[0]) else {}
    _, given = read_flags(words, known)
    flags = {name: value for name, value in behind(recipe, given).items() if name in known and not is_empty(value)}
    if "model_name_or_path" not in flags:
        if {"-h", "--help"} & set(words):
            return task_named("images"), None
        raise ValueError("`--model_name_or_path` must name the checkpoint to analyse.")
    options = {"cache_dir": "cache_dir", "revision": "model_revision", "token": "token"}
    config = AutoConfig.from_pretrained(
        flags["model_name_or_path"], **{option: flags[flag] for option, flag in options.items() if flag in flags}
    )
    return task_of(config, flags.get("task")), config


def task_of(config: PreTrainedConfig, name: str | None) -> Task:
    """The task of a checkpoint: the one of that `name`, or the one that its head tells."""
    architecture = (config.architectures or ["none"])[0]
    with_heads = {other: task_named(other) for other in NAMES}
    with_heads = {other: task for other, task in with_heads.items() if task.head}
    found = {other: task for other, task in with_heads.items() if architecture.endswith(task.head)}
    if config.model_type != "hyperset" or not found:
        heads = ", ".join(task.head for task in with_heads.values())
        raise ValueError(
            f"`--model_name_or_path` must be of the family with a head {heads}, got {architecture}. For others, call "
            "`modeling_hyperset.analysis.analyze` with your own batches."
        )
    if name is not None:
        task_named(name)
        if name not in found:
            raise ValueError(f"`--task` must be {' or '.join(found)} for a {architecture}, got {name!r}.")
        return found[name]
    told = [task for task in found.values() if task.recognises(config)]
    if len(told) != 1:
        raise ValueError(
            f"`--model_name_or_path` is a {architecture}, but it does not say that it is one of {' or '.join(found)}. Pass "
            f"`--task {next(iter(found))}` if it is; for others, call `modeling_hyperset.analysis.analyze` with your own "
            "batches."
        )
    return told[0]


def check_options(options: AnalyzeArguments, config: Any) -> None:
    """Refuse a layer, a head or a tolerance that the model of `config` does not have."""
    for flag, most in (("layer", config.num_hidden_layers), ("head", config.num_attention_heads)):
        if not 1 <= getattr(options, flag) <= most:
            raise ValueError(f"`--{flag}` must lie between 1 and {most}, got {getattr(options, flag)}.")
    for tolerance in options.energy_tolerances or ():
        check_energy_tolerance(tolerance, config)


def check_comparable(config: PreTrainedConfig, checkpoint: str, other: PreTrainedConfig) -> None:
    """
    Refuse another checkpoint with another head or classes of other names: such weights would be drawn at random, or their
    answers mean something else. The same classes in another order are mapped, see [`in_order_of`].
    """
    wanted, got = ((c.model_type, c.architectures or [c.model_type], c.num_labels) for c in (config, other))
    if wanted != got:
        raise ValueError(
            f"`--compare_with` must name checkpoints of {wanted[1][0]} with {wanted[2]} classes, {checkpoint!r} is of "
            f"{', '.join(got[1])} with {got[2]}."
        )
    ours, theirs = label_names(config), label_names(other)
    if set(ours) != set(theirs) and not (is_unnamed(ours) or is_unnamed(theirs)):
        raise ValueError(
            f"`--compare_with` must name checkpoints of the same classes, {checkpoint!r} has "
            f"{listed(name for name in theirs if name not in ours)} in place of "
            f"{listed(name for name in ours if name not in theirs)}."
        )


def load_other(model: PreTrainedModel, checkpoint: str, hub_options: dict[str, Any]) -> PreTrainedModel:
    """Another checkpoint of the class of `model`, beside it. One that lacks weights is a `ValueError`: they would be random."""
    both: Any = type(model).from_pretrained(checkpoint, output_loading_info=True, **hub_options)
    other, info = both
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"`--compare_with` {checkpoint!r} has no weights for {listed(missing)}.")
    nn.Module.to(other, model.device)
    return other


def in_order_of(config: PreTrainedConfig, other: PreTrainedConfig, batches: Iterable) -> Iterable:
    """Batches for a model of `config`, for one of `other` that may have the same classes in another order."""
    ours, theirs = label_names(config), label_names(other)
    if ours == theirs or is_unnamed(ours) or is_unnamed(theirs):
        return batches
    return Relabelled(batches, positions(ours, theirs))


def check_series(configs: list[PreTrainedConfig]) -> None:
    """Refuse models of more series than the trade-off can tell apart."""
    names = sorted(set(map(series_of, configs)))
    if len(names) > len(STYLES):
        raise ValueError(
            f"`--compare_with` must name checkpoints of at most {len(STYLES)} layers and widths with the one that is analysed, "
            f"got {len(names)}: {', '.join(names)}."
        )


def series_of(config: PreTrainedConfig) -> str:
    """The name of a model's curve in the trade-off. Models of one curve differ only in their layers and iterations."""
    return f"{config.layer_type}, width {config.hidden_size}"


NAMES_ONLY = ("_name_or_path", "transformers_version", "architectures", "auto_map", "dtype", "id2label", "label2id")


def alike(configs: dict[str, PreTrainedConfig]) -> list[list[str]]:
    """The names of models, those of the same config (several seeds) together, in the order of the first of each."""
    groups: dict[str, list[str]] = {}
    for name, config in configs.items():
        fields = {field: value for field, value in config.to_dict().items() if field not in NAMES_ONLY}
        groups.setdefault(json.dumps(fields, sort_keys=True, default=str), []).append(name)
    return list(groups.values())


def accuracy_curves(depths: dict[str, dict[str, Any]], groups: list[list[str]]) -> dict[str, dict[str, Any]]:
    """What is known of accuracy at each depth: of a model, or the mean of several runs of it."""
    groups = [[name for name in group if "accuracy" in depths[name]] for group in groups]
    return {
        (group[0] if len(group) == 1 else f"{group[0]} ({len(group)} runs)"): (
            depths[group[0]] if len(group) == 1 else comparison_figures.over_runs([depths[name] for name in group])
        )
        for group in groups
        if group
    }


def depth_of(model: PreTrainedModel, multiple: float | None) -> int:
    """How many iterations to run."""
    if multiple is None:
        multiple = default_multiple(model.config)
    return max(1, round(multiple * model.config.num_iterations))


def text_of(
    model: PreTrainedModel, tokenizer: Any, batch: dict[str, Any], options: AnalyzeArguments
) -> TextAnalysis | None:
    """What a causal model does with each token of one text of a batch, with the first energy tolerance if there is one."""
    if not (isinstance(model, HyperSETForCausalLM) and model.config.has_energies):
        return None
    ids = batch["input_ids"][options.sample][None]
    tokens = [tokenizer.decode([token]) for token in ids[0].tolist()]
    tolerance = options.energy_tolerances[0] if options.energy_tolerances else None
    return analyze_text(model, {"input_ids": ids}, tokens, energy_tolerance=tolerance)


def pictures_of(
    analysis: Analysis,
    analyses: dict[str, Analysis],
    curves: dict[str, dict[str, Any]],
    points: list[DepthPoint],
    paths: Trajectories | None,
    models: list[dict[str, Any]],
    head: int,
    text: TextAnalysis | None = None,
) -> dict[str, Callable[[], figures.Figure]]:
    """
    The pictures that there are numbers for, by name: `analysis` of the model, `analyses` of all models with ranks, accuracy
    `curves` by depth, and what the other pictures show.
    """
    pictures: dict[str, Callable[[], figures.Figure]] = {}
    if "total_energy" in analysis.statistics:
        pictures["energies"] = lambda: figures.draw_energies(analysis)
    if "effective_rank" in analysis.statistics:
        pictures["rank_and_angle"] = lambda: figures.draw_rank_and_angle(analysis, head)
        pictures["rank_per_head"] = lambda: figures.draw_per_head(analysis, "effective_rank")
        pictures["angle_per_head"] = lambda: figures.draw_per_head(analysis, "mean_angle")
    if text is not None:
        pictures["text"] = lambda: draw_text(text)
        pictures["token_energies"] = lambda: draw_token_energies(text)
    if "attention_step_size" in analysis.statistics:
        pictures["step_sizes"] = lambda: figures.draw_step_sizes(analysis)
    if paths is not None:
        pictures["trajectories"] = lambda: draw_trajectories(paths)
    if len(analyses) > 1:
        overlaid = dict(list(analyses.items())[: len(STYLES)])
        for name, quantity in (("rank", "effective_rank"), ("angle", "mean_angle")):
            pictures[f"{name}_compared"] = partial(comparison_figures.draw_overlay, overlaid, quantity)
    if shown := dict(list(curves.items())[: len(STYLES)]):
        pictures["accuracy"] = lambda: comparison_figures.draw_accuracy(shown)
    if points:
        pictures["adaptive_depth"] = lambda: figures.draw_adaptive_depth(points)
    if len(models) > 1:
        pictures["trade_off"] = lambda: comparison_figures.draw_trade_off(models)
    return pictures


def describe(model: PreTrainedModel, found: dict[str, Any]) -> dict[str, Any]:
    """What the trade-off between layers and iterations shows of a model: its accuracy as it was trained."""
    config = model.config
    return {
        "series": series_of(config),
        "num_layers": config.num_hidden_layers,
        "num_iterations": config.num_iterations,
        "num_parameters": model.num_parameters(),
        "accuracy": found["accuracy"][found["num_iterations"].index(config.num_iterations)],
    }

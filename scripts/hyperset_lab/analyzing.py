# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""For `analyze.py`: its flags, the task of a checkpoint, and the pictures of an analysis."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hyperset_lab.arguments import check_choice, check_least, option
from hyperset_lab.classes import Relabelled, listed, positions
from hyperset_lab.models import is_unnamed, label_names
from hyperset_lab.recipes import behind, is_empty, is_recipe, read_flags, read_recipe
from hyperset_lab.tasks import NAMES, Task, task_named
from modeling_hyperset.analysis import Analysis, DepthPoint, Trajectories, figures
from modeling_hyperset.analysis.depth import default_multiple
from modeling_hyperset.analysis.figures import STYLES
from modeling_hyperset.analysis.sphere_figures import draw_trajectories
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
        "Other checkpoints with the same head, to compare accuracy, depth and parameters with. Those of the same "
        "layer type, width, layers and iterations (several seeds) become one point with an error bar.",
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


def depth_of(model: PreTrainedModel, multiple: float | None) -> int:
    """How many iterations to run."""
    if multiple is None:
        multiple = default_multiple(model.config)
    return max(1, round(multiple * model.config.num_iterations))


def pictures_of(
    analysis: Analysis,
    depths: dict[str, dict[str, Any]],
    points: list[DepthPoint],
    paths: Trajectories | None,
    models: list[dict[str, Any]],
    head: int,
) -> dict[str, Callable[[], figures.Figure]]:
    """The pictures that there are numbers for, by name."""
    pictures: dict[str, Callable[[], figures.Figure]] = {}
    if "total_energy" in analysis.statistics:
        pictures["energies"] = lambda: figures.draw_energies(analysis)
    if "effective_rank" in analysis.statistics:
        pictures["rank_and_angle"] = lambda: figures.draw_rank_and_angle(analysis, head)
        pictures["rank_per_head"] = lambda: figures.draw_per_head(analysis, "effective_rank")
        pictures["angle_per_head"] = lambda: figures.draw_per_head(analysis, "mean_angle")
    if "attention_step_size" in analysis.statistics:
        pictures["step_sizes"] = lambda: figures.draw_step_sizes(analysis)
    if paths is not None:
        pictures["trajectories"] = lambda: draw_trajectories(paths)
    shown = dict(list(depths.items())[: len(STYLES)])
    if all("accuracy" in found for found in shown.values()):
        pictures["accuracy"] = lambda: figures.draw_accuracy(shown)
    if points:
        pictures["adaptive_depth"] = lambda: figures.draw_adaptive_depth(points)
    if len(models) > 1:
        pictures["trade_off"] = lambda: figures.draw_trade_off(models)
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

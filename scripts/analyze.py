# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Measure and draw what a trained model does in its forward pass, on the data that it is evaluated on.

    python scripts/analyze.py --model_name_or_path outputs/digits --dataset_name digits --output_dir outputs/digits-analysis
    python scripts/analyze.py --model_name_or_path outputs/sudoku --dataset_name generated --output_dir outputs/solving \
        --depth_multiple 4 --compare_with outputs/sudoku-transformer

The model is an image classifier, a Sudoku solver or a text classifier of the family, Hyper-SET or baseline; the flags of its
data are those of its training script. Pictures and the numbers they show (JSON and CSV) are written to `--output_dir`.
"""

import argparse
import importlib
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from hyperset_lab.arguments import parse_arguments, read_recipe
from modeling_hyperset.analysis import (
    Analysis,
    accuracy_at_depths,
    analyze,
    analyze_depths,
    by_depth,
    trajectories,
)
from modeling_hyperset.analysis.depth import default_multiple
from modeling_hyperset.analysis.figures import (
    STYLES,
    Figure,
    draw_accuracy,
    draw_adaptive_depth,
    draw_energies,
    draw_per_head,
    draw_rank_and_angle,
    draw_step_sizes,
    draw_trade_off,
)
from modeling_hyperset.analysis.geometry import has_subspaces
from modeling_hyperset.analysis.sphere_figures import draw_trajectories
from modeling_hyperset.checks_hyperset import check_energy_tolerance
from modeling_hyperset.files import write_json, write_whole
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel


# The script whose data loading a head shares.
SCRIPTS = {
    "ForImageClassification": "run_image_classification",
    "ForTokenClassification": "run_sudoku",
    "ForSequenceClassification": "run_text_classification",
}


@dataclass
class AnalyzeArguments:
    """What to analyse and to draw."""

    depth_multiple: float | None = field(
        default=None,
        metadata={
            "help": "How deep to run, as a multiple of the trained iterations: 2 if not given, or 1 with depth-wise LoRA, "
            "which has weights for no more."
        },
    )
    compare_with: list[str] | None = field(
        default=None,
        metadata={
            "help": "Other checkpoints with the same head, to compare accuracy, depth and parameters with. Those of the same "
            "layer, width, layers and iterations, such as several seeds, become one point with an error bar."
        },
    )
    energy_tolerances: list[float] | None = field(
        default=None,
        metadata={"help": "Also measure adaptive depth with these tolerances beside fixed depths, as 0 0.001 0.01."},
    )
    layer: int = field(default=1, metadata={"help": "The layer, from 1, whose trajectories to draw."})
    head: int = field(default=1, metadata={"help": "The head, from 1, whose rank, angle and trajectories to draw."})
    sample: int = field(
        default=0, metadata={"help": "The sample of the first batch, from 0, whose trajectories to draw."}
    )
    detail_samples: int | None = field(
        default=1024, metadata={"help": "Samples to measure rank, angles and step sizes on; 0 for all."}
    )
    figure_format: str = field(default="png", metadata={"help": "png, pdf or svg."})

    def __post_init__(self):
        if self.depth_multiple is not None and not self.depth_multiple > 0:
            raise ValueError(f"`--depth_multiple` must be positive, got {self.depth_multiple}.")
        if self.figure_format not in ("png", "pdf", "svg"):
            raise ValueError(f"`--figure_format` must be png, pdf or svg, got {self.figure_format!r}.")
        if self.detail_samples is not None and self.detail_samples < 0:
            raise ValueError(f"`--detail_samples` must not be negative, got {self.detail_samples}.")
        self.detail_samples = self.detail_samples or None


def training_script(arguments: list[str]) -> tuple[ModuleType, PreTrainedConfig | None]:
    """
    The training script for the head of the checkpoint that the arguments name, and the checkpoint's config; any script and no
    config where they ask for help.

    Raises:
        `ValueError`: there is no checkpoint, or it has a head that none of the scripts loads data for.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("model_name_or_path", "cache_dir", "model_revision", "token"):
        parser.add_argument(f"--{flag}")
    known, _ = parser.parse_known_args(arguments)
    if arguments and arguments[0].endswith((".yaml", ".yml", ".json")):
        known.model_name_or_path = known.model_name_or_path or read_recipe(arguments[0]).get("model_name_or_path")
    if known.model_name_or_path is None:
        if {"-h", "--help"} & set(arguments):
            return importlib.import_module(SCRIPTS["ForImageClassification"]), None
        raise ValueError("`--model_name_or_path` must name the checkpoint to analyse.")
    options = {"cache_dir": known.cache_dir, "revision": known.model_revision, "token": known.token}
    config = AutoConfig.from_pretrained(
        known.model_name_or_path, **{k: v for k, v in options.items() if v is not None}
    )
    names = config.architectures or ["none"]
    for head, script in SCRIPTS.items():
        if config.model_type == "hyperset" and names[0].endswith(head):
            return importlib.import_module(script), config
    raise ValueError(
        f"`--model_name_or_path` must be of the family with a head {', '.join(SCRIPTS)}, got {', '.join(names)}. For others, "
        "call `modeling_hyperset.analysis.analyze` with batches of yours."
    )


def check_comparable(config: PreTrainedConfig, checkpoint: str, other: PreTrainedConfig) -> None:
    """
    Raises:
        `ValueError`: the other checkpoint has another head or other classes, whose weights would be drawn at random.
    """
    wanted, got = ((c.model_type, c.architectures, c.num_labels) for c in (config, other))
    if wanted != got:
        raise ValueError(
            f"`--compare_with` must name checkpoints of {wanted[1][0]} with {wanted[2]} classes, {checkpoint!r} is of "
            f"{', '.join(got[1] or [got[0]])} with {got[2]}."
        )


def check_series(configs: list[PreTrainedConfig]) -> None:
    """
    Raises:
        `ValueError`: the models are of more series than the trade-off can tell apart.
    """
    names = sorted(set(map(series_of, configs)))
    if len(names) > len(STYLES):
        raise ValueError(
            f"`--compare_with` must name checkpoints of at most {len(STYLES)} layers and widths with the one that is analysed, "
            f"got {len(names)}: {', '.join(names)}."
        )


def series_of(config: PreTrainedConfig) -> str:
    """Models that differ in their layers and iterations alone are one curve of the trade-off."""
    return f"{config.layer_type}, width {config.hidden_size}"


def depth_of(model: PreTrainedModel, multiple: float | None) -> int:
    """How many iterations to run."""
    if multiple is None:
        multiple = default_multiple(model.config)
    return max(1, round(multiple * model.config.num_iterations))


def draw_all(
    analysis: Analysis, depths: dict[str, dict], points: list, paths: Any, models: list[dict], head: int
) -> dict[str, Callable[[], Figure]]:
    """The pictures that there are numbers for, by name."""
    pictures = {}
    if "total_energy" in analysis.statistics:
        pictures["energies"] = lambda: draw_energies(analysis)
    if "effective_rank" in analysis.statistics:
        pictures["rank_and_angle"] = lambda: draw_rank_and_angle(analysis, head)
        pictures["rank_per_head"] = lambda: draw_per_head(analysis, "effective_rank")
        pictures["angle_per_head"] = lambda: draw_per_head(analysis, "mean_angle")
    if "attention_step_size" in analysis.statistics:
        pictures["step_sizes"] = lambda: draw_step_sizes(analysis)
    if paths is not None:
        pictures["trajectories"] = lambda: draw_trajectories(paths)
    shown = dict(list(depths.items())[: len(STYLES)])
    if all("accuracy" in found for found in shown.values()):
        pictures["accuracy"] = lambda: draw_accuracy(shown)
    if points:
        pictures["adaptive_depth"] = lambda: draw_adaptive_depth(points)
    if len(models) > 1:
        pictures["trade_off"] = lambda: draw_trade_off(models)
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


def main(arguments: list[str] | None = None) -> Analysis:
    """Analyse as the flags say, write numbers and pictures, and return the analysis of the first model."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    script, config = training_script(arguments)
    never = ["--do_train", "false", "--do_eval", "true", "--push_to_hub", "false", "--report_to", "none"]
    *others, options = parse_arguments((*script.ARGUMENTS, AnalyzeArguments), [*arguments, *never])
    for flag, most in (("layer", config.num_hidden_layers), ("head", config.num_attention_heads)):
        if not 1 <= getattr(options, flag) <= most:
            raise ValueError(f"`--{flag}` must lie between 1 and {most}, got {getattr(options, flag)}.")
    for tolerance in options.energy_tolerances or ():
        check_energy_tolerance(tolerance, config)
    hub_options = others[0].hub_options | {"revision": None}
    configs = [config]
    for checkpoint in options.compare_with or ():
        configs.append(AutoConfig.from_pretrained(checkpoint, **hub_options))
        check_comparable(config, checkpoint, configs[-1])
    check_series(configs)
    if others[-1].world_size > 1:
        raise ValueError(
            f"One process must analyse all of the data, got {others[-1].world_size}: start it with `python`."
        )
    trainer, _ = script.build_trainer(*others)
    model, batches, folder = trainer.model, trainer.get_eval_dataloader(), Path(others[-1].output_dir)

    paths = None
    if has_subspaces(model.base_model.layers[0]):
        paths = trajectories(model, next(iter(batches)), options.sample, options.layer, options.head)
    deepest = depth_of(model, options.depth_multiple)
    analysis = analyze(model, batches, deepest, detail_samples=options.detail_samples)
    print(analysis.table())
    for quantity, reason in analysis.absent.items():
        print(f"No {quantity}: {reason}.")
    depths, models = {}, []
    checkpoints = [others[0].model_name_or_path, *(options.compare_with or [])]
    names = [Path(name).name for name in checkpoints]
    if len(set(names)) < len(names):
        names = checkpoints
    for name, checkpoint in zip(names, checkpoints, strict=True):
        other = model
        if checkpoint != checkpoints[0]:
            other = type(model).from_pretrained(checkpoint, **hub_options).to(model.device)
        if other is model and analysis.num_layers == 1:
            depths[name] = by_depth(analysis)
        else:
            depths[name] = analyze_depths(other, batches, depth_of(other, options.depth_multiple))
        trained = other.config.num_iterations
        if "accuracy" in depths[name] and trained in depths[name]["num_iterations"]:
            models.append(describe(other, depths[name]))

    points = []
    if options.energy_tolerances:
        fixed = range(1, deepest + 1)
        points = accuracy_at_depths(model, batches, options.energy_tolerances, fixed, most_iterations=deepest)

    folder.mkdir(parents=True, exist_ok=True)
    analysis.save(folder / "analysis.json")
    analysis.save(folder / "analysis.csv")
    write_json(folder / "depth.json", depths)
    if paths is not None:
        write_json(folder / "trajectories.json", paths.to_dict())
    if points:
        write_json(folder / "adaptive_depth.json", [asdict(point) for point in points])
    if len(models) > 1:
        write_json(folder / "trade_off.json", models)
    pictures = draw_all(analysis, depths, points, paths, models, options.head)
    for name, draw in pictures.items():
        path = folder / f"{name}.{options.figure_format}"
        write_whole(path, lambda temporary, draw=draw: draw().savefig(temporary, dpi=200))
    if len(depths) > len(STYLES):
        print(
            f"The picture of the accuracy shows the first {len(STYLES)} of {len(depths)} models, depth.json has all."
        )
    print(f"Numbers and pictures ({', '.join(pictures)}) are in {folder}")
    return analysis


if __name__ == "__main__":
    main()

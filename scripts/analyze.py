# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Measure and draw what a trained model does in its forward pass, on the data that it is evaluated on.

    python scripts/analyze.py --model_name_or_path outputs/digits --dataset_name digits --output_dir outputs/digits-analysis
    python scripts/analyze.py --model_name_or_path outputs/sudoku --dataset_name generated --output_dir outputs/solving \
        --depth_multiple 4 --compare_with outputs/sudoku-transformer

The model is an image classifier, a Sudoku solver or a text classifier of the family, Hyper-SET or baseline. If its head does
not tell the task, `--task` names it. The flags of its data are those of its training script. Pictures, and their numbers as
JSON and CSV, are written to `--output_dir`.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from hyperset_lab import analyzing
from hyperset_lab.arguments import parse_arguments
from hyperset_lab.models import model_of
from modeling_hyperset.analysis import Analysis, accuracy_at_depths, analyze, analyze_depths, by_depth, trajectories
from modeling_hyperset.analysis.figures import STYLES
from modeling_hyperset.analysis.geometry import has_subspaces
from modeling_hyperset.analysis.measuring import base_of
from modeling_hyperset.files import write_json, write_whole
from transformers import AutoConfig


def main(arguments: Sequence[str] | None = None) -> Analysis:
    """Analyse as the flags say, write numbers and pictures, and return the analysis of the first model."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    task, config = analyzing.task_and_config(words)
    never = ["--do_train", "false", "--do_eval", "true", "--push_to_hub", "false", "--report_to", "none"]
    *others, options = parse_arguments((*task.arguments, analyzing.AnalyzeArguments), [*words, *never])
    assert config is not None  # without one, the parser has shown its help and left
    analyzing.check_options(options, config)
    hub_options = others[0].hub_options | {"revision": None}
    configs = [config]
    for checkpoint in options.compare_with or ():
        configs.append(AutoConfig.from_pretrained(checkpoint, **hub_options))
        analyzing.check_comparable(config, checkpoint, configs[-1])
    analyzing.check_series(configs)
    if others[-1].world_size > 1:
        raise ValueError(f"One process must analyse all data, got {others[-1].world_size}: start it with `python`.")
    trainer, _ = task.build_trainer(*others)
    model, batches, folder = model_of(trainer), trainer.get_eval_dataloader(), Path(others[-1].output_dir)

    paths = None
    if has_subspaces(base_of(model).layers[0]):
        paths = trajectories(model, next(iter(batches)), options.sample, options.layer, options.head)
    deepest = analyzing.depth_of(model, options.depth_multiple)
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
        theirs = batches
        if checkpoint != checkpoints[0]:
            other = type(model).from_pretrained(checkpoint, **hub_options)
            torch.nn.Module.to(other, model.device)
            theirs = analyzing.in_order_of(model.config, other.config, batches)
        if other is model and analysis.num_layers == 1:
            depths[name] = by_depth(analysis)
        else:
            depths[name] = analyze_depths(other, theirs, analyzing.depth_of(other, options.depth_multiple))
        trained = other.config.num_iterations
        if "accuracy" in depths[name] and trained in depths[name]["num_iterations"]:
            models.append(analyzing.describe(other, depths[name]))

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
    pictures = analyzing.pictures_of(analysis, depths, points, paths, models, options.head)
    for name, draw in pictures.items():
        path = folder / f"{name}.{options.figure_format}"
        write_whole(path, partial(draw().savefig, dpi=200))
    if len(depths) > len(STYLES):
        print(f"The picture of accuracy shows the first {len(STYLES)} of {len(depths)} models; depth.json has all.")
    print(f"Numbers and pictures ({', '.join(pictures)}) are in {folder}")
    return analysis


if __name__ == "__main__":
    main()

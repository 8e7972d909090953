# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Measure and draw what a trained model does in its forward pass, on the data that it is evaluated on.

    python scripts/analyze.py --model_name_or_path outputs/digits --dataset_name digits --output_dir outputs/digits-analysis
    python scripts/analyze.py --model_name_or_path outputs/sudoku --dataset_name generated --output_dir outputs/solving \
        --depth_multiple 4 --compare_with outputs/sudoku-transformer

The model is an image classifier, a Sudoku solver or a model of text of the family, Hyper-SET or baseline. If its head does
not tell the task, `--task` names it. The flags of its data are those of its training script. Pictures, and their numbers as
JSON and CSV, are written to `--output_dir`.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from hyperset_lab import analyzing
from hyperset_lab.arguments import parse_arguments
from hyperset_lab.models import model_of
from modeling_hyperset.analysis import Analysis, accuracy_at_depths, analyze, analyze_depths, by_depth, trajectories
from modeling_hyperset.analysis.figures import STYLES
from modeling_hyperset.analysis.geometry import has_subspaces
from modeling_hyperset.analysis.measuring import base_of, undefined
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
    checkpoints = [others[0].model_name_or_path, *(options.compare_with or [])]
    loaded = {name: analyzing.load_other(model, name, hub_options) for name in checkpoints[1:]} | {
        checkpoints[0]: model
    }

    paths = None
    if has_subspaces(base_of(model).layers[0]):
        paths = trajectories(model, next(iter(batches)), options.sample, options.layer, options.head)
    deepest = analyzing.depth_of(model, options.depth_multiple)
    analysis = analyze(model, batches, deepest, detail_samples=options.detail_samples)
    print(analysis.table())
    for quantity, reason in analysis.absent.items():
        print(f"No {quantity}: {reason}.")
    depths, models, analyses = {}, [], {}
    names = [Path(name).name for name in checkpoints]
    if len(set(names)) < len(names):
        names = checkpoints
    for name, checkpoint in zip(names, checkpoints, strict=True):
        other = loaded[checkpoint]
        theirs: Any = analyzing.in_order_of(model.config, other.config, batches)
        found: Analysis | None = analysis
        depth = analyzing.depth_of(other, options.depth_multiple)
        if other is not model:
            wanted = {"energies", "accuracy", "rank", "angles"} - undefined(other).keys()
            if other.config.num_hidden_layers > 1:
                wanted = wanted & {"rank", "angles"}  # the rest is measured with a pass for each depth
            if other.config.num_attention_heads != analysis.num_heads:
                wanted = wanted - {"rank", "angles"}
            found = analyze(other, theirs, depth, wanted, options.detail_samples) if wanted else None
        if found is not None and "effective_rank" in found.statistics:
            analyses[name] = found
        if found is not None and found.num_layers == 1:
            depths[name] = by_depth(found)
        else:
            depths[name] = analyze_depths(other, theirs, depth)
        trained = other.config.num_iterations
        if "accuracy" in depths[name] and trained in depths[name]["num_iterations"]:
            models.append(analyzing.describe(other, depths[name]))

    groups = analyzing.alike(dict(zip(names, configs, strict=True)))
    curves = analyzing.accuracy_curves(depths, groups)
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
    if len(groups) < len(names):
        write_json(
            folder / "accuracy_over_runs.json", {label: run for label, run in curves.items() if "num_runs" in run}
        )
    if len(analyses) > 1:
        write_json(folder / "compared.json", {name: found.to_dict() for name, found in analyses.items()})
    text = analyzing.text_of(model, trainer.processing_class, next(iter(batches)), options)
    if text is not None:
        write_json(folder / "text.json", text.to_dict())
    pictures = analyzing.pictures_of(analysis, analyses, curves, points, paths, models, options.head, text)
    for name, draw in pictures.items():
        path = folder / f"{name}.{options.figure_format}"
        write_whole(path, partial(draw().savefig, dpi=200))
    if len(curves) > len(STYLES):
        print(f"The picture of accuracy shows the first {len(STYLES)} of {len(curves)} models; depth.json has all.")
    if len(analyses) > len(STYLES):
        print(
            f"Ranks and angles are compared of the first {len(STYLES)} of {len(analyses)} models; compared.json has all."
        )
    print(f"Numbers and pictures ({', '.join(pictures)}) are in {folder}")
    return analysis


if __name__ == "__main__":
    main()

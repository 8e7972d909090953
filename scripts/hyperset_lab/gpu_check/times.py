# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Times and memory beside the Transformer, by `benchmark.py`. They are reported, and nothing is demanded of them."""

import statistics
from functools import partial

import torch

from hyperset_lab.benchmarking.rounds import measure_rounds, parse, ratios_of
from hyperset_lab.gpu_check.report import Check, Found


def measure(flags: list[str]) -> Found:
    """Milliseconds of each model, and its time and memory relative to the first one's."""
    torch.compiler.reset()
    options = parse(flags)
    records = measure_rounds(options)
    measured = {}
    for record, row in zip(records, ratios_of(records, options.models), strict=True):
        for label in ("forward", "training"):
            if label not in row:
                continue
            name = f"{row['model']} {label}"
            measured[f"{name}, ms"] = 1000 * statistics.median(record[f"{label}_seconds"])
            measured[f"{name}, ratio"] = row[label][1]
            if f"{label}_memory" in row:
                measured[f"{name}, memory"] = row[f"{label}_memory"]
    return Found(measured)


def checks(device: torch.device, is_tiny: bool) -> list[Check]:
    """Eager ones first: compiled ones take most of the time, to compile."""
    common = ["--device", str(device), "--dtype", "bfloat16", "--rounds", "11"]
    models = ["--models", "transformer", "hyperset", "hyperset-eager", "vit"]
    pair = ["--models", "transformer", "hyperset"]
    if is_tiny:
        flags = [*common[:-1], "1", *pair, "--batch_size", "1", "--num_tokens", "5", "--num_iterations", "1"]
        return [Check("times", "tiny models", 20, partial(measure, flags))]
    graphs = ["--compile", "--compile_mode", "reduce-overhead"]
    # What is measured, how long it may take, and the flags of the benchmark.
    settings: list[tuple[str, float, list[str]]] = [
        ("batch 64, eager", 40, [*models, "--batch_size", "64"]),
        ("batch 1, eager", 30, [*models, "--batch_size", "1"]),
        ("attention, 4,096 tokens", 30, ["--preset", "attention"]),
        ("batch 64, compiled", 150, [*pair, "--batch_size", "64", "--compile"]),
        ("batch 1, CUDA graphs, forward", 120, [*pair, "--batch_size", "1", "--forward_only", *graphs]),
    ]
    return [Check("times", name, seconds, partial(measure, [*common, *flags])) for name, seconds, flags in settings]

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The flags of `benchmark.py`, its rounds of measuring, and their table."""

import argparse
import contextlib
import gc
import itertools
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import torch

from hyperset_lab.arguments import check_least
from hyperset_lab.benchmarking import models
from hyperset_lab.benchmarking.graphs import memory_of_graphs
from hyperset_lab.benchmarking.measuring import peak_memory, seconds
from hyperset_lab.benchmarking.models import Setting, Subject, passes, subject_of
from hyperset_lab.benchmarking.neighbours import Neighbours


LABELS = ("forward", "training")
BUSY = " beside others"  # after a label: while neighbours work

PRESETS = {
    # The task, the models, and the setting of the paper's tables, of text classification, of a long sequence, and of few models
    # in batches for a GPU.
    "table16": ("image", [*models.IMAGE_MODELS, *models.OTHERS["image"]], Setting(8, 257, 12)),
    "table17": ("image", ["transformer", "hyperset", "hyperset-fixed"], Setting(8, 257, 12)),
    "text": ("text", [*models.TEXT_MODELS, *models.OTHERS["text"]], Setting(8, 128, 6)),
    "attention": ("attention", list(models.ATTENTIONS), Setting(1, 4096, 1)),
    "gpu": ("image", ["transformer", "hyperset", "vit"], Setting(64, 257, 12)),
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="table16")
    parser.add_argument("--models", nargs="+", help="Some of the preset's; the others are relative to the first.")
    parser.add_argument("--batch_size", type=int, nargs="+", help="One, or several to sweep over.")
    parser.add_argument("--num_tokens", type=int, nargs="+", help="Tokens of a sample, with [CLS]; to sweep over.")
    parser.add_argument("--num_iterations", type=int, nargs="+", help="To sweep over.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument(
        "--compile",
        nargs="?",
        const="model",
        choices=["model", "blocks"],
        help="Measure the models compiled: whole, or their layers alone (`compile_repeated_blocks`), which takes less time.",
    )
    modes = ["default", "reduce-overhead", "max-autotune"]
    parser.add_argument("--compile_mode", choices=modes, default=modes[0], help="CUDA graphs.")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--forward_only", action="store_true", help="Leave training out.")
    parser.add_argument("--num_threads", type=int, help="Of torch, on a CPU.")
    parser.add_argument(
        "--neighbour", type=int, default=0, help="Measure also beside so many busy processes, on a CPU."
    )
    parser.add_argument("--output_dir", help="Write benchmark.json and benchmark.md there.")
    options = parser.parse_args(arguments)
    task, names, setting = PRESETS[options.preset]
    options.task = task
    options.models = options.models or names
    if unknown := set(options.models) - set(names):
        raise ValueError(f"`--models` must be among {', '.join(names)}, got {', '.join(sorted(unknown))}.")
    for name, value in asdict(setting).items():
        if getattr(options, name) is None:
            setattr(options, name, [value])
        if any(number < 1 for number in getattr(options, name)):
            raise ValueError(f"`--{name}` must be positive, got {getattr(options, name)}.")
    check_least(options, 1, "rounds")
    check_least(options, 0, "neighbour")
    if options.neighbour and options.device != "cpu":
        raise ValueError(f"`--neighbour` must be 0 on {options.device}: it keeps cores of the CPU busy.")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"There is no CUDA device for `--device {options.device}`: pass `--device cpu`.")
    if options.compile == "blocks" and task == "attention":
        raise ValueError("`--compile blocks` is for models, and the preset 'attention' has none: leave `blocks` out.")
    if options.compile_mode != "default" and not options.compile:
        raise ValueError(f"`--compile_mode` needs `--compile`, got {options.compile_mode} without it.")
    return options


def memory_of(
    name: str, setting: Setting, subject: Subject, is_forward: bool, options: argparse.Namespace
) -> int | None:
    """Bytes that a pass takes. CUDA graphs ask for theirs once, so a pass takes none: the graphs' own count instead."""
    device = torch.device(options.device)
    if device.type == "cuda" and options.compile_mode != "default":
        return memory_of_graphs(name, setting, is_forward, options)
    gc.collect()
    return peak_memory(partial(passes, subject, is_forward), device)


def measure_rounds(options: argparse.Namespace) -> list[dict]:
    """
    A record for each model and setting, with the seconds of every round. With neighbours, each round measures all lines alone,
    then all lines beside them.
    """
    device = torch.device(options.device)
    lines = []
    for sizes in itertools.product(options.batch_size, options.num_tokens, options.num_iterations):
        setting = Setting(*sizes)
        for name in options.models:
            subject = subject_of(name, setting, options)
            record = {"model": name, **asdict(setting), "parameters": subject.num_parameters, "flops": subject.flops}
            lines.append((record, setting, subject))
    with Neighbours(options.neighbour) if options.neighbour else contextlib.nullcontext() as neighbours:
        for label in LABELS[:1] if options.forward_only else LABELS:
            is_forward = label == "forward"
            for record, setting, subject in lines:
                for _ in range(3):  # compiles, and asks for memory
                    passes(subject, is_forward)
                record[f"{label}_memory"] = memory_of(record["model"], setting, subject, is_forward, options)
            for _ in range(options.rounds):
                for suffix in ("", BUSY) if neighbours else ("",):
                    with neighbours.busy() if neighbours and suffix else contextlib.nullcontext():
                        for record, _, subject in lines:
                            taken = seconds(partial(passes, subject, is_forward), device)
                            record.setdefault(f"{label}{suffix}_seconds", []).append(taken)
    return [record for record, _, _ in lines]


def quartiles(values: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def ratios_of(records: list[dict], names: list[str]) -> list[dict]:
    """What the table shows: ratios to the first model at the same setting, and to the same model at the first setting."""
    keys = ("batch_size", "num_tokens", "num_iterations")
    by_line = {(record["model"], *(record[key] for key in keys)): record for record in records}
    first_setting = tuple(records[0][key] for key in keys)
    rows = []
    for record in records:
        setting = tuple(record[key] for key in keys)
        row = {name: record[name] for name in ("model", *keys, "parameters", "flops")}
        for label in (f"{name}{suffix}" for name in LABELS for suffix in ("", BUSY)):
            if f"{label}_seconds" not in record:
                continue
            for name, other in (
                (label, by_line[(names[0], *setting)]),
                (f"{label}_scaling", by_line[(record["model"], *first_setting)]),
            ):
                pairs = zip(record[f"{label}_seconds"], other[f"{label}_seconds"], strict=True)
                row[name] = quartiles([mine / theirs for mine, theirs in pairs])
                mine, others = record.get(f"{label}_memory"), other.get(f"{label}_memory")
                if mine is not None and others is not None:
                    row[f"{name}_memory"] = mine / max(1, others)
        rows.append(row)
    return rows


def ratio_table(rows: list[dict], names: list[str]) -> str:
    """The rows as a Markdown table."""
    labels = [label for label in LABELS if label in rows[0]]
    is_busy = f"{labels[0]}{BUSY}" in rows[0]
    several = len({(row["batch_size"], row["num_tokens"], row["num_iterations"]) for row in rows}) > 1
    header = ["model", "batch", "tokens", "iterations", "parameters", "GFLOPs"]
    for label in labels:
        header += [f"{label} / {names[0]}", "memory"]
        header += [f"{label} / first line's", "memory"] if several else []
        header += [f"{label} / {names[0]}{BUSY}"] if is_busy else []
    lines = [header, ["---"] * len(header)]
    for row in rows:
        parameters = "–" if row["parameters"] is None else f"{row['parameters'] / 1e6:.2f} M"
        flops = "–" if row["flops"] is None else f"{row['flops'] / 1e9:.2f}"
        cells = [row["model"], row["batch_size"], row["num_tokens"], row["num_iterations"], parameters, flops]
        for label in labels:
            for name in (label, f"{label}_scaling") if several else (label,):
                low, median, high = row[name]
                memory = row.get(f"{name}_memory")
                cells += [f"{median:.2f} ({low:.2f}–{high:.2f})", "–" if memory is None else f"{memory:.2f}"]
            if is_busy:
                low, median, high = row[f"{label}{BUSY}"]
                cells.append(f"{median:.2f} ({low:.2f}–{high:.2f})")
        lines.append(list(map(str, cells)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

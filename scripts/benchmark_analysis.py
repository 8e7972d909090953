# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
What analysing a data set costs beside the plain forward pass over it, in time and in memory. Both are measured in turn, round
after round, in one process. The report has the median of the rounds' ratios. The model is the digits recipe's, with random
weights, unless `--model_name_or_path` names a trained one. The images are random.

    python scripts/benchmark_analysis.py
    python scripts/benchmark_analysis.py --model_name_or_path outputs/digits --num_samples 50000
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from hyperset_lab.arguments import check_least
from hyperset_lab.benchmarking.digits import RandomBatches, digits_model
from hyperset_lab.benchmarking.measuring import peak_memory, seconds
from modeling_hyperset import HyperSETForImageClassification
from modeling_hyperset.analysis import QUANTITIES, analyze
from modeling_hyperset.files import write_json


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure as the flags say; print and return the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model_name_or_path", help="An image classifier of the family; the digits recipe's if not given."
    )
    parser.add_argument("--num_samples", type=int, default=10_000)
    parser.add_argument("--batch_size", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each", action="store_true", help="Measure each quantity by itself as well.")
    parser.add_argument("--all_samples", action="store_true", help="Rank, angles and step sizes of every sample too.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", help="A JSON file to write the report to.")
    options = parser.parse_args(arguments)
    check_least(options, 1, "num_samples", "batch_size", "rounds")
    device = torch.device(options.device)
    if options.model_name_or_path is None:
        model = digits_model()
    else:
        model = HyperSETForImageClassification.from_pretrained(options.model_name_or_path)
    torch.nn.Module.to(model, device).eval()
    batches = RandomBatches(model.config, options.num_samples, options.batch_size, device)
    few = RandomBatches(model.config, max(1, options.num_samples // 10), options.batch_size, device)

    def forward() -> None:
        with torch.no_grad():
            for batch in batches:
                model(batch["pixel_values"])

    def run(data=batches, quantities=None) -> None:
        details = {"detail_samples": None} if options.all_samples else {}
        analyze(model, data, quantities=quantities, progress=False, **details)

    calls: dict[str, Callable[[], None]] = {"forward": forward, "everything": run}
    if options.each:
        calls |= {name: partial(run, quantities=[name]) for name in QUANTITIES}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    run(few)  # asks for memory
    for _ in range(options.rounds):
        for name, call in calls.items():
            taken[name].append(seconds(call, device))
    ratios = {
        name: statistics.median(mine / plain for mine, plain in zip(taken[name], taken["forward"], strict=True))
        for name in calls
    }
    memory = {len(data) * options.batch_size: peak_memory(partial(run, data), device) for data in (few, batches)}
    report = {
        "num_samples": options.num_samples,
        "device": str(device),
        "num_threads": torch.get_num_threads(),
        "seconds": taken,
        "ratios": ratios,
        "peak_memory": {f"{count}": value for count, value in memory.items()},
    }
    print(f"{options.num_samples:,} samples, {options.rounds} rounds, {device}, {torch.get_num_threads()} threads")
    for name, ratio in ratios.items():
        print(f"{name:>12}: {statistics.median(taken[name]):8.2f} s, {ratio:.2f} × the forward pass")
    for count, value in memory.items():
        size = "not known" if value is None else f"{value / 2**20:.1f} MiB"
        print(f"peak memory beyond the start, about {count:,} samples: {size}")
    if options.output is not None:
        write_json(options.output, report)
    return report


if __name__ == "__main__":
    main()

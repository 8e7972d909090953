# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Speed and memory of Hyper-SET beside the Transformer of the same width and iterations (with SDPA), the other baselines, and
transformers' own models. All lines of a table are measured in turn, round after round, in one process. A line's time is divided
by the Transformer's time of the same round; the report has the median of these ratios over the rounds, and the quartiles.

    python scripts/benchmark.py                                         # the paper's Table 16, on this machine
    python scripts/benchmark.py --compile                               # or --compile blocks
    python scripts/benchmark.py --preset table17
    python scripts/benchmark.py --preset text
    python scripts/benchmark.py --preset attention                      # attention alone, 4,096 tokens
    python scripts/benchmark.py --models transformer hyperset --num_iterations 6 12 24
    python scripts/benchmark.py --device cpu --models transformer hyperset --neighbour 1    # also beside a busy process
    python scripts/benchmark.py --device cuda --dtype bfloat16 --compile --batch_size 64 --output_dir outputs/benchmark
"""

from collections.abc import Sequence
from typing import Any

import torch

from hyperset_lab.benchmarking.report import machine_of, write_report
from hyperset_lab.benchmarking.rounds import measure_rounds, parse, ratio_table, ratios_of


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure as the flags say; print and return the report."""
    options = parse(arguments)
    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    records = measure_rounds(options)
    rows = ratios_of(records, options.models)
    about = f"{machine_of(options)}, "
    compiled = {"model": "compiled", "blocks": "layers compiled"}
    about += f"{compiled[options.compile]} ({options.compile_mode})" if options.compile else "eager"
    about += ", gradient checkpointing" if options.gradient_checkpointing else ""
    about += f", alone and beside {options.neighbour} busy processes" if options.neighbour else ""
    about += f", {options.rounds} rounds; times and peak memory relative to the {options.models[0]}'s, quartiles in brackets"
    text = f"{about}\n\n{ratio_table(rows, options.models)}"
    report = {"about": about, "preset": options.preset, "rows": rows, "measurements": records}
    write_report(options.output_dir, "benchmark", text, report)
    return report


if __name__ == "__main__":
    main()

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Time of a generated token, and memory of the cache, after texts of several lengths: both causal energies and the iterated
Transformer beside transformers' GPT-2 of the same width and depth. All lines are measured in turn, round after round, in one
process; the table has medians over the rounds. "tokens per second" is relative to the first model at the same length.

    python scripts/benchmark_generation.py
    python scripts/benchmark_generation.py --hidden_size 128 --vocab_size 100 --num_threads 1
    python scripts/benchmark_generation.py --position_embedding_type rotary --output_dir outputs/generation
"""

from collections.abc import Sequence
from typing import Any

import torch

from hyperset_lab.benchmarking.generation import measure, parse, rows_of, table_of
from hyperset_lab.benchmarking.report import machine_of, write_report


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure as the flags say; print and return the report."""
    options = parse(arguments, __doc__)
    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    records = measure(options)
    rows = rows_of(records, options.models[0])
    about = f"{machine_of(options)}, "
    about += f"width {options.hidden_size}, {options.num_iterations} iterations, batch of {options.batch_size}, "
    about += f"{options.rounds} rounds of {options.steps} tokens"
    text = f"{about}\n\n{table_of(rows, options.models[0])}"
    report = {"about": about, "rows": rows, "measurements": records}
    write_report(options.output_dir, "generation", text, report)
    return report


if __name__ == "__main__":
    main()

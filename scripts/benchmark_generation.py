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
from pathlib import Path
from typing import Any

import torch

from hyperset_lab.benchmarking.generation import measure, parse, rows_of, table_of
from modeling_hyperset.files import write_json, write_whole


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure as the flags say; print and return the report."""
    options = parse(arguments, __doc__)
    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    records = measure(options)
    rows = rows_of(records, options.models[0])
    device = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else "CPU"
    about = f"torch {torch.__version__} on {device}, {torch.get_num_threads()} threads, {options.dtype}, "
    about += f"width {options.hidden_size}, {options.num_iterations} iterations, batch of {options.batch_size}, "
    about += f"{options.rounds} rounds of {options.steps} tokens"
    text = f"{about}\n\n{table_of(rows, options.models[0])}"
    print(text)
    report = {"about": about, "rows": rows, "measurements": records}
    if options.output_dir is not None:
        folder = Path(options.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "generation.json", report)
        write_whole(folder / "generation.md", lambda path: Path(path).write_text(f"{text}\n", encoding="utf-8"))
    return report


if __name__ == "__main__":
    main()

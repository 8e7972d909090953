# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Print how long importing this package takes relative to importing transformers' own ViT. Fresh processes take turns, because
times on a busy machine drift; the ratio is that of the medians.

    python scripts/measure_import.py --repeats 15
"""

import argparse
import statistics
import subprocess
import sys


TIMED = "import time; start = time.process_time(); {}; print(time.process_time() - start)"
STATEMENTS = {"ViT": "from transformers import ViTModel", "Hyper-SET": "import modeling_hyperset"}


def import_seconds(statement: str) -> float:
    """Processor seconds that one import takes in a fresh process."""
    command = [sys.executable, "-c", TIMED.format(statement)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="Imports of each, taking turns.")
    repeats = parser.parse_args().repeats
    if repeats < 1:
        parser.error(f"--repeats must be at least 1, got {repeats}")
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(repeats):
        for name, statement in STATEMENTS.items():
            times[name].append(import_seconds(statement))
    ratios = [ours / vit for ours, vit in zip(times["Hyper-SET"], times["ViT"], strict=True)]
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"import modeling_hyperset / import ViT: {medians['Hyper-SET'] / medians['ViT']:.3f}")
    print(f"({repeats} turns, pairwise {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()

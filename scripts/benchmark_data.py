# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
What reading and augmenting images costs: samples per second of `run_image_classification.py` (data, augmentation, collation,
Trainer's own work, logging) beside those of its model alone (forward and backward pass, clipping, optimizer, on a batch that is
in place). Both are measured in turn, epoch after epoch of one training, and the share that the script loses is their median. In
the first epoch files are read; later they are in memory if they fit there. The steps at the start of an epoch, in which workers
start, and at its end, when they have read all, are not timed.

The images are made-up JPEG files. Flags that this command does not know go to the training script, for example other data.

    python scripts/benchmark_data.py
    python scripts/benchmark_data.py --num_workers 2 --dtype float32 --cache_images false
    python scripts/benchmark_data.py --dataset_name uoft-cs/cifar10 --image_column_name img --output_dir outputs/samples
"""

from collections.abc import Sequence
from typing import Any

import torch

from hyperset_lab.benchmarking.report import machine_of, write_report
from hyperset_lab.benchmarking.samples import measure, parse, row_of, table_of
from hyperset_lab.origin import processor


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure as the flags say; print and return the report."""
    options = parse(arguments, __doc__)
    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    records = [measure(options, num_workers) for num_workers in options.num_workers]
    rows = [row_of(record, options.batch_size * options.steps) for record in records]
    about = f"{machine_of(options)} ({processor()}), batches of {options.batch_size}, {options.rounds} rounds of "
    about += f"{options.steps} steps; samples per second"
    report = {"about": about, "rows": rows, "measurements": records}
    write_report(options.output_dir, "samples", f"{about}\n\n{table_of(rows)}", report)
    return report


if __name__ == "__main__":
    main()

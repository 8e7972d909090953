# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Check everything that needs a GPU, on one GPU and in one run: the attention kernels against float64, every head against the CPU,
half precision that trains, waits of the host, CUDA graphs, sizes beyond 16 and 32 bits, torch.compile, FSDP2, and times and
memory beside the Transformer. It needs no network and no data.

    python scripts/check_gpu.py                                       # under eight minutes on one H100
    python scripts/check_gpu.py --budget_minutes 3                    # the most important checks first
    python scripts/check_gpu.py --parts numbers times
    python scripts/check_gpu.py --parts tiles --capability 86         # needs no GPU: what the kernels take of one
    python scripts/check_gpu.py --device cpu --tiny                   # tries the checks themselves, and says nothing of a GPU

A check that may not end within the budget is left out, and the table says so. The exit status is 1 if a check fails.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

import transformers
from hyperset_lab.benchmarking.report import write_report
from hyperset_lab.gpu_check import heads, kernels, numbers, programs, times
from hyperset_lab.gpu_check.report import Check, as_json, run_all, table_of
from modeling_hyperset.attention_op_hyperset import HAS_TRITON, problem_on_gpu


# The most important first.
PARTS = ("numbers", "heads", "training", "waits", "graphs", "times", "sizes", "programs", "tiles")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="A GPU, or `cpu` to try the checks themselves.")
    parser.add_argument("--parts", nargs="+", help=f"Some of {', '.join(PARTS)}. Default: all but tiles.")
    parser.add_argument("--budget_minutes", type=float, default=8.0)
    parser.add_argument("--tiny", action="store_true", help="A few checks of the smallest sizes.")
    parser.add_argument("--capability", type=int, help="Of the GPU that `tiles` compiles for: 86 for 8.6.")
    parser.add_argument("--output_dir", help="Write check_gpu.json and check_gpu.md there.")
    options = parser.parse_args(arguments)
    options.parts = options.parts or list(PARTS[:-1])
    if unknown := set(options.parts) - set(PARTS):
        raise ValueError(f"`--parts` must be among {', '.join(PARTS)}, got {', '.join(sorted(unknown))}.")
    if not options.budget_minutes > 0:
        raise ValueError(f"`--budget_minutes` must be positive, got {options.budget_minutes}.")
    if torch.device(options.device).type not in ("cpu", "cuda"):
        raise ValueError(f"`--device` must be a CUDA device or `cpu`, got {options.device}.")
    needs_gpu = options.parts != ["tiles"]
    if needs_gpu and options.device != "cpu" and not torch.cuda.is_available():
        raise ValueError(
            f"There is no CUDA device for `--device {options.device}`: nothing was checked. `--device cpu --tiny` tries the "
            "checks themselves."
        )
    if options.device == "cpu" and not options.tiny and needs_gpu:
        raise ValueError("`--device cpu` needs `--tiny`: the checks are as large as a GPU is fast.")
    if options.capability is not None and "tiles" not in options.parts:
        raise ValueError("`--capability` is read by `--parts tiles` alone.")
    if "tiles" in options.parts and not HAS_TRITON:
        raise ValueError("`--parts tiles` needs Triton: pip install triton.")
    return options


def capability_of(options: argparse.Namespace) -> int:
    """What `tiles` compiles for: what the flag says, or else this GPU, or else the smallest ones (86)."""
    if options.capability is not None or options.device == "cpu" or not torch.cuda.is_available():
        return options.capability or 86
    major, minor = torch.cuda.get_device_capability(options.device)
    return 10 * major + minor


def checks_of(options: argparse.Namespace) -> list[Check]:
    """The checks of the chosen parts, in the order of `PARTS`."""
    device, tiny = torch.device(options.device), options.tiny
    found = numbers.checks(device, tiny) + heads.checks(device, tiny) + times.checks(device, tiny)
    found += numbers.size_checks(device, tiny) + programs.checks(device, tiny)
    if "tiles" in options.parts:
        found += kernels.checks(capability_of(options), tiny)
    return sorted((check for check in found if check.part in options.parts), key=lambda check: PARTS.index(check.part))


def about(options: argparse.Namespace) -> str:
    """The machine and the versions."""
    device = torch.device(options.device)
    name = "CPU: this run says nothing of a GPU"
    if device.type == "cuda" and torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability(device)
        name = f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor}, CUDA {torch.version.cuda}"
    elif options.parts == ["tiles"]:
        name = f"no device, kernels for compute capability {capability_of(options) / 10}"
    versions = [f"torch {torch.__version__}", f"transformers {transformers.__version__}"]
    if HAS_TRITON:
        import triton

        versions.append(f"triton {triton.__version__}")
    return f"{name}; {', '.join(versions)}"


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the checks; print and return the report."""
    options, start = parse(arguments), time.monotonic()
    facts = about(options)
    print(facts, flush=True)
    device = torch.device(options.device)
    if device.type == "cuda" and options.parts != ["tiles"]:
        problem = problem_on_gpu(device.index or 0)
        if problem is not None:
            raise RuntimeError(f"Our kernels do not run on this GPU, so nothing was checked: {problem}")
        if "numbers" in options.parts:
            cases = numbers.checked_cases(options.tiny)
            print(kernels.make_ready(cases, capability_of(options), 15 * options.budget_minutes), flush=True)
    budget = 60 * options.budget_minutes - (time.monotonic() - start)
    rows = run_all(checks_of(options), budget, say=lambda text: print(text, flush=True))
    text = f"{facts}\n\n{table_of(rows)}"
    report = {"about": facts, "seconds": time.monotonic() - start, "rows": as_json(rows)}
    print()
    write_report(options.output_dir, "check_gpu", text, report)
    return report


if __name__ == "__main__":
    sys.exit(any(row["result"] == "FAILED" for row in main()["rows"]))

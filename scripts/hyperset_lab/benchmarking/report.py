# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the reports of the benchmarks have in common: the machine that they name, and their files."""

import argparse
from pathlib import Path
from typing import Any

import torch

from modeling_hyperset.files import write_json, write_text


def machine_of(options: argparse.Namespace) -> str:
    """torch, the device, the threads and the type that the flags lead to."""
    device = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else "CPU"
    return f"torch {torch.__version__} on {device}, {torch.get_num_threads()} threads, {options.dtype}"


def write_report(folder: str | None, name: str, text: str, report: dict[str, Any]) -> None:
    """Print `text`. With a `folder`, also write it there as `name`.md, and the `report` as `name`.json."""
    print(text)
    if folder is None:
        return
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / f"{name}.json", report)
    write_text(place / f"{name}.md", f"{text}\n")

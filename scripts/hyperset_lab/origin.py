# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Where a result comes from: command, commit, hardware and date, beside what was trained and what was measured."""

import dataclasses
import datetime
import json
import platform
import subprocess
from collections.abc import Sized
from pathlib import Path
from typing import Any

import torch

import modeling_hyperset
import transformers
from hyperset_lab.card import describe_data
from hyperset_lab.comparison.costs import forward_flops
from hyperset_lab.models import model_of
from hyperset_lab.trainer import ScriptTrainer
from modeling_hyperset import HyperSETConfig
from modeling_hyperset.files import write_json


ORIGIN = "origin.json"  # in the folder of a run
ROOT = Path(__file__).resolve().parents[2]
CODE = ("modeling_hyperset", "scripts")  # what results depend on, of what git keeps
VERSIONS = {
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "modeling_hyperset": modeling_hyperset.__version__,
}


def git(*words: str) -> str | None:
    """What git says of the project's folder, or `None` where there is no git or no checkout."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def hardware(arguments: Any) -> dict[str, Any]:
    """What a run of these training arguments computes with."""
    on_gpu = arguments.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(arguments.device) if on_gpu else processor(),
        "processes": arguments.world_size,
        "threads": torch.get_num_threads(),
        "precision": "bfloat16" if arguments.bf16 else "float16" if arguments.fp16 else "float32",
    }


def began(command: list[str] | None) -> dict[str, Any]:
    """
    The command, the commit and the date; to be taken when a run begins, because the code may change while it trains. `changed`
    says that files of the code differed from the commit.
    """
    status = git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
    return {
        "command": command,
        "commit": git("rev-parse", "HEAD"),
        "changed": None if status is None else bool(status),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def flops_of(trainer: ScriptTrainer) -> int | None:
    """Floating point operations of a forward pass on one sample, where samples can be taken one by one."""
    data: Any = trainer.eval_dataset
    ours = isinstance(model_of(trainer).config, HyperSETConfig)
    if not ours or trainer.is_fsdp_enabled or not isinstance(data, Sized) or isinstance(data, dict):
        return None
    return forward_flops(trainer)


def write_origin(
    trainer: ScriptTrainer, metrics: dict[str, float], score: Any, start: dict[str, Any], dataset: str | None = None
) -> None:
    """
    Write `origin.json` in the folder of a training that has ended, on the main process.

    Args:
        metrics (`dict[str, float]`): What the evaluations measured, as `run` gives it.
        score ([`Score`]): The measure that counts.
        start (`dict`): What [`began`] gave.
        dataset (`str`, *optional*): The name of the data set.
    """
    if not trainer.is_world_process_zero():
        return
    arguments, model = trainer.args, model_of(trainer)
    config, folder = model.config, Path(arguments.output_dir)
    times = json.loads((folder / "train_results.json").read_text(encoding="utf-8"))
    origin = start | {
        "hardware": hardware(arguments),
        "versions": VERSIONS,
        "data": describe_data(trainer, dataset),
        "score": dataclasses.asdict(score),
        "model": {
            "class": type(model).__name__,
            "layer_type": getattr(config, "layer_type", None),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "flops": flops_of(trainer),
            "num_iterations": getattr(config, "num_iterations", None),
        },
        "training": {
            "seed": arguments.seed,
            "learning_rate": arguments.learning_rate,
            "steps": trainer.state.global_step,
            "seconds": times["train_runtime"],  # with the evaluations in between; of the last part of a resumed run
        },
        "metrics": metrics,
    }
    write_json(folder / ORIGIN, origin)

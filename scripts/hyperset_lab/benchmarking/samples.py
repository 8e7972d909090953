# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Samples per second of the training of an image classifier, beside those of its model alone."""

import argparse
import contextlib
import copy
import io
import statistics
import tempfile
import time
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image

from hyperset_lab.arguments import check_least, parse_arguments
from hyperset_lab.benchmarking.digits import RandomBatches
from hyperset_lab.benchmarking.measuring import seconds
from hyperset_lab.images.task import TASK
from hyperset_lab.models import model_of
from hyperset_lab.trainer import ScriptTrainer
from transformers import TrainerCallback


RECIPE = Path(__file__).parents[2] / "recipes" / "cifar10_cpu.yaml"
CLASSES = 10
SOURCES = ("--dataset_name", "--train_dir", "--train_file")
# What this command sets by flags of its own, or what would make the two loops different.
DECIDED = (
    *(
        "--do_train",
        "--do_eval",
        "--num_train_epochs",
        "--max_steps",
        "--max_train_samples",
        "--bf16",
        "--fp16",
        "--use_cpu",
    ),
    *("--per_device_train_batch_size", "--dataloader_num_workers", "--gradient_accumulation_steps"),
    *("--torch_compile", "--torch_compile_backend", "--torch_compile_mode", "--streaming"),
)


def parse(arguments: Sequence[str] | None, description: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--recipe", default=str(RECIPE), help="What to train; a small model for CIFAR-10 if not given."
    )
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--num_workers", type=int, nargs="+", default=[0, 2], help="Processes that read images.")
    parser.add_argument("--image_size", type=int, default=32, help="Side in pixels of the made-up JPEG files.")
    parser.add_argument("--steps", type=int, default=20, help="Steps that are timed in each round.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--num_threads", type=int, help="Of torch, on a CPU.")
    parser.add_argument("--output_dir", help="Write samples.json and samples.md there.")
    options, others = parser.parse_known_args(arguments)
    options.script_flags = others
    if taken := sorted({word.partition("=")[0] for word in others} & set(DECIDED)):
        raise ValueError(
            f"This command decides {', '.join(taken)} itself: leave it out, or see its own flags (`--help`)."
        )
    check_least(options, 1, "batch_size", "image_size", "steps", "rounds", "num_threads")
    if min(options.num_workers) < 0:
        raise ValueError(f"`--num_workers` must not be negative, got {options.num_workers}.")
    if options.device not in ("cpu", "cuda"):
        raise ValueError(f"`--device` must be cpu or cuda, got {options.device!r}.")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("There is no CUDA device for `--device cuda`: pass `--device cpu`.")
    return options


def write_images(folder: Path, count: int, side: int) -> None:
    """JPEG files of `side` × `side` pixels in a folder for each class. They show smooth spots: noise takes longer to read."""
    rng = np.random.default_rng(0)
    for index in range(count):
        place = folder / str(index % CLASSES)
        place.mkdir(parents=True, exist_ok=True)
        spots = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        spots.resize((side, side), Image.Resampling.BICUBIC).save(place / f"{index}.jpg")


def not_timed(num_workers: int) -> int:
    """
    Steps of an epoch that are not timed: at its start, when workers start, and at its end, when they have read all and what is
    left takes no time. Each runs ahead by two batches.
    """
    return 4 * num_workers + 2


class Turns(TrainerCallback):
    """
    The seconds of `steps` steps of each epoch of a training, and after each epoch those of as many steps of the same model
    alone.
    """

    def __init__(self, trainer: ScriptTrainer, steps: int):
        self.steps, self.of_script, self.alone = steps, list[float](), list[float]()
        self.epoch_steps = -(-len(cast(Sized, trainer.train_dataset)) // trainer.args.train_batch_size)
        self.end = self.epoch_steps - 2 * trainer.args.dataloader_num_workers
        self.start, self.device = 0.0, trainer.args.device
        self.model = copy.deepcopy(model_of(trainer))
        torch.nn.Module.to(self.model, self.device).train()
        optimizer, fields = trainer.get_optimizer_cls_and_kwargs(trainer.args)
        self.optimizer = optimizer(self.model.parameters(), **fields)
        size = trainer.args.train_batch_size
        (self.batch,) = RandomBatches(cast(Any, self.model.config), size, size, self.device)
        self.half, self.most = trainer.args.bf16, trainer.args.max_grad_norm
        self.model_steps()  # the first steps ask for memory

    def on_step_end(self, args, state, control, **kwargs):
        place = (state.global_step - 1) % self.epoch_steps + 1
        if place == self.end - self.steps:
            self.start = self.now()
        elif place == self.end:
            self.of_script.append(self.now() - self.start)
        if place == self.epoch_steps:
            self.alone.append(seconds(self.model_steps, self.device))

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def model_steps(self) -> None:
        """Forward and backward pass, clipping and the optimizer, on one batch that is in place."""
        for _ in range(self.steps):
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
                loss = self.model(**self.batch).loss
            loss.backward()
            if self.most:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.most)
            self.optimizer.step()
            self.optimizer.zero_grad()


def measure(options: argparse.Namespace, num_workers: int) -> dict[str, Any]:
    """Train for an epoch more than there are rounds: in the first one files are read, and what then stands in memory is not."""
    count = options.batch_size * (not_timed(num_workers) + options.steps)
    with tempfile.TemporaryDirectory() as temporary:
        flags = ["--do_train", "true", "--do_eval", "false", "--save_strategy", "no", "--report_to", "none"]
        flags += ["--gradient_accumulation_steps", "1", "--torch_compile", "false"]
        flags += ["--disable_tqdm", "true", "--check_images", "false", "--max_train_samples", str(count)]
        flags += ["--num_train_epochs", str(options.rounds + 1), "--dataloader_num_workers", str(num_workers)]
        flags += ["--per_device_train_batch_size", str(options.batch_size), "--output_dir", f"{temporary}/out"]
        flags += ["--bf16", str(options.dtype == "bfloat16"), "--use_cpu", str(options.device == "cpu")]
        if not any(flag.partition("=")[0] in SOURCES for flag in options.script_flags):
            write_images(Path(temporary, "images"), count, options.image_size)
            flags += ["--train_dir", f"{temporary}/images", "--cache_dir", f"{temporary}/cache"]
        words = [options.recipe, *flags, *options.script_flags]
        with contextlib.redirect_stdout(io.StringIO()):  # the training's own report
            trainer, _ = TASK.build_trainer(*parse_arguments(TASK.arguments, words, TASK.script))
            if (found := len(cast(Sized, trainer.train_dataset))) < count:
                raise ValueError(
                    f"{count:,} images are needed for `--batch_size` {options.batch_size} and `--steps` {options.steps}, got "
                    f"{found:,}: take fewer steps or smaller batches."
                )
            turns = Turns(trainer, options.steps)
            trainer.add_callback(turns)
            trainer.train()
    return {"num_workers": num_workers, "of_script": turns.of_script, "alone": turns.alone}


def row_of(record: dict[str, Any], samples: int) -> dict[str, Any]:
    """Samples per second, and the share of the model's that the script's training loses; medians over the rounds."""
    pairs = list(zip(record["alone"], record["of_script"], strict=True))
    lost = [1 - alone / script for alone, script in pairs]
    return {
        "num_workers": record["num_workers"],
        "alone": samples / statistics.median(record["alone"]),
        "of_script": samples / statistics.median(record["of_script"][1:]),
        "first_epoch": samples / record["of_script"][0],
        "lost": statistics.median(lost[1:]),
        "lost_in_first_epoch": lost[0],
    }


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each number of workers."""
    lines = [
        "| workers | model alone | training script | lost | first epoch | lost |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        lines.append(
            f"| {row['num_workers']} | {row['alone']:,.0f} | {row['of_script']:,.0f} | {row['lost']:.1%} "
            f"| {row['first_epoch']:,.0f} | {row['lost_in_first_epoch']:.1%} |"
        )
    return "\n".join(lines)

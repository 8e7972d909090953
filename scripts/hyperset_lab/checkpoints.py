# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Checkpoints and models on disk, whole or absent: they are written in a folder of their own inside the run's folder, brought to
the disk, and renamed; what is picked up to resume from is checked first.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME


logger = logging.getLogger(__name__)

# Where a run writes what is not finished. `get_last_checkpoint` does not look there, and Trainer's pushes leave it out.
UNFINISHED = "_unfinished"
REPLACED = "replaced-"
STATE = "trainer_state.json"
FSDP_WEIGHTS = "pytorch_model_fsdp"  # the start of a file's or a folder's name
# One file, shards, the adapter of PEFT, or what FSDP and DeepSpeed write.
WEIGHTS = re.compile(r"(adapter_)?model(-\d+-of-\d+)?\.safetensors|pytorch_model.*|global_step.*")


@contextlib.contextmanager
def writing(target: str | os.PathLike, staged: str | os.PathLike) -> Iterator[None]:
    """
    Within it, `target` is written in the folder `staged`, which is removed if that fails.

    Raises:
        `OSError`: the disk takes no more. It names `target` and the checkpoint to continue from.
    """
    try:
        yield
    except BaseException as error:
        shutil.rmtree(staged, ignore_errors=True)
        # safetensors and torch have exceptions of their own for a full disk.
        torch_writer = isinstance(error, RuntimeError) and "inline_container" in str(error)
        if not (torch_writer or isinstance(error, OSError | SafetensorError)):
            raise
        message = f"Could not write {target}: {error}"
        if kept := last_whole_checkpoint(Path(target).parent):
            message += f". {kept} is whole: `--resume_from_checkpoint true` continues from it."
        raise OSError(message) from error


def flush(folder: str | os.PathLike) -> None:
    """Bring the files in `folder`, at any depth, and their names to the disk."""
    for directory, _, names in os.walk(folder):
        for path in (*(os.path.join(directory, name) for name in names), directory):
            sync(path)


def sync(path: str | os.PathLike) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(staged: str | os.PathLike, checkpoint: str | os.PathLike) -> None:
    """Make the folder `staged`, written inside an `UNFINISHED` folder, the `checkpoint`; one of that name goes."""
    staged, checkpoint = Path(staged), Path(checkpoint)
    flush(staged)
    if checkpoint.exists():
        os.replace(checkpoint, staged.parent / f"{REPLACED}{checkpoint.name}")
    os.replace(staged, checkpoint)
    shutil.rmtree(staged.parent)
    sync(checkpoint.parent)


def publish_model(staged: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Move the files of a model from `staged` to `folder`, each at once, and remove weights that they do not replace."""
    staged, folder = Path(staged), Path(folder)
    flush(staged)
    files = sorted(path.relative_to(staged) for path in staged.rglob("*") if path.is_file())
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged / file, folder / file)
    shutil.rmtree(staged.parent)
    stale = {*folder.glob("model-*-of-*.safetensors"), folder / SAFE_WEIGHTS_NAME, folder / SAFE_WEIGHTS_INDEX_NAME}
    for path in stale - {folder / file for file in files}:
        path.unlink(missing_ok=True)
    sync(folder)


def clean_up(folder: str | os.PathLike) -> None:
    """Remove what a killed run left unfinished in `folder`, but for a checkpoint that it was about to replace."""
    unfinished = Path(folder) / UNFINISHED
    if unfinished.is_dir():
        for replaced in unfinished.glob(f"{REPLACED}*"):
            checkpoint = Path(folder) / replaced.name.removeprefix(REPLACED)
            if not checkpoint.exists():
                os.replace(replaced, checkpoint)
        shutil.rmtree(unfinished)
    for leftover in Path(folder).glob(".unfinished-*"):
        leftover.unlink()


def defects(checkpoint: str | os.PathLike, only_model: bool = False) -> list[str]:
    """
    What a checkpoint folder lacks to continue from it: files that are missing, cut off or unreadable. Without `only_model` the
    optimizer's and the scheduler's state must be there.
    """
    folder = Path(checkpoint)
    if not folder.is_dir():
        return ["it is no folder"]
    names = {path.name for path in folder.iterdir()}
    found = []
    try:
        json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found.append(f"{STATE} is missing or unreadable")
    if not any(WEIGHTS.fullmatch(name) for name in names):
        found.append("it has no weights")
    if not only_model:
        for kind in ("optimizer", "scheduler"):
            if not any(name.startswith((kind, "global_step")) for name in names):
                found.append(f"it has no {kind} state")
        if not any(name.startswith("rng_state") for name in names):
            found.append("it has no state of the random numbers")
    for path in sorted((*folder.glob(f"{FSDP_WEIGHTS}_*"), *folder.glob("optimizer_*"))):
        # torch writes this file after the shards that it describes.
        if path.is_dir() and not (path / ".metadata").is_file():
            found.append(f"{path.name} is not complete")
    if SAFE_WEIGHTS_INDEX_NAME in names:
        try:
            index = json.loads((folder / SAFE_WEIGHTS_INDEX_NAME).read_text(encoding="utf-8"))
            found += [f"{shard} is missing" for shard in sorted({*index["weight_map"].values()} - names)]
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            found.append(f"{SAFE_WEIGHTS_INDEX_NAME} is unreadable")
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors" and not is_whole_safetensors(path):
            found.append(f"{path.name} is cut off")
        if path.suffix in (".pt", ".pth", ".bin") and not zipfile.is_zipfile(path):
            found.append(f"{path.name} is cut off")
    return found


def is_sharded(checkpoint: str | os.PathLike) -> bool:
    """Whether FSDP wrote a checkpoint."""
    return any(Path(checkpoint).glob(f"{FSDP_WEIGHTS}*"))


def is_whole_safetensors(path: Path) -> bool:
    """Whether a file has the length that its header says; its tensors are not read."""
    try:
        with safe_open(path, framework="pt"):
            return True
    except SafetensorError:
        return False


def all_checkpoints(folder: str | os.PathLike) -> list[Path]:
    """The checkpoints in `folder`, by their number of steps."""
    prefix = f"{PREFIX_CHECKPOINT_DIR}-"
    steps = {path: path.name.removeprefix(prefix) for path in Path(folder).glob(f"{prefix}*") if path.is_dir()}
    return sorted((path for path, step in steps.items() if step.isdecimal()), key=lambda path: int(steps[path]))


def last_whole_checkpoint(folder: str | os.PathLike, only_model: bool = False) -> str | None:
    """The checkpoint of the most steps in `folder` that has no [`defects`]; a warning names those that have."""
    for checkpoint in reversed(all_checkpoints(folder)):
        if not (found := defects(checkpoint, only_model)):
            return str(checkpoint)
        logger.warning("Not continuing from %s: %s.", checkpoint, ", ".join(found))
    return None

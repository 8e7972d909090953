# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Checkpoints and models on disk, whole or absent. A checkpoint is whole once it has a manifest: the list of its files, which is
written last. A final model is first written in its own folder inside the run's folder. Then its files are renamed into place.
"""

import contextlib
import errno
import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from modeling_hyperset.files import write_whole


logger = logging.getLogger(__name__)

# In a run's folder: a mark for each checkpoint that is being written or removed, and the model that is being written.
# `get_last_checkpoint` does not look there, and Trainer's pushes leave it out.
UNFINISHED = "_unfinished"
MANIFEST = "manifest.json"
STATE = "trainer_state.json"
# What file systems without `fsync` answer, or without it for folders: network shares, FUSE, Windows.
NO_SYNC = {
    errno.EINVAL,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EBADF,
    errno.EPERM,
    errno.EACCES,
    errno.EISDIR,
}
FSDP_WEIGHTS = "pytorch_model_fsdp"  # the start of a file's or a folder's name


@contextlib.contextmanager
def writing(target: str | os.PathLike, staged: str | os.PathLike) -> Iterator[None]:
    """Within it, `target` is written in the folder `staged`. If that fails, `staged` is removed; see [`name_target`]."""
    try:
        yield
    except BaseException as error:
        shutil.rmtree(staged, ignore_errors=True)
        name_target(target, error)
        raise


def name_target(target: str | os.PathLike, error: BaseException) -> None:
    """Make an `error` of the disk, if it is one, an `OSError` that names `target` and the checkpoint to continue from."""
    # safetensors and torch have exceptions of their own for a full disk.
    torch_writer = isinstance(error, RuntimeError) and "inline_container" in str(error)
    if not (torch_writer or isinstance(error, OSError | SafetensorError)):
        return
    message = f"Could not write {target}: {error}"
    if kept := last_whole_checkpoint(Path(target).parent):
        message += f". {kept} is whole: `--resume_from_checkpoint true` continues from it."
    raise OSError(message) from error


def flush(folder: str | os.PathLike) -> None:
    """Bring the files in `folder`, at any depth, and their names to the disk."""
    for directory, _, names in os.walk(os.fspath(folder)):
        for path in (*(os.path.join(directory, name) for name in names), directory):
            sync(path)


def sync(path: str | os.PathLike) -> None:
    """Bring a file, or the names in a folder, to the disk, if its file system can. A full or broken disk is an `OSError`."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def mark_of(checkpoint: str | os.PathLike) -> Path:
    """The file that says that `checkpoint` is being written or removed."""
    return Path(checkpoint).parent / UNFINISHED / Path(checkpoint).name


def begin(checkpoint: str | os.PathLike) -> None:
    """Remove an old `checkpoint` of that name, and mark it as unfinished: so it does not count if the run is killed."""
    mark = mark_of(checkpoint)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    shutil.rmtree(checkpoint, ignore_errors=True)


def is_leftover(checkpoint: str | os.PathLike) -> bool:
    """Whether a killed run left `checkpoint` half written or half removed."""
    return mark_of(checkpoint).is_file() and bool(defects(checkpoint, only_model=True))


def unmark(checkpoint: str | os.PathLike) -> None:
    """Take the mark of `checkpoint` away."""
    mark = mark_of(checkpoint)
    mark.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # there are other marks, or another process was faster
        mark.parent.rmdir()


def remove(checkpoint: str | os.PathLike) -> None:
    """Remove `checkpoint`. The next run finishes this if it is killed."""
    begin(checkpoint)
    unmark(checkpoint)


def finish(checkpoint: str | os.PathLike) -> None:
    """Make `checkpoint` whole. [`begin`] marked it, and now it is written."""
    if os.path.isdir(checkpoint) and not os.path.exists(os.path.join(checkpoint, MANIFEST)):
        seal(checkpoint)
    unmark(checkpoint)


def seal(checkpoint: str | os.PathLike) -> None:
    """Bring the files of `checkpoint` to the disk, then write the manifest, a list of them with their sizes and checksums."""
    folder = Path(checkpoint)
    flush(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "crc32": checksum(path)} for path in paths
    }

    def write(temporary: str) -> None:
        Path(temporary).write_text(json.dumps(files, indent=2) + "\n", encoding="utf-8")
        sync(temporary)

    write_whole(folder / MANIFEST, write)
    sync(folder)
    sync(folder.parent)


def checksum(path: Path) -> int:
    """The CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def publish_model(staged: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Move the files of a model from `staged` to `folder`, each at once, and remove other weights from there."""
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
    """Remove what a killed run left unfinished in `folder`. A checkpoint without a mark stays, whole or not."""
    for checkpoint in filter(is_leftover, all_checkpoints(folder)):
        shutil.rmtree(checkpoint, ignore_errors=True)
    shutil.rmtree(Path(folder) / UNFINISHED, ignore_errors=True)
    for leftover in Path(folder).glob(".unfinished-*"):
        leftover.unlink(missing_ok=True)


def rotate(folder: str | os.PathLike, limit: int | None, kept: set[str | None]) -> None:
    """Remove the oldest whole checkpoints above `limit`. Those of `kept` stay. One that is not whole does not count."""
    if limit is None or limit <= 0:
        return
    whole = [path for path in all_checkpoints(folder) if not defects(path, only_model=True)]
    removable = [path for path in whole if path not in {Path(path) for path in kept if path is not None}]
    for path in removable[: max(0, len(whole) - max(limit, len(whole) - len(removable)))]:
        remove(path)


def defects(checkpoint: str | os.PathLike, only_model: bool = False, contents: bool = False) -> list[str]:
    """
    What a checkpoint folder lacks to continue from it: its manifest, or files of the sizes in it (with `contents`, also of the
    checksums). Without `only_model` the states of the optimizer and of the random numbers must be there too.
    """
    folder = Path(checkpoint)
    if not folder.is_dir():
        return ["it is no folder"]
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {name: (entry["bytes"], entry["crc32"]) for name, entry in listed.items()}
    except FileNotFoundError:
        command = f"from hyperset_lab.checkpoints import seal; seal({str(folder)!r})"
        return [
            f"it has no {MANIFEST}, so it was not finished, or an older version wrote it. If you know that it is whole, run "
            f'`PYTHONPATH=scripts python -c "{command}"`'
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return [f"{MANIFEST} is unreadable"]
    found = []
    for name, (size, crc32) in files.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != size:
            found.append(f"{name} has {path.stat().st_size} bytes instead of {size}")
        elif contents and checksum(path) != crc32:
            found.append(f"{name} is not what was written")
    if not only_model and not any(name.startswith(("rng_state", "global_step")) for name in files):
        found.append("it has the model alone (`--save_only_model`), without the state of the optimizer")
    return found


def is_sharded(checkpoint: str | os.PathLike) -> bool:
    """Whether FSDP wrote a checkpoint."""
    return any(Path(checkpoint).glob(f"{FSDP_WEIGHTS}*"))


def all_checkpoints(folder: str | os.PathLike) -> list[Path]:
    """The checkpoints in `folder`, by their number of steps."""
    prefix = f"{PREFIX_CHECKPOINT_DIR}-"
    steps = {path: path.name.removeprefix(prefix) for path in Path(folder).glob(f"{prefix}*") if path.is_dir()}
    return sorted((path for path, step in steps.items() if step.isdecimal()), key=lambda path: int(steps[path]))


def last_whole_checkpoint(folder: str | os.PathLike, only_model: bool = False, contents: bool = False) -> str | None:
    """The checkpoint of the most steps in `folder` that has no [`defects`]; a warning names the others."""
    for checkpoint in reversed(all_checkpoints(folder)):
        if not (found := defects(checkpoint, only_model, contents)):
            return str(checkpoint)
        logger.warning("Not continuing from %s: %s.", checkpoint, ", ".join(found))
    return None

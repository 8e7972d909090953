# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Write files completely or not at all."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write a JSON file completely or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file, in UTF-8, completely or not at all."""
    write_whole(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))


def write_whole(path: str | os.PathLike, write: Callable[[str], Any]) -> None:
    """
    Let `write` make a temporary file beside `path`, then rename it to `path`.

    Raises:
        `OSError`: the file cannot be written. The error names `path`.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".unfinished-{path.stem}.", suffix=path.suffix)
    os.close(handle)
    try:
        write(temporary)
        with contextlib.suppress(OSError):  # some network shares have no permissions to set
            os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(f"Could not write {path}: {error}") from error
        raise

# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Pushing to the Hub."""

import contextlib
import os
import shlex
from collections.abc import Iterator

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError


def check_login(token: str | None = None) -> None:
    """Raise a `ValueError` if there is no token to push to the Hub with, or the Hub does not know it."""
    try:
        HfApi().whoami(token=token)
    except (LocalTokenNotFoundError, HfHubHTTPError) as error:
        raise ValueError(f"Pushing to the Hub needs a login (`hf auth login`, or `HF_TOKEN`): {error}") from error


@contextlib.contextmanager
def pushing(folder: str | os.PathLike, repository: str) -> Iterator[None]:
    """Within it, the model in `folder` is uploaded. If that fails, a `RuntimeError` says how to push it later."""
    try:
        yield
    except Exception as error:
        excluded = ["--exclude", "checkpoint-*", "--exclude", "_*"]
        later = shlex.join(["hf", "upload", repository, str(folder), ".", *excluded])
        raise RuntimeError(
            f"The model is saved in {str(folder)!r}, but the Hub did not take it: {error}\nTo push it later: {later}"
        ) from error

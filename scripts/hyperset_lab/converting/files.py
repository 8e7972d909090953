# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Files by their path on this machine, or by `owner/name:path` on the Hub, and what lies beside them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


ON_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+):(?P<path>.+)")
WEIGHTS = (".pth", ".pt", ".ckpt", ".bin")


@dataclass(frozen=True)
class File:
    """
    A file on this machine.

    Args:
        path: Where it lies.
        name: How to say which it is: the path as it was given, or `owner/name:path`.
        repo: Its repository, if it comes from the Hub.
        revision: The revision of the repository that was asked for.
    """

    path: Path
    name: str
    repo: str | None = None
    revision: str | None = None

    @property
    def commit(self) -> str | None:
        """The commit that a file of the Hub comes from."""
        match = re.search(r"snapshots/([0-9a-f]{40})/", self.path.as_posix())
        return match[1] if match and self.repo else None


def find_file(text: str, flag: str, revision: str | None = None) -> File:
    """
    The file that a flag names.

    Raises:
        `ValueError`: there is none; the message says what there is, or what to do.
    """
    if Path(text).is_file():
        if revision is not None:
            raise ValueError(f"`--revision` is for files of the Hub, and {text!r} lies on this machine: leave it out.")
        return File(Path(text), text)
    match = ON_HUB.fullmatch(text)
    if match is None:
        raise ValueError(f"`{flag}` must be a file, or owner/name:path of a file on the Hub, got {text!r}.")
    return download(match["repo"], match["path"], flag, revision)


def download(repo: str, path: str, flag: str, revision: str | None) -> File:
    """A file of the Hub. Anything that goes wrong is a `ValueError` that names the flag."""
    at = f" at {revision}" if revision else ""
    try:
        return File(Path(hf_hub_download(repo, path, revision=revision)), f"{repo}:{path}", repo, revision)
    except RepositoryNotFoundError as error:
        reason = f"there is no repository {repo}, or you may not read it (`hf auth login`)"
        raise ValueError(f"`{flag}`: {reason}. {error}") from error
    except RevisionNotFoundError as error:
        raise ValueError(f"`{flag}`: {repo} has no revision {revision!r}.") from error
    except LocalEntryNotFoundError as error:
        reason = f"{repo}:{path}{at} is not in the cache and the Hub cannot be reached"
        raise ValueError(f"`{flag}`: {reason}. Download the file and pass its path. {error}") from error
    except EntryNotFoundError as error:
        held = [name for name in HfApi().list_repo_files(repo, revision=revision) if name.endswith(WEIGHTS)]
        listed = f"Its checkpoints are {', '.join(sorted(held))}." if held else "It holds no checkpoints."
        raise ValueError(f"`{flag}`: {repo}{at} has no file {path!r}. {listed}") from error
    except (HFValidationError, HfHubHTTPError, OSError, httpx.HTTPError) as error:
        raise ValueError(f"`{flag}`: the Hub does not give {repo}:{path}{at}: {error}") from error


def beside(file: File, names: Iterable[str]) -> list[File]:
    """
    The files of these names, paths relative to its folder, that lie beside a file. Where its folder is called `checkpoint`, as
    in the runs of the authors' program, those beside the folder are looked at too.
    """
    folder = file.path.parent if file.repo is None else PurePosixPath(file.name.partition(":")[2]).parent
    found = []
    for place in [folder, folder.parent] if folder.name == "checkpoint" else [folder]:
        for name in names:
            if file.repo is None:
                if (path := Path(place) / name).is_file():
                    found.append(File(path, str(path)))
                continue
            there = (place / name).as_posix()
            try:
                path = Path(hf_hub_download(file.repo, there, revision=file.commit or file.revision))
                found.append(File(path, f"{file.repo}:{there}", file.repo, file.revision))
            except LocalEntryNotFoundError:
                print(f"The Hub cannot be reached, and {file.repo}:{there} is not in the cache: it is not looked at.")
            except EntryNotFoundError:
                continue
    return found

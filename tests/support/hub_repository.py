# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the stand-in of the Hub keeps: repositories of commits of files, with the hashes that git and LFS give them."""

import hashlib
from dataclasses import dataclass, field


@dataclass
class File:
    """A file of a commit; `large` ones lie in LFS."""

    content: bytes
    large: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n".encode()

    @property
    def oid(self) -> str:
        """The hash that git gives the blob."""
        blob = self.pointer if self.large else self.content
        return hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()


@dataclass
class Commit:
    oid: str
    message: str
    files: dict[str, File]


@dataclass
class Repository:
    private: bool
    commits: list[Commit] = field(default_factory=list)

    def add(self, message: str, files: dict[str, File]) -> Commit:
        state = f"{len(self.commits)} {message} " + " ".join(f"{path} {file.oid}" for path, file in files.items())
        self.commits.append(Commit(hashlib.sha1(state.encode()).hexdigest(), message, files))
        return self.commits[-1]

    def at(self, revision: str) -> Commit | None:
        if revision in ("main", "HEAD", "refs/heads/main"):
            return self.commits[-1]
        return next((commit for commit in self.commits if commit.oid == revision), None)

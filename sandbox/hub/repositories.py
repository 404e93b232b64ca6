"""Repositories of the stand-in hub: immutable commits, branches and tags, and file contents on disk by their hash."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import yaml

Gate = Literal[False, "auto", "manual"]

# The real hub decides by .gitattributes; these are its defaults, and anything larger goes to large-file storage as well.
_LARGE_SUFFIXES = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".onnx", ".gguf", ".npz"})
_LARGE_BYTES = 10 * 1024**2
_CHUNK_BYTES = 1024**2
_SHA = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file of a commit. `oid` is git's hash of the blob, or of the pointer where the file is `large`."""

    path: str
    size_bytes: int
    sha256: str
    oid: str
    large: bool
    content: Path

    @property
    def etag(self) -> str:
        """What the hub sends as the file's ETag."""
        return self.sha256 if self.large else self.oid

    @property
    def pointer_size_bytes(self) -> int:
        """The size of the pointer that stands for a large file in git."""
        return len(_pointer(self.sha256, self.size_bytes))


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One immutable commit: its files by path, the model card's front matter and the parameter counts by type."""

    sha: str
    created_at: datetime
    files: Mapping[str, StoredFile]
    card: Mapping[str, Any]
    parameters: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository as it is now; every change makes another one."""

    id: str
    gated: Gate = False
    private: bool = False
    disabled: bool = False
    xet: bool = False
    commits: Mapping[str, Commit] = field(default_factory=dict)
    branches: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def commit(self, revision: str) -> Commit | None:
        """Return the commit that a branch, a tag or a full SHA names, None if there is none."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        sha = self.branches.get(name) or self.tags.get(name) or (revision if _SHA.fullmatch(revision) else "")
        return self.commits.get(sha)


class Repositories:
    """All repositories, and the folder that holds their files' contents.

    Args:
        folder: Where contents are kept; created if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._repositories: dict[str, Repository] = {}
        self._renamed: dict[str, str] = {}

    def renamed(self, repo_id: str) -> str | None:
        """Return the name that a repository of that name has now, None if it was not renamed."""
        return self._renamed.get(repo_id)

    def rename(self, repo_id: str, new_id: str) -> None:
        """Give a repository another name."""
        with self._lock:
            self._repositories[new_id] = replace(self._repositories.pop(repo_id), id=new_id)
            self._renamed[repo_id] = new_id

    def large_file(self, sha256: str) -> StoredFile | None:
        """Return a large file of that content, None if there is none."""
        commits = (commit for repository in self._repositories.values() for commit in repository.commits.values())
        return next((file for commit in commits for file in commit.files.values() if file.large and file.sha256 == sha256), None)

    def get(self, repo_id: str) -> Repository | None:
        """Return the repository, None if there is none of that name."""
        return self._repositories.get(repo_id)

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes | Path],
        *,
        branch: str,
        tag: str | None,
        gated: Gate,
        private: bool,
        disabled: bool,
        licence: str | None,
        xet: bool,
    ) -> str:
        """Add a commit of exactly these files and return its SHA. Hashes in the caller's thread."""
        stored = {path: self._store(path, content) for path, content in sorted(files.items())}
        card = _front_matter(stored.get("README.md"))
        if licence is not None:
            card["license"] = licence
        parameters = _parameters(stored.values())
        with self._lock:
            repository = self._repositories.get(repo_id) or Repository(id=repo_id)
            listing = "\n".join(f"{file.path} {file.sha256}" for file in stored.values())
            # The number of earlier commits makes the same files, added again, another commit.
            sha = hashlib.sha1(f"{repo_id}\n{len(repository.commits)}\n{listing}".encode(), usedforsecurity=False).hexdigest()
            commit = Commit(sha=sha, created_at=datetime.now(UTC), files=stored, card=card, parameters=parameters)
            self._repositories[repo_id] = replace(
                repository,
                gated=gated,
                private=private,
                disabled=disabled,
                xet=xet,
                commits={**repository.commits, sha: commit},
                branches={**repository.branches, branch: sha},
                tags={**repository.tags, tag: sha} if tag else repository.tags,
            )
        return sha

    def _store(self, path: str, content: bytes | Path) -> StoredFile:
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts or str(parts) != path:
            raise ValueError(f"{path!r} is not a path inside a repository")
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        large = parts.suffix in _LARGE_SUFFIXES or size > _LARGE_BYTES
        sha256 = hashlib.sha256()
        blob = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        with tempfile.NamedTemporaryFile(dir=self._blobs, prefix=".new-", delete=False) as copy:
            for chunk in _chunks(content):
                sha256.update(chunk)
                if not large:
                    blob.update(chunk)
                copy.write(chunk)
        target = self._blobs / sha256.hexdigest()
        os.replace(copy.name, target)
        return StoredFile(
            path=path,
            size_bytes=size,
            sha256=sha256.hexdigest(),
            oid=_pointer_oid(sha256.hexdigest(), size) if large else blob.hexdigest(),
            large=large,
            content=target,
        )

    def clear(self) -> None:
        """Remove the contents from the disk."""
        shutil.rmtree(self._blobs, ignore_errors=True)


def _chunks(content: bytes | Path) -> Iterable[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def _pointer_oid(sha256: str, size: int) -> str:
    pointer = _pointer(sha256, size)
    return hashlib.sha1(f"blob {len(pointer)}\0".encode() + pointer, usedforsecurity=False).hexdigest()


def _front_matter(card: StoredFile | None) -> dict[str, Any]:
    if card is None:
        return {}
    match = re.match(r"---\n(.*?)\n---\n", card.content.read_text("utf-8", "replace"), re.DOTALL)
    try:
        document = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError:
        return {}
    return document if isinstance(document, dict) else {}


def _parameters(files: Iterable[StoredFile]) -> dict[str, int]:
    """Return how many parameters of each type the safetensors headers state; a file without a header counts nothing."""
    counts: dict[str, int] = {}
    for file in files:
        if not file.path.endswith(".safetensors"):
            continue
        with file.content.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            try:
                header = json.loads(stream.read(length)) if length < file.size_bytes else {}
                tensors = [(entry["dtype"], math.prod(entry["shape"])) for name, entry in header.items() if name != "__metadata__"]
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue
        for dtype, count in tensors:
            counts[dtype] = counts.get(dtype, 0) + count
    return counts

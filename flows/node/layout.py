"""What names a snapshot: its folder on a node, and one hash over what must lie there. Light: the program on the nodes uses it too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Protocol


class FileFacts(Protocol):
    """What the hub states of a file."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def size_bytes(self) -> int: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102


def snapshot_folder(repository: str, commit: str) -> str:
    """The folder of a commit's files below the store, and below `/models` in the engine's container."""
    return f"models/{repository.replace('/', '--')}/{commit}"


def snapshot_digest(repository: str, commit: str, files: Iterable[FileFacts]) -> str:
    """SHA-256 (hex) of the canonical JSON of repository, commit and every file's path, size and hash, sorted by path."""
    lines = sorted([file.path, file.size_bytes, file.digest] for file in files)
    canonical = json.dumps([repository, commit, lines], separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()

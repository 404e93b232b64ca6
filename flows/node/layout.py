"""What names a snapshot: its folder on a node, and one hash over what must lie there. Light: the program on the nodes uses it too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable


def snapshot_folder(repository: str, commit: str) -> str:
    """The folder of a commit's files below the store, and below `/models` in the engine's container."""
    return f"models/{repository.replace('/', '--')}/{commit}"


def snapshot_digest(repository: str, commit: str, files: Iterable[tuple[str, int, str]]) -> str:
    """SHA-256 (hex) of the canonical JSON of repository, commit and every file, sorted by path.

    Args:
        repository: The model's repository on the hub.
        commit: Commit SHA there.
        files: Path, size in bytes and hash of each.
    """
    # Charts' values hold this hash: written in any other way, every snapshot on every node would be refused.
    canonical = json.dumps([repository, commit, sorted(files)], separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()

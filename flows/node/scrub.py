"""Hashes again what lies on the node, the longest unproven first; what is damaged is made unusable."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from flows.node.report import Progress
from flows.node.store import Store

#: Bytes that are hashed at a time; larger buffers were not faster.
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Scrubbed:
    """What a scrub found.

    Attributes:
        contents: How many contents were hashed.
        size_bytes: Their bytes.
        skipped: How many were left for next time.
        corrupt: What each damaged content hashed to, by what it should have.
        snapshots: Folders of the snapshots that held one, below the store.
    """

    contents: int
    size_bytes: int
    skipped: int
    corrupt: dict[str, str]
    snapshots: list[str]


def scrub(store: Store, limit_seconds: float) -> Scrubbed:
    """Hash the store's contents, the one that was proven longest ago first, until time is up.

    A content's own modification time keeps when it was proven last. It is read past the page cache as far as the kernel allows, so that
    what an engine has cached stays.
    """
    blobs = sorted((path for path in store.blobs.iterdir()), key=lambda path: path.stat().st_mtime)
    begin = time.monotonic()
    progress = Progress(sum(path.stat().st_size for path in blobs))
    corrupt: dict[str, str] = {}
    snapshots: set[str] = set()
    done = size_bytes = 0
    for blob in blobs:
        if time.monotonic() - begin > limit_seconds:
            break
        found = _hash(blob, progress)
        if found is None:
            continue
        done += 1
        size_bytes += blob.stat().st_size
        if found == blob.name:
            os.utime(blob)
            continue
        # Snapshots are put together and published under this lock, too: none may take the content while it is condemned.
        with store.lock("store"):
            corrupt[blob.name] = found
            snapshots |= set(store.quarantine(blob))
    return Scrubbed(contents=done, size_bytes=size_bytes, skipped=len(blobs) - done, corrupt=corrupt, snapshots=sorted(snapshots))


def _hash(blob: Path, progress: Progress) -> str | None:
    """The content's SHA-256; none if it was removed meanwhile. Says at most once a second how far the scrub is."""
    sha256 = hashlib.sha256()
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    try:
        with blob.open("rb", buffering=0) as content:
            while count := content.readinto(buffer):
                sha256.update(buffer[:count])
                progress.add(count)
                progress.say()
            # Pages that an engine has mapped stay: the kernel drops only those that nobody has.
            os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    except FileNotFoundError:
        return None
    return sha256.hexdigest()

"""Room on the node's disk: a reserve that stays free, and what goes first when it does not."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.errors import DoesNotFit
from flows.node.part import allocate, discard
from flows.node.policy import SpacePolicy
from flows.node.report import say
from flows.node.snapshot import WantedFile
from flows.node.store import STAGED, Store, content_lock, snapshot_lock


@dataclass(frozen=True, kw_only=True)
class _Disk:
    size_bytes: int
    free_bytes: int


def reserve(store: Store, missing: Sequence[WantedFile], policy: SpacePolicy) -> None:
    """Preallocate what is missing, removing what is least needed where the disk is short. To be called with their locks and the store's.

    Raises:
        DoesNotFit: There is no room, whatever is removed; the message has the numbers.
    """
    if not missing:
        return
    parts = {store.parts / file.key: file.size_bytes for file in missing}
    # What an earlier process has allocated is not free any more, and not needed again.
    needed = sum(max(0, size_bytes - _allocated(path)) for path, size_bytes in parts.items())
    reserved = int(_disk(store).size_bytes * policy.reserve_percent / 100)
    for victim in _victims(store, policy, parts):
        # Asked anew after each: what one frees depends on who else holds the same contents.
        if _disk(store).free_bytes - needed >= reserved:
            break
        victim()
    disk = _disk(store)
    if disk.free_bytes - needed < reserved:
        raise DoesNotFit(
            f"The node's disk has {_gb(disk.free_bytes)} free of {_gb(disk.size_bytes)}; the snapshot needs {_gb(needed)} more and "
            f"{_gb(reserved)} ({policy.reserve_percent:g} %) stay reserved: {_gb(needed + reserved - disk.free_bytes)} are lacking. "
            "All that could be removed was; give the node a larger disk, or remove what else lies on it.",
            free_bytes=disk.free_bytes,
            needed_bytes=needed,
            reserved_bytes=reserved,
        )
    with no_room(store):
        for path, size_bytes in parts.items():
            allocate(path, size_bytes)


@contextmanager
def no_room(store: Store) -> Iterator[None]:
    """Turn the system's word for a full disk into ours, with the numbers."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        disk = _disk(store)
        raise DoesNotFit(
            f"The node's disk is full ({exc.strerror}): {_gb(disk.free_bytes)} are free of {_gb(disk.size_bytes)}. "
            "Something else has taken the room that was reserved; remove it, or give the node a larger disk."
        ) from exc


def _victims(store: Store, policy: SpacePolicy, wanted: Collection[Path]) -> Iterator[Callable[[], None]]:
    """What may go, the least needed first, each as a way to remove it."""
    yield partial(_sweep, store)
    # A part, its journal and a copy in one piece share the key, up to the first dot.
    for key in sorted({path.name.partition(".")[0] for path in store.parts.iterdir()}):
        if store.parts / key not in wanted:
            yield partial(_drop_part, store, key)
    protected = time.time() - policy.fresh_seconds
    for folder in sorted(store.snapshots(), key=store.last_used):
        if str(folder.relative_to(store.root)) not in policy.keep and store.last_used(folder) < protected:
            yield partial(_evict, store, folder)


def _sweep(store: Store) -> None:
    """Remove what belongs to nobody: the trash, folders that no Job puts together any more, contents without a snapshot."""
    for grave in store.trash.iterdir():
        shutil.rmtree(grave, ignore_errors=True)
    for staged in store.models.glob(f"*/*{STAGED}"):
        # Whoever puts it together holds this lock for as long as it lives.
        with store.lock(snapshot_lock(staged.with_name(staged.name.removesuffix(STAGED))), wait=False) as free:
            if free:
                shutil.rmtree(staged, ignore_errors=True)
    for blob in store.blobs.iterdir():
        if blob.stat().st_nlink == 1:
            blob.unlink()


def _drop_part(store: Store, key: str) -> None:
    with store.lock(content_lock(key), wait=False) as free:
        if free:
            discard(store.parts / key)


def _evict(store: Store, folder: Path) -> None:
    with store.lock(snapshot_lock(folder), wait=False) as free:
        if not free:
            return
        before = _disk(store).free_bytes
        store.remove(folder)
        # A snapshot is names only: room comes free with the contents that no other one holds.
        _sweep(store)
    # Others write meanwhile, so the difference may be negative.
    say("evicted", snapshot=str(folder.relative_to(store.root)), bytes=max(0, _disk(store).free_bytes - before))


def _allocated(path: Path) -> int:
    # Not st_size, which holes count for; st_blocks is in units of 512 bytes on every file system.
    return path.stat().st_blocks * 512 if path.exists() else 0


def _disk(store: Store) -> _Disk:
    found = os.statvfs(store.root)
    # f_bavail, not f_bfree: what the file system keeps for root cannot be written to.
    return _Disk(size_bytes=found.f_blocks * found.f_frsize, free_bytes=found.f_bavail * found.f_frsize)


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.2f} GB"

"""Has one candidate's snapshot on this node, every byte hashed against its list of files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.node.missing import Missing
from flows.node.policy import SpacePolicy, TransferPolicy
from flows.node.report import Progress, say
from flows.node.snapshot import Wanted, WantedFile, is_complete
from flows.node.space import no_room, reserve
from flows.node.store import Store, content_lock, snapshot_lock

if TYPE_CHECKING:  # TLS and an HTTP server, for those that share
    from flows.node.sharing.sharing import Sharing


def fetch(store: Store, wanted: Wanted, space: SpacePolicy, transfer: TransferPolicy, sharing: Sharing | None = None) -> bool:
    """Have the snapshot in the store; whether anything had to be fetched.

    Idempotent, and may be killed at any byte. Jobs on one node take turns: by a lock on the snapshot, and by one on each content.

    Args:
        store: The node's store.
        wanted: The snapshot.
        space: What stays free, and what is not removed for it.
        transfer: How bytes are moved.
        sharing: The other nodes that it is shared with; none if it comes from the hub alone. What lies here is given to them until the
            sharing is closed.

    Raises:
        DoesNotFit: The disk has no room.
        HubRejected: The hub refused.
        HubUnreachable: The hub did not answer.
        SnapshotCorrupt: What came is not what the hub's own list says.
    """
    folder = store.folder(wanted)
    with store.lock(snapshot_lock(folder)):
        if is_complete(folder, wanted):
            store.used(folder)
            if sharing is not None:
                sharing.begin(missing=(), whole={file.key for file in wanted.files})
                sharing.complete()
            return False
        with no_room(store):
            with store.lock("store"):  # nothing is removed while it is decided what is there, and nobody else counts on the same room
                staged = store.staged(wanted)
                sha256, missing = _sorted_out(store, wanted, staged)
                # What another Job fetches has its room already.
                reserve(store, [each.file for each in missing if each.lock is not None], space)
            if missing:
                shared = [each for each in missing if sharing is not None and each.lock is not None]
                if sharing is not None:
                    sharing.begin(missing={each.file.key for each in shared}, whole=sha256)
                    sha256 |= _share(store, wanted, staged, shared, transfer, sharing)
                # What another Job of this node brings is waited for last, when no lock is held that it may wait for.
                if rest := [each for each in missing if each not in shared]:
                    sha256 |= _transfer(store, wanted, staged, rest, transfer)
            # A scrub may have condemned a content since; it holds this lock, and publishing looks for it.
            with store.lock("store"):
                store.publish(wanted, staged, {file.path: sha256[file.key] for file in wanted.files})
    if sharing is not None:
        sharing.complete()
    return True


def _share(store: Store, wanted: Wanted, staged: Path, missing: list[Missing], policy: TransferPolicy, sharing: Sharing) -> dict[str, str]:
    from flows.node.hub import Hub
    from flows.node.sharing.transfer import SharedTransfer

    size_bytes = sum(each.file.size_bytes for each in missing)
    say("sharing", repository=wanted.repository, commit=wanted.commit, files=len(missing), bytes=size_bytes, nodes=sharing.policy.nodes)
    transfer = SharedTransfer(store, Hub(wanted, policy.timeout_seconds), staged, missing, policy, Progress(size_bytes), sharing)
    transfer.open()
    return transfer.run()


def _transfer(store: Store, wanted: Wanted, staged: Path, missing: list[Missing], policy: TransferPolicy) -> dict[str, str]:
    # Loaded here, because a complete snapshot should cost neither their time nor a request.
    from flows.node.hub import Hub
    from flows.node.transfer import Transfer

    size_bytes = sum(each.file.size_bytes for each in missing)
    say("fetching", repository=wanted.repository, commit=wanted.commit, files=len(missing), bytes=size_bytes)
    return Transfer(store, Hub(wanted, policy.timeout_seconds), staged, missing, policy, Progress(size_bytes)).run()


def _sorted_out(store: Store, wanted: Wanted, staged: Path) -> tuple[dict[str, str], list[Missing]]:
    """Give what the store has its names in the snapshot, and take the locks of what it lacks.

    Returns:
        The SHA-256 of what is there, by key; and what is missing.
    """
    contents: dict[str, list[WantedFile]] = {}
    for file in wanted.files:
        contents.setdefault(file.key, []).append(file)
    known = store.contents()
    found: dict[str, str] = {}
    missing = []
    for key, files in contents.items():
        file, paths = files[0], tuple(file.path for file in files)
        # Contents are named by SHA-256. Git's hash says nothing of that one: only the manifest of a snapshot that holds the file does.
        sha256 = file.digest if file.algorithm == "sha256" else known.get(key)
        if sha256 is not None and store.has(sha256, file.size_bytes) and store.link(store.blob(sha256), staged, paths):
            found[key] = sha256
        else:
            # Tried and not waited for: this runs under the store's lock, without which the other Job cannot publish.
            missing.append(Missing(file=file, paths=paths, lock=store.acquire(content_lock(key), wait=False)))
    return found, missing

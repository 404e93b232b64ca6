"""Has one candidate's snapshot on this node, every byte hashed against its list of files."""

from __future__ import annotations

from pathlib import Path

from flows.node.policy import SpacePolicy, TransferPolicy
from flows.node.report import Progress, say
from flows.node.snapshot import Wanted, WantedFile, is_complete
from flows.node.space import no_room, reserve
from flows.node.store import Store, snapshot_lock


def fetch(store: Store, wanted: Wanted, space: SpacePolicy, transfer: TransferPolicy) -> bool:
    """Have the snapshot in the store; whether anything had to be fetched.

    Idempotent, and may be killed at any byte. Jobs on one node take turns: by a lock on the snapshot, and by one on each content.

    Args:
        store: The node's store.
        wanted: The snapshot.
        space: What stays free, and what is not removed for it.
        transfer: How bytes are moved.

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
            return False
        contents: dict[str, list[WantedFile]] = {}
        for file in wanted.files:
            contents.setdefault(file.key, []).append(file)
        with no_room(store):
            with store.lock("store"):  # nothing is removed while it is decided what is there, and nobody else counts on the same room
                staged = store.staged(wanted)
                sha256 = _link_what_is_there(store, staged, contents)
                missing = {files[0]: [file.path for file in files] for key, files in contents.items() if key not in sha256}
                reserve(store, list(missing), space)
            if missing:
                sha256 |= _fetch(store, wanted, staged, missing, transfer)
            with store.lock("store"):
                store.publish(wanted, staged, {file.path: sha256[file.key] for file in wanted.files})
    return True


def _fetch(store: Store, wanted: Wanted, staged: Path, missing: dict[WantedFile, list[str]], policy: TransferPolicy) -> dict[str, str]:
    # Loaded here, because a complete snapshot should cost neither their time nor a request.
    from flows.node.hub import Hub
    from flows.node.transfer import Transfer

    size_bytes = sum(file.size_bytes for file in missing)
    say("fetching", repository=wanted.repository, commit=wanted.commit, files=len(missing), bytes=size_bytes)
    return Transfer(store, Hub(wanted, policy.timeout_seconds), staged, missing, policy, Progress(size_bytes)).run()


def _link_what_is_there(store: Store, staged: Path, contents: dict[str, list[WantedFile]]) -> dict[str, str]:
    """Give the contents that the store has already their names in the snapshot; their SHA-256, by key."""
    known = store.contents()
    found = {}
    for key, files in contents.items():
        file, paths = files[0], [file.path for file in files]
        sha256 = file.digest if file.algorithm == "sha256" else known.get(key)
        if sha256 is not None and store.has(sha256, file.size_bytes) and store.link(store.blob(sha256), staged, paths):
            found[key] = sha256
    return found

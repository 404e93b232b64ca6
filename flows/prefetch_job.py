"""The program of the prefetch Job: has one candidate's snapshot on this node, every byte hashed against its manifest.

`python -m flows.prefetch_job --manifest FILE --store FOLDER`. It prints JSON lines; the last one is `{"event": "complete"}` or
`{"event": "failed", "error": …, "message": …}`, and the exit code is 0 or 1. The hub's address and token come from the hub
client's own environment variables (`HF_ENDPOINT`, `HF_TOKEN_PATH`).

A snapshot is a flat folder `<store>/models/<organisation>--<name>/<commit>`. It appears by one atomic rename, after its files
and its `.manifest.json` were written, hashed and synced: a folder without a manifest does not exist for a reader. Jobs on one
node take turns by a lock on the snapshot.
"""

from __future__ import annotations

import argparse
import fcntl
import glob
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_token, snapshot_download

from blocks.errors import PipelineError, SnapshotCorrupt
from blocks.hub_errors import HUB_FAULTS, hub_error
from flows.plan.naming import snapshot_folder
from flows.spec.candidate import SnapshotFile

MANIFEST = ".manifest.json"

#: Bytes that are hashed at a time; larger buffers were not faster.
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What is wanted on the node."""

    repository: str
    commit: str
    files: tuple[SnapshotFile, ...]

    @classmethod
    def read(cls, path: Path) -> Snapshot:
        """The snapshot that a manifest file asks for."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(repository=data["repository"], commit=data["commit"], files=tuple(SnapshotFile(**file) for file in data["files"]))

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size_bytes for file in self.files)


def say(event: str, **facts: Any) -> None:
    """Print one line for the Job's log."""
    print(json.dumps({"event": event, **facts}), flush=True)


def is_complete(folder: Path, wanted: Snapshot) -> bool:
    """Whether the folder holds the snapshot: its manifest names all files, and each has its size. Costs one `stat` a file."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        have = {file["path"]: file for file in manifest["files"]}
        return manifest["commit"] == wanted.commit and all(
            have[file.path]["hub_digest"] == file.digest and (folder / file.path).stat().st_size == file.size_bytes for file in wanted.files
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def fetch(wanted: Snapshot, store: Path) -> bool:
    """Have the snapshot in the store; whether anything had to be fetched.

    Raises:
        HubRejected: The hub refused.
        HubUnreachable: The hub did not answer.
        SnapshotCorrupt: What came is not what the manifest says.
    """
    target = store / snapshot_folder(wanted.repository, wanted.commit)
    with _lock(store, wanted):
        if is_complete(target, wanted):
            return False
        partial = target.with_name(f"{target.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        say("fetching", repository=wanted.repository, commit=wanted.commit, files=len(wanted.files), bytes=wanted.size_bytes)
        _download(wanted, partial)
        hashed = [_proved(partial / file.path, file) for file in wanted.files]
        shutil.rmtree(partial / ".cache", ignore_errors=True)  # the hub client's own notes
        manifest = {"repository": wanted.repository, "commit": wanted.commit, "files": hashed}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
        for path in [*partial.rglob("*"), partial]:
            path.chmod(0o755 if path.is_dir() else 0o444)  # the engine runs as another user
            _sync(path)
        if target.exists():
            shutil.rmtree(target)  # incomplete by its own manifest; nothing may read it
        partial.rename(target)
        _sync(target.parent)
    return True


def _download(wanted: Snapshot, folder: Path) -> None:
    try:
        snapshot_download(
            wanted.repository,
            revision=wanted.commit,
            local_dir=folder,
            allow_patterns=[glob.escape(file.path) for file in wanted.files],
            max_workers=4,
        )
    except HUB_FAULTS as exc:
        raise hub_error(exc, constants.ENDPOINT, wanted.repository, wanted.commit, has_token=get_token() is not None) from exc


def _proved(path: Path, file: SnapshotFile) -> dict[str, Any]:
    """Hash the file against what the hub said, and return its line of the manifest; a bad file is deleted."""
    try:
        size = path.stat().st_size
    except OSError as exc:
        raise SnapshotCorrupt(f"{file.path} did not arrive; its commit on the hub may have been taken back.") from exc
    sha256 = hashlib.sha256()
    git = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as content:
        while block := content.read(_BUFFER_BYTES):
            sha256.update(block)
            if file.algorithm == "git-sha1":
                git.update(block)
    found = sha256.hexdigest() if file.algorithm == "sha256" else git.hexdigest()
    if found != file.digest or size != file.size_bytes:
        path.unlink()
        raise SnapshotCorrupt(
            f"{file.path} is not what the hub says it is: {size:,} bytes with {file.algorithm} {found[:12]}…, "
            f"expected {file.size_bytes:,} bytes with {file.digest[:12]}…; it was deleted, so that the next attempt fetches it anew."
        )
    return {"path": file.path, "size_bytes": size, "sha256": sha256.hexdigest(), "hub_digest": file.digest}


@contextmanager
def _lock(store: Path, wanted: Snapshot) -> Iterator[None]:
    folder = store / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{wanted.repository.replace('/', '--')}@{wanted.commit}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # ends with the process, however it ends
        yield


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="prefetch_job", description="Have a candidate's snapshot on this node.")
    parser.add_argument("--manifest", type=Path, required=True, help="JSON file that names the commit and its files")
    parser.add_argument("--store", type=Path, required=True, help="folder of all snapshots on this node")
    options = parser.parse_args(arguments)
    # As PID 1 of a container the default action of SIGTERM would be to ignore it.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    try:
        wanted = Snapshot.read(options.manifest)
        fetched = fetch(wanted, options.store)
    except PipelineError as exc:
        say("failed", error=type(exc).__name__, message=exc.message)
        return 1
    say("complete", fetched=fetched, bytes=wanted.size_bytes)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The folder of all snapshots on a node, and how things appear in it.

    blobs/sha256/<hex>            contents, read-only; the number of hard links tells how many snapshots hold one
    models/<org>--<name>/<sha>/   a snapshot: hard links and a manifest
    .parts/                       what is under way, each with its journal
    .locks/  .trash/

Everything appears by a rename after it was synced, so that whatever is killed leaves nothing that looks whole and is not.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from blocks.errors import SnapshotCorrupt
from flows.node.report import say
from flows.node.snapshot import MANIFEST, Wanted, described, read_manifest

#: Ends the name of a folder that is being put together.
STAGED = ".staged"


class Store:
    """A node's store.

    Args:
        root: Its folder, on one file system that has hard links and locks (a local disk).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs" / "sha256"
        self.models = root / "models"
        self.parts = root / ".parts"
        self.trash = root / ".trash"
        self._locks = root / ".locks"

    def prepare(self) -> None:
        """Make the store's folders where they are missing."""
        for folder in (self.blobs, self.models, self.parts, self.trash, self._locks):
            folder.mkdir(parents=True, exist_ok=True)

    def folder(self, wanted: Wanted) -> Path:
        """Where the snapshot is, or will be."""
        return self.root / wanted.folder

    def blob(self, sha256: str) -> Path:
        """Where a content is, or will be."""
        return self.blobs / sha256

    def has(self, sha256: str, size_bytes: int) -> bool:
        """Whether a content is there, by its name and size: its bytes were proven before it got that name."""
        try:
            return self.blob(sha256).stat().st_size == size_bytes
        except FileNotFoundError:
            return False

    def acquire(self, name: str, *, wait: bool) -> int | None:
        """Take the lock of that name: a descriptor that holds it until it is closed or the process ends; none if it is not waited for."""
        # flock: it goes with a killed process and holds between pods of one node. The file is never deleted: others may wait on it.
        descriptor = os.open(self._locks / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                os.close(descriptor)
                return None
            say("waiting", lock=name)  # for another Job on this node
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    @contextmanager
    def lock(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock of that name; whether it is held (always, if it is waited for)."""
        descriptor = self.acquire(name, wait=wait)
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def snapshots(self) -> Iterator[Path]:
        """The folders of all snapshots, whole or not."""
        for model in sorted(self.models.iterdir() if self.models.is_dir() else ()):
            yield from (path for path in sorted(model.iterdir()) if not path.name.endswith(STAGED))

    def contents(self) -> dict[str, str]:
        """The SHA-256 of each content that some snapshot holds, by its key."""
        found = {}
        for folder in self.snapshots():
            for line in (read_manifest(folder) or {}).get("files", ()):
                found[f"{line['algorithm']}-{line['digest']}"] = str(line["sha256"])
        return found

    def staging(self, wanted: Wanted) -> Path:
        """Where the snapshot is put together."""
        folder = self.folder(wanted)
        return folder.with_name(folder.name + STAGED)

    def staged(self, wanted: Wanted) -> Path:
        """An empty folder in which the snapshot can be put together."""
        staged = self.staging(wanted)
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        return staged

    def link(self, content: Path, staged: Path, paths: Iterable[str]) -> bool:
        """Give the content its names in the snapshot; false if it is not there (any more)."""
        for path in paths:
            target = staged / path
            target.parent.mkdir(parents=True, exist_ok=True)
            # An earlier round of `adopt` may have linked a blob that was taken away since.
            target.unlink(missing_ok=True)
            try:
                os.link(content, target)
            except FileNotFoundError:
                return False
        return True

    def adopt(self, content: Path, sha256: str, staged: Path, paths: Iterable[str]) -> None:
        """Make a synced file the content that it was proven to be, with its names in the snapshot.

        It never replaces a content that is there: that one may be under another key, brought by another Job, and linked already.
        """
        blob, size_bytes = self.blob(sha256), content.stat().st_size
        content.chmod(0o444)
        # In rounds, as it is not under the store's lock: a scrub or another Job may come in between.
        while not (self.has(sha256, size_bytes) and self.link(blob, staged, paths)):
            if blob.exists() and not self.has(sha256, size_bytes):
                blob.unlink(missing_ok=True)  # cut short by somebody: nothing may read it
            try:
                # A link and no rename: with the part's name beside it the blob has two, and a sweep does not take it for nobody's.
                os.link(content, blob)
            except FileExistsError:
                continue
            sync(self.blobs)
        content.unlink()

    def publish(self, wanted: Wanted, staged: Path, sha256: dict[str, str]) -> None:
        """Write the manifest and let the snapshot appear, in one step.

        Args:
            wanted: The snapshot.
            staged: The folder with all its files.
            sha256: What each of them hashed to, by path.

        Raises:
            SnapshotCorrupt: A scrub took a content away meanwhile, as it was damaged.
        """
        for path, digest in sha256.items():
            # By inode: a content that was brought anew since has the name and is another file.
            if not self.blob(digest).exists() or not self.blob(digest).samefile(staged / path):
                raise SnapshotCorrupt(f"A scrub of this node found {path} damaged while the snapshot was put together; run again.")
        lines = [
            {
                "path": file.path,
                "size_bytes": file.size_bytes,
                "algorithm": file.algorithm,
                "digest": file.digest,
                "sha256": sha256[file.path],
            }
            for file in wanted.files
        ]
        completed_at = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = {"repository": wanted.repository, "commit": wanted.commit, "completed_at": completed_at, "files": lines}
        (staged / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
        (staged / MANIFEST).chmod(0o444)
        sync(staged / MANIFEST)
        # Names are on the disk only when their folder is: syncing the files alone loses them (fsync(2)).
        for folder in [*(path for path in staged.rglob("*") if path.is_dir()), staged]:
            folder.chmod(0o755)  # the engine runs as another user
            sync(folder)
        target = self.folder(wanted)
        # rename() does not replace a folder that holds something.
        if target.exists():
            self.remove(target)  # incomplete by its own manifest: nothing may read it
        staged.rename(target)
        sync(target.parent)

    def used(self, folder: Path) -> None:
        """Note that the snapshot was asked for now. The manifest's own time keeps it: access times are switched off on many nodes."""
        os.utime(folder / MANIFEST)

    def last_used(self, folder: Path) -> float:
        """When the snapshot was last asked for, in seconds since the epoch."""
        manifest = folder / MANIFEST
        return (manifest if manifest.exists() else folder).stat().st_mtime

    def remove(self, folder: Path) -> None:
        """Let a folder disappear in one step, then delete it; contents that nothing else holds stay until `sweep`."""
        self.trash.mkdir(exist_ok=True)
        grave = self.trash / f"{folder.name}-{time.time_ns()}"
        folder.rename(grave)
        sync(folder.parent)
        shutil.rmtree(grave, ignore_errors=True)

    def quarantine(self, blob: Path) -> list[str]:
        """Make a damaged content, and every snapshot that holds it, unusable; the folders of those snapshots, below the store.

        Their manifests go first: from then on no engine starts from them, and the next prefetch brings the content anew. Files stay for
        engines that have them open.
        """
        # By inode: snapshots list small files by git's hash, and the blob is named by its SHA-256.
        inode = blob.stat().st_ino
        hit = []
        for folder in self.snapshots():
            snapshot = described(folder)
            if snapshot and any((folder / f.path).exists() and (folder / f.path).stat().st_ino == inode for f in snapshot.files):
                (folder / MANIFEST).unlink(missing_ok=True)
                sync(folder)
                hit.append(str(folder.relative_to(self.root)))
        blob.unlink(missing_ok=True)
        sync(blob.parent)
        return hit


def snapshot_lock(folder: Path) -> str:
    """The name of a snapshot's lock."""
    return f"snapshot-{folder.parent.name}@{folder.name}"


def content_lock(key: str) -> str:
    """The name of a content's lock."""
    return f"content-{key}"


def sync(path: Path) -> None:
    """Have a file or folder on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

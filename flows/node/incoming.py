"""One content on its way: its segments come from several threads, are hashed in order, and become a blob if the hash is right."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blocks.errors import HubRejected, SnapshotCorrupt
from flows.node.bodies import NoRanges
from flows.node.http import Connections
from flows.node.hub import Hub, Location
from flows.node.missing import Missing
from flows.node.part import Part, discard, whole_of
from flows.node.patience import Stopped, Trial, Trouble
from flows.node.policy import TransferPolicy
from flows.node.report import Progress, say
from flows.node.snapshot import WantedFile
from flows.node.store import Store, content_lock

#: Times that a whole content is fetched before its wrong hash is believed.
_MOST_TRIES = 2

#: An attempt that brought this share of a segment is progress: a link that dies every few megabytes does get there.
_PROGRESS_SHARE = 1 / 8


@dataclass(frozen=True, kw_only=True)
class TransferContext:
    """What the contents of one transfer share.

    Attributes:
        store: The node's store.
        hub: Where they come from.
        staged: The folder of the snapshot that is being put together.
        policy: How.
        progress: Counts what comes.
        stop: Set when all of them shall give up.
        again: Has all segments of a content fetched anew, before everything else.
        finished: Notes that a content, with this SHA-256, is in the store and in the snapshot.
    """

    store: Store
    hub: Hub
    staged: Path
    policy: TransferPolicy
    progress: Progress
    stop: threading.Event
    again: Callable[[Incoming], None]
    finished: Callable[[WantedFile, str], None]


class Incoming:
    """A content on its way.

    Args:
        context: What it shares with the others.
        missing: What is missing.
    """

    def __init__(self, context: TransferContext, missing: Missing) -> None:
        self.file = file = missing.file
        self.part = Part(context.store.parts / file.key, file.size_bytes, context.policy.segment_bytes)
        self._context = context
        self._paths = missing.paths
        self._lock = missing.lock
        self._opening = threading.Lock()
        self._leaving = threading.Lock()
        self._turn = threading.Condition()
        self._is_open = False
        self._is_done = False
        self._by_xet = False
        self._tries = 1
        self._counted = 0
        self._begin_hash()

    def bring(self, index: int, buffer: memoryview, connections: Connections) -> None:
        """Fetch, write and hash one segment; whoever hashes the last one concludes.

        Args:
            index: The segment.
            buffer: The thread's own, as long as a segment.
            connections: The thread's own.
        """
        with self._opening:
            if not self._is_open:
                self._open(buffer)
        if self._is_done or index in self.part.kept:
            return
        view = buffer[: self.part.span(index)[1]]
        try:
            self._fill(index, view, connections)
        except NoRanges as exc:
            self._fetch_whole(exc.why, buffer, connections)
            return
        # Before it is hashed: segments arrive in any order, and what a kill leaves is hashed again in any case.
        self.part.write(index, view)
        with self._turn:
            # The time-out: whoever stops the transfer does not know who waits here.
            while not self._turn.wait_for(lambda: self._next == index or self._is_done, timeout=1.0):
                if self._context.stop.is_set():
                    raise Stopped
        if not self._is_done:
            self._hash_segment(view)
            self._go_on(buffer)

    def _begin(self) -> None:
        """Forget what was hashed and counted."""
        self._begin_hash()
        self._count(-self._counted, arrived=False)

    def _begin_hash(self) -> None:
        self._next = 0
        self._sha256 = hashlib.sha256()
        # Git hashes a blob with its kind and size in front.
        self._git = hashlib.sha1(f"blob {self.file.size_bytes}\0".encode(), usedforsecurity=False)

    def _open(self, buffer: memoryview) -> None:
        if self._lock is None:
            # Another Job fetches it. Its turn comes last, when we hold the lock of nothing that this Job may wait for in turn.
            self._lock = self._context.store.acquire(content_lock(self.file.key), wait=True)
        self._is_open = True
        if self._is_there():
            return
        self.part.open()
        if self.part.kept:
            kept = sum(self.part.span(index)[1] for index in self.part.kept)
            say("resuming", path=self._paths[0], kept_bytes=kept, bytes=self.file.size_bytes)
            self._count(kept, arrived=False)
            self._go_on(buffer)

    def _is_there(self) -> bool:
        """Whether another Job has brought it meanwhile."""
        store, sha256 = self._context.store, self.file.digest
        if self.file.algorithm != "sha256" or not store.has(sha256, self.file.size_bytes):
            return False
        if not store.link(store.blob(sha256), self._context.staged, self._paths):
            return False
        discard(self.part.path)
        self._count(self.file.size_bytes, arrived=False)
        self._done(sha256)
        return True

    def _fill(self, index: int, view: memoryview, connections: Connections) -> None:
        """Have a segment's bytes in the view.

        Raises:
            PipelineError: They cannot be had within the budget.
            NoRanges: They can be had with the whole file only.
        """
        hub, path, size_bytes = self._context.hub, self._paths[0], self.file.size_bytes
        start, length = self.part.span(index)
        got, trial = 0, self._trial(index)
        while got < length:
            before, location, by_xet = got, None, self._by_xet
            try:
                location = hub.locate(path, connections)
                # The hub's own word, before a byte has come.
                if location.size_bytes not in (None, size_bytes):
                    raise SnapshotCorrupt(
                        f"{path} is not what the hub says it is: {location.size_bytes:,} bytes are offered, expected {size_bytes:,}."
                    )
                # From the very byte at which it broke off: the hub's client fetches chunks of 10 MiB anew.
                for count in self._bytes(location, start + got, view[got:], connections):
                    got += count
                    self._count(count)
                    if self._context.stop.is_set():
                        raise Stopped
            except NoRanges as exc:
                if location is None or location.xet is None:
                    raise
                self._turn_to_xet(exc.why)
            except Trouble as trouble:
                if got - before >= length * _PROGRESS_SHARE:
                    trial.progress()
                if trouble.stale and location is not None:
                    hub.forget(path, location)
                try:
                    trial.failed(trouble)
                except HubRejected:
                    # Plain GETs are refused for good, but the hub has the file in its own store, too.
                    if location is None or location.xet is None or by_xet:
                        raise
                    self._turn_to_xet("plain HTTP is refused")
                    trial = self._trial(index)

    def _bytes(self, location: Location, start: int, view: memoryview, connections: Connections) -> Iterator[int]:
        size_bytes = self.file.size_bytes
        if location.xet is not None and size_bytes > self._context.policy.plain_limit_bytes:
            self._turn_to_xet("it is too large for plain HTTP")
        if location.xet is not None and self._by_xet:
            return self._context.hub.xet.read(location.xet, start, view, size_bytes)
        return connections.read(location.url, start, view, size_bytes)

    def _turn_to_xet(self, why: str) -> None:
        """From here on have the file's bytes from the hub's own store."""
        if not self._by_xet:
            self._by_xet = True
            say("xet", path=self._paths[0], why=why)

    def _hash(self, view: memoryview) -> None:
        self._sha256.update(view)
        if self.file.algorithm == "git-sha1":
            self._git.update(view)

    def _hash_segment(self, view: memoryview) -> None:
        self._hash(view)
        with self._turn:
            self._next += 1
            self._turn.notify_all()

    def _go_on(self, buffer: memoryview) -> None:
        """Hash what an earlier process left next in line; after the last segment, conclude."""
        while self._next in self.part.kept:
            self._hash_segment(buffer[: self.part.read(self._next, buffer)])
        if self._next == self.part.segments:
            self._conclude()

    def _conclude(self) -> None:
        if self._is_right():
            # A content has its name only when its bytes are on the disk; the hub's client syncs nothing.
            self.part.sync()
            self.part.close()
            self._publish(self.part.path)
            return
        if not self.part.kept:  # bytes that an earlier process left say nothing against the hub
            self._tries += 1
        if self._tries > _MOST_TRIES:
            self.part.discard()
            raise self.corrupt()
        self._begin()
        self.part.distrust()
        self._context.again(self)

    def _fetch_whole(self, why: str, buffer: memoryview, connections: Connections) -> None:
        """Fetch the file in one piece, from a server that sends no parts, then hash all of it."""
        with self._leaving:
            # All segments under way meet the same answer: the first fetches the file, the others find it done.
            if self._is_done:
                return
            say("whole", path=self._paths[0], why=why)
            self.part.give_up()
            content, trial = whole_of(self.part.path), self._trial(None)
            while self._tries <= _MOST_TRIES:
                self._begin()
                self._next = -1  # nobody's turn: segments that still arrive are of no use
                try:
                    self._write_whole(content, buffer, connections)
                except Trouble as trouble:
                    trial.failed(trouble)
                    continue
                if self._is_right():
                    self._publish(content)
                    return
                content.unlink()
                self._tries += 1
            raise self.corrupt()

    def _write_whole(self, content: Path, buffer: memoryview, connections: Connections) -> None:
        hub, path = self._context.hub, self._paths[0]
        location = hub.locate(path, connections)
        try:
            with content.open("wb") as file:
                for view in connections.read_whole(location.url, buffer, self.file.size_bytes):
                    file.write(view)
                    self._hash(view)
                    self._count(len(view))
                    if self._context.stop.is_set():
                        raise Stopped
                file.flush()
                os.fsync(file.fileno())
        except Trouble as trouble:
            if trouble.stale:
                hub.forget(path, location)
            raise

    def _is_right(self) -> bool:
        digest = self._sha256 if self.file.algorithm == "sha256" else self._git
        return digest.hexdigest() == self.file.digest

    def _publish(self, content: Path) -> None:
        store, sha256 = self._context.store, self._sha256.hexdigest()
        store.adopt(content, sha256, self._context.staged, self._paths)
        discard(self.part.path)
        self._done(sha256)

    def _done(self, sha256: str) -> None:
        with self._turn:
            self._is_done = True
            self._turn.notify_all()
        if self._lock is not None:
            os.close(self._lock)
        self._context.finished(self.file, sha256)

    def _count(self, size_bytes: int, *, arrived: bool = True) -> None:
        with self._turn:
            self._counted += size_bytes
        self._context.progress.add(size_bytes, arrived=arrived)

    def _trial(self, _index: int | None) -> Trial:
        return Trial(self._context.policy.patience, f"{self._paths[0]} could not be fetched", self._context.stop)

    def corrupt(self) -> SnapshotCorrupt:
        """The error that it is not what the hub says."""
        found = self._sha256 if self.file.algorithm == "sha256" else self._git
        return SnapshotCorrupt(
            f"{self._paths[0]} is not what the hub says it is: {self.file.algorithm} {found.hexdigest()[:12]}…, expected "
            f"{self.file.digest[:12]}…, {_MOST_TRIES} times over; what came was deleted."
        )

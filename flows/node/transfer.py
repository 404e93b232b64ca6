"""Fetches contents over several connections at once: a queue of segments, and the threads that bring them."""

from __future__ import annotations

import mmap
import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from flows.node.hub import Hub
from flows.node.incoming import Incoming, TransferContext
from flows.node.missing import Missing
from flows.node.patience import Stopped
from flows.node.policy import TransferPolicy
from flows.node.report import Progress
from flows.node.snapshot import WantedFile
from flows.node.space import no_room
from flows.node.store import Store


class Transfer:
    """Brings contents into the store, and links each into the snapshot that is being put together.

    Args:
        store: The node's store.
        hub: Where they come from.
        staged: The snapshot's folder.
        missing: What is missing. What another Job fetches comes last: nobody waits for it who holds what that Job may wait for.
        policy: How.
        progress: Counts what comes.
    """

    def __init__(
        self, store: Store, hub: Hub, staged: Path, missing: Sequence[Missing], policy: TransferPolicy, progress: Progress
    ) -> None:
        self._context = TransferContext(
            store=store,
            hub=hub,
            staged=staged,
            policy=policy,
            progress=progress,
            stop=threading.Event(),
            again=partial(self._enqueue, first=True),
            finished=self._finished,
        )
        self._sha256: dict[str, str] = {}
        self._left = len(missing)
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._queue: deque[tuple[Incoming, int]] = deque()
        for each in sorted(missing, key=lambda each: each.lock is None):
            self._enqueue(Incoming(self._context, each))

    def run(self) -> dict[str, str]:
        """Bring everything; what each content hashed to (SHA-256), by its key. Says once a second how far it is.

        Raises:
            PipelineError: A content cannot be had; what came of it stays for the next attempt.
        """
        # Daemons: after a failure nobody waits for the ones that sit in a socket.
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._context.policy.connections)]
        for thread in threads:
            thread.start()
        with self._changed:
            while not self._changed.wait_for(lambda: self._left == 0 or self._failure is not None, timeout=0.25):
                self._context.progress.say()
        if self._failure is not None:
            raise self._failure
        for thread in threads:
            thread.join()
        return self._sha256

    def _enqueue(self, incoming: Incoming, *, first: bool = False) -> None:
        """Have all segments of a content fetched, in order; before everything else if it is `first`."""
        # In order: a thread waits with its segment until those before it are hashed, so the next one in line must be under way.
        items = [(incoming, index) for index in range(incoming.part.segments)]
        with self._changed:
            if first:
                self._queue.extendleft(reversed(items))
            else:
                self._queue.extend(items)
            self._changed.notify_all()

    def _finished(self, file: WantedFile, sha256: str) -> None:
        """Note that a content is in the store and in the snapshot."""
        with self._changed:
            self._sha256[file.key] = sha256
            self._left -= 1
            self._changed.notify_all()

    def _take(self) -> tuple[Incoming, int] | None:
        with self._changed:
            # An empty queue is not the end: a content whose hash was wrong comes again.
            self._changed.wait_for(lambda: self._queue or self._left == 0 or self._context.stop.is_set())
            return None if self._context.stop.is_set() or not self._queue else self._queue.popleft()

    def _work(self) -> None:
        connections = self._context.hub.connections()
        try:
            # Anonymous memory begins on a page, as direct writes ask for. It goes with the last view of it.
            buffer = memoryview(mmap.mmap(-1, self._context.policy.segment_bytes))
            with no_room(self._context.store):
                while (item := self._take()) is not None:
                    incoming, index = item
                    incoming.bring(index, buffer, connections)
        except Stopped:
            pass
        except BaseException as exc:  # noqa: BLE001  # run() raises it again
            with self._changed:
                # The first is the cause; the others only follow from it.
                self._failure = self._failure or exc
                self._context.stop.set()
                self._changed.notify_all()
        finally:
            connections.close()

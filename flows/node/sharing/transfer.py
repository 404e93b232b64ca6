"""Fetches contents from the hub and from other nodes at once: the threads that bring pieces, and how all of it ends."""

from __future__ import annotations

import hashlib
import mmap
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from blocks.errors import PipelineError
from flows.node.bodies import NoRanges
from flows.node.hub import Hub
from flows.node.incoming import Incoming, TransferContext
from flows.node.missing import Missing
from flows.node.patience import Stopped
from flows.node.policy import TransferPolicy
from flows.node.report import Progress, say
from flows.node.sharing.claims import Claim
from flows.node.sharing.content import Links, SharedContent, Superseded
from flows.node.sharing.peers import Asker, PeerBusy, PeerTrouble
from flows.node.sharing.sharing import Sharing, ask_piece, ask_work
from flows.node.snapshot import WantedFile
from flows.node.space import no_room
from flows.node.store import Store

#: How long a thread waits for something to do, in seconds.
_IDLE_SECONDS = 0.2

#: How long the hub is left alone when it has refused, in seconds.
_REFUSED_SECONDS = 2.0

_Found = TypeVar("_Found")


class SharedTransfer:
    """Brings contents into the store, and links each into the snapshot that is being put together.

    Args:
        store: The node's store.
        hub: Where they come from.
        staged: The snapshot's folder.
        missing: What is missing, each with its lock.
        policy: How.
        progress: Counts what comes.
        sharing: The others.
    """

    def __init__(
        self,
        store: Store,
        hub: Hub,
        staged: Path,
        missing: Sequence[Missing],
        policy: TransferPolicy,
        progress: Progress,
        sharing: Sharing,
    ) -> None:
        self._context = TransferContext(
            store=store,
            hub=hub,
            staged=staged,
            policy=policy,
            progress=progress,
            stop=threading.Event(),
            again=self._again,
            finished=self._finished,
        )
        self._sharing = sharing
        self._sha256: dict[str, str] = {}
        self._left = len(missing)
        self._failure: BaseException | None = None
        self._refusal: PipelineError | None = None
        self._numbers = {file.key: number for number, file in enumerate(sharing.contents)}
        self._contents = [SharedContent(self._context, each, self._links(each.file)) for each in missing]
        self._by_number = {self._numbers[each.file.key]: each for each in self._contents if each.file.key in self._numbers}

    def run(self) -> dict[str, str]:
        """Bring everything; what each content hashed to (SHA-256), by its key. Says once a second how far it is.

        Raises:
            PipelineError: A content cannot be had; what came of it stays for the next attempt.
        """
        policy = self._sharing.policy
        kinds: list[Callable[[memoryview], None]] = [
            self._begin,
            *[self._from_hub] * policy.hub_connections,
            *[self._from_peers] * policy.peer_connections,
        ]
        threads = [threading.Thread(target=self._work, args=(kind,), daemon=True) for kind in kinds]
        for thread in threads:
            thread.start()
        changed = self._sharing.changed
        with changed:
            while self._left and self._failure is None:
                changed.wait(timeout=0.25)
                self._context.progress.say()
                if self._refusal is not None and self._sharing.swarm.hopeless(time.monotonic()):
                    self._failure = self._refusal
        self._context.stop.set()
        if self._failure is not None:
            raise self._failure
        for thread in threads:
            thread.join()
        return self._sha256

    def _links(self, file: WantedFile) -> Links:
        sharing = self._sharing
        if file.key not in self._numbers:  # an empty one: nobody is told of it
            return Links()
        content = self._numbers[file.key]
        number = partial(sharing.pieces.number, content)

        def has_come(index: int) -> bool:
            with sharing.changed:
                return sharing.swarm.has_come(number(index), time.monotonic())

        def wrong(index: int, claim: Claim, sender: int) -> int:
            with sharing.changed:
                return sharing.swarm.wrong(number(index), claim, sender)

        def claimed(index: int, claim: Claim) -> None:
            with sharing.changed:
                sharing.swarm.claimed(number(index), claim)

        def lost(index: int) -> None:
            with sharing.changed:
                sharing.swarm.lost(number(index))

        def proven() -> None:
            with sharing.changed:
                sharing.swarm.proven(content)
                sharing.changed.notify_all()

        def kept(index: int) -> None:
            with sharing.changed:
                sharing.swarm.kept(number(index))

        return Links(
            has_come=has_come,
            wrong=wrong,
            claimed=claimed,
            lost=lost,
            brought=sharing.brought,
            proven=proven,
            kept=kept,
            rank=sharing.policy.rank,
        )

    def _work(self, kind: Callable[[memoryview], None]) -> None:
        try:
            # Anonymous memory begins on a page, as direct writes ask for. It goes with the last view of it.
            buffer = memoryview(mmap.mmap(-1, self._context.policy.segment_bytes))
            with no_room(self._context.store):
                kind(buffer)
        except Stopped:
            pass
        except BaseException as exc:  # noqa: BLE001  # run() raises it again
            with self._sharing.changed:
                # The first is the cause; the others only follow from it.
                self._failure = self._failure or exc
                self._context.stop.set()
                self._sharing.changed.notify_all()

    def _begin(self, buffer: memoryview) -> None:
        """Go on with what earlier processes left, and finish what has no bytes."""
        for content in self._contents:
            try:
                content.begin(buffer)
            except NoRanges as exc:
                self._in_one_piece(content, exc.why, buffer)

    def open(self) -> None:
        """Open all contents, and tell the swarm what lies in them; before anything else."""
        buffer = memoryview(bytearray(4096))
        for content in self._contents:
            content.open_shared(buffer)

    def _from_hub(self, buffer: memoryview) -> None:
        connections, asker = self._context.hub.connections(), self._sharing.asker()
        sharing = self._sharing
        try:
            while (piece := self._next(sharing.swarm.from_hub, partial(self._help, asker))) is not None:
                content, index, view = self._place(piece, buffer)
                try:
                    content.read_from_hub(index, view, connections)
                except NoRanges as exc:
                    with sharing.changed:
                        sharing.swarm.failed(piece)
                    self._in_one_piece(content, exc.why, buffer)
                except Superseded:
                    with sharing.changed:
                        sharing.swarm.failed(piece)
                except PipelineError as exc:
                    self._refused(piece, exc)
                else:
                    claim = Claim(sha256=hashlib.sha256(view).hexdigest(), origin=sharing.policy.rank)
                    self._arrived(piece, view, claim, None, buffer)
        finally:
            connections.close()
            asker.close()

    def _help(self, asker: Asker) -> int | None:
        """A piece that another has not come to, and leaves to this node."""
        with self._sharing.changed:
            rank = self._sharing.swarm.to_help(time.monotonic())
        return None if rank is None else ask_work(self._sharing, asker, rank)

    def _from_peers(self, buffer: memoryview) -> None:
        asker, sharing = self._sharing.asker(), self._sharing
        try:
            while (found := self._next(sharing.swarm.from_peer)) is not None:
                self._from_peer(*found, asker, buffer)
        finally:
            asker.close()

    def _from_peer(self, piece: int, rank: int, asker: Asker, buffer: memoryview) -> None:
        sharing = self._sharing
        _, _, view = self._place(piece, buffer)
        try:
            claim = ask_piece(sharing, asker, piece, rank, view, self._context.stop)
        except PeerTrouble as exc:
            with sharing.changed:
                sharing.swarm.stalled(piece, time.monotonic(), busy=isinstance(exc, PeerBusy))
            return
        sha256 = hashlib.sha256(view).hexdigest()
        with sharing.changed:
            # What it sends must be what it says now, and what it said before.
            expected = sharing.swarm.expected(piece, rank)
            if sha256 != claim.sha256 or (expected is not None and expected != claim):
                sharing.swarm.lied(piece)
                say("wrong", piece=piece, node=rank)
                return
            sharing.peer_bytes[rank] = sharing.peer_bytes.get(rank, 0) + len(view)
        self._arrived(piece, view, claim, rank, buffer)

    def _arrived(self, piece: int, view: memoryview, claim: Claim, sender: int | None, buffer: memoryview) -> None:
        content, index, _ = self._place(piece, buffer)
        if not content.keep(index, view, claim, sender):
            return
        with self._sharing.changed:
            self._sharing.swarm.got(piece, claim, time.monotonic())
            self._sharing.changed.notify_all()
        try:
            content.go_on(buffer, fresh=index)
        except NoRanges as exc:  # it was wrong, and the hub sends no parts (any more)
            self._in_one_piece(content, exc.why, buffer)

    def _in_one_piece(self, content: SharedContent, why: str, buffer: memoryview) -> None:
        sharing, number = self._sharing, self._numbers[content.file.key]
        with sharing.changed:
            sharing.swarm.alone(number)
        connections = self._context.hub.connections()
        try:
            content.fetch_whole(why, buffer, connections)
        finally:
            connections.close()
        sharing.forget(number)  # what lay there in pieces is another file

    def _refused(self, piece: int, error: PipelineError) -> None:
        with self._sharing.changed:
            self._sharing.swarm.hub_failed(piece, time.monotonic())
            self._refusal = error
        self._context.stop.wait(_REFUSED_SECONDS)

    def _next(self, choose: Callable[[float], _Found | None], otherwise: Callable[[], _Found | None] = lambda: None) -> _Found | None:
        """What is to be done next, as soon as there is something; none at the end. `otherwise` asks where that takes a while."""
        while self._left and not self._context.stop.is_set():
            with self._sharing.changed:
                found = choose(time.monotonic())
            if found is None:
                found = otherwise()
            if found is not None:
                return found
            with self._sharing.changed:
                self._sharing.changed.wait(timeout=_IDLE_SECONDS)
        return None

    def _place(self, piece: int, buffer: memoryview) -> tuple[SharedContent, int, memoryview]:
        content, index = self._sharing.pieces.place(piece)
        return self._by_number[content], index, buffer[: self._sharing.span(piece)[1]]

    def _again(self, incoming: Incoming) -> None:
        number = self._numbers.get(incoming.file.key)
        if number is None:  # an empty one, which has no pieces that could come otherwise
            incoming.part.discard()
            raise incoming.corrupt()
        self._sharing.forget(number)
        with self._sharing.changed:
            self._sharing.swarm.take_back(self._sharing.pieces.of(number))

    def _finished(self, file: WantedFile, sha256: str) -> None:
        with self._sharing.changed:
            self._sha256[file.key] = sha256
            self._left -= 1
            self._sharing.changed.notify_all()

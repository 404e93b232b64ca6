"""One content on its way, whose pieces come in any order from the hub and from other nodes, and are given on before it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from flows.node.http import Connections
from flows.node.incoming import Incoming, TransferContext
from flows.node.missing import Missing
from flows.node.patience import Trial, Trouble
from flows.node.report import say
from flows.node.sharing.claims import Claim


class Superseded(Exception):
    """Another node has the piece meanwhile, which the hub does not give."""


@dataclass(frozen=True, kw_only=True)
class Links:
    """What a content tells the swarm, each about a piece of its own.

    Attributes:
        has_come: Whether another has the piece meanwhile.
        wrong: The hub says otherwise of a piece than a claim of a sender; the rank of the node that is to blame.
        claimed: What a piece that is here hashes to: one that was wrong and is right now, or one of an earlier process.
        lost: A piece of an earlier process is not what that one noted.
        brought: So many bytes came from the hub.
        proven: It is whole.
        kept: Pieces that lie here from an earlier process.
        rank: This node's own.
    """

    has_come: Callable[[int], bool] = lambda _: False
    wrong: Callable[[int, Claim, int], int] = lambda _piece, _claim, sender: sender
    claimed: Callable[[int, Claim], None] = lambda _piece, _claim: None
    lost: Callable[[int], None] = lambda _: None
    brought: Callable[[int], None] = lambda _: None
    proven: Callable[[], None] = lambda: None
    kept: Callable[[int], None] = lambda _: None
    rank: int = 0


class SharedContent(Incoming):
    """A content on its way; its whole is hashed in order as far as its pieces are there.

    Args:
        context: What it shares with the others.
        missing: What is missing.
        links: What it tells the swarm.
    """

    def __init__(self, context: TransferContext, missing: Missing, links: Links) -> None:
        super().__init__(context, missing)
        self._links = links
        self._there: set[int] = set()
        #: Pieces that came from others, or from nobody knows whom: each with its claim and sender, until the whole is proven.
        self._foreign: dict[int, tuple[Claim, int] | None] = {}
        self._is_hashing = False
        self._is_contested = False

    def open_shared(self, buffer: memoryview) -> None:
        """Open it: what an earlier process left is there, though nobody knows whose it was."""
        with self._opening:
            self._open(buffer)
        for index in self.part.kept:
            if not self.part.noted.get(index):
                self._there.add(index)
                self._foreign[index] = None
            self._links.kept(index)

    def begin(self, buffer: memoryview) -> None:
        """Go on with what an earlier process left; an empty content is whole at once.

        What that process read from the hub itself it noted with its hash: if that is what lies here, it is given on.
        """
        for index, sha256 in sorted(self.part.noted.items()):
            if not sha256 or self._is_done or self._context.stop.is_set():
                continue
            view = buffer[: self.part.read(index, buffer)]
            if hashlib.sha256(view).hexdigest() != sha256:  # torn, as the node lost its power
                self._count(-len(view), arrived=False)
                self._links.lost(index)
                continue
            self._foreign[index] = None
            self._links.claimed(index, Claim(sha256=sha256, origin=self._links.rank))
            self.go_on(buffer, fresh=index)
        self.go_on(buffer, None if self.file.size_bytes else 0)

    def read_from_hub(self, index: int, view: memoryview, connections: Connections) -> None:
        """Have a piece's bytes from the hub.

        Raises:
            PipelineError: They cannot be had within the budget.
            NoRanges: They can be had with the whole file only.
            Superseded: Another has them meanwhile.
        """
        self._fill(index, view, connections)

    def fetch_whole(self, why: str, buffer: memoryview, connections: Connections) -> None:
        """Fetch it in one piece, as the hub sends no parts of it."""
        self._fetch_whole(why, buffer, connections)

    def keep(self, index: int, view: memoryview, claim: Claim, sender: int | None) -> bool:
        """Write a piece; false if the content was finished meanwhile.

        Args:
            index: Its number in the content.
            view: Its bytes, which hash to what the claim says.
            claim: What is claimed of it.
            sender: Who sent it; none for the hub.
        """
        if self._is_done:
            return False
        if sender is not None:
            self._foreign[index] = (claim, sender)
            super()._count(len(view))
        # Of what came from a third another process could not say whose word it is.
        self.part.write(index, view, claim.sha256 if sender is None else "")
        return True

    def go_on(self, buffer: memoryview, fresh: int | None = None) -> None:
        """Hash the whole as far as it is there; whoever hashes the last piece concludes.

        Args:
            buffer: The thread's own.
            fresh: A piece that was kept just now, and still is what the buffer holds.
        """
        with self._turn:
            if fresh is not None:
                self._there.add(fresh)
            if self._is_hashing or self._is_done or self._next not in self._there:
                return
            self._is_hashing = True
        view = buffer[: self.part.span(self._next)[1]]
        if fresh != self._next:
            self.part.read(self._next, view)
        while True:
            self._hash(view)
            with self._turn:
                self._next += 1
                if self._next == self.part.segments:
                    break
                if self._next not in self._there:
                    # Under the lock: whoever brings that piece finds nobody at it.
                    self._is_hashing = False
                    return
            view = buffer[: self.part.read(self._next, buffer)]
        self._conclude_shared(buffer)

    def _conclude_shared(self, buffer: memoryview) -> None:
        if not self._is_right() and self._foreign:
            self._is_contested = True
            self._ask_again(buffer)
            for index in range(self.part.segments):
                self._hash(buffer[: self.part.read(index, buffer)])
        self._is_hashing = False
        self._conclude()

    def _ask_again(self, buffer: memoryview) -> None:
        """Read from the hub what came from others, until what was wrong is found: whose it was is not asked again."""
        say("contested", path=self._paths[0], pieces=len(self._foreign))
        connections = self._context.hub.connections()
        try:
            for index, given in sorted(self._foreign.items()):
                view = buffer[: self.part.span(index)[1]]
                self._fill(index, view, connections)
                self._count(-len(view), arrived=False)
                sha256 = hashlib.sha256(view).hexdigest()
                if given is None or given[0].sha256 != sha256:
                    self.part.write(index, view)
                    if given is not None:
                        accused = self._links.wrong(index, *given)
                        say("wrong", path=self._paths[0], piece=index, node=accused)
                    self._links.claimed(index, Claim(sha256=sha256, origin=self._links.rank))
        finally:
            connections.close()
        self._foreign.clear()
        self.part.kept.clear()
        self._begin_hash()

    def _go_on(self, buffer: memoryview) -> None:
        """Nothing: it is gone on with when the swarm knows of it."""

    def _conclude(self) -> None:
        if not self._is_right():
            with self._turn:
                self._there.clear()
        super()._conclude()

    def _done(self, sha256: str) -> None:
        super()._done(sha256)
        self._links.proven()

    def _count(self, size_bytes: int, *, arrived: bool = True) -> None:
        super()._count(size_bytes, arrived=arrived)
        if arrived:
            self._links.brought(size_bytes)

    def _trial(self, index: int | None) -> Trial:
        # What is contested is asked of the hub and of nobody else, however many have it.
        if index is None or self._is_contested:
            return super()._trial(index)
        return _SharedTrial(self._context, self._paths[0], lambda: self._links.has_come(index))


class _SharedTrial(Trial):
    """Ends as soon as another has what is tried for."""

    def __init__(self, context: TransferContext, path: str, has_come: Callable[[], bool]) -> None:
        super().__init__(context.policy.patience, f"{path} could not be fetched", context.stop)
        self._has_come = has_come

    def failed(self, trouble: Trouble) -> None:
        if self._has_come():
            raise Superseded from trouble
        super().failed(trouble)

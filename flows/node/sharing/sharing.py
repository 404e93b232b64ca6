"""This node among those that share a snapshot: what it gives, and what it hears of the others, for as long as it is with them."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Collection, Sequence
from urllib.parse import urlencode

from blocks.errors import NodeRejected
from flows.node.sharing.claims import Claim, Pieces, Told
from flows.node.sharing.peers import Address, Asker, Listener, PeerTrouble
from flows.node.sharing.policy import SharePolicy
from flows.node.sharing.secret import client_context, server_context
from flows.node.sharing.server import Held, Server
from flows.node.sharing.swarm import Swarm
from flows.node.snapshot import Wanted, WantedFile
from flows.node.store import Store

#: A sender is silent for so long at most, in seconds: then the piece is asked of another.
_SILENT_SECONDS = 10.0

#: A thread's stack: the default reserves 8 MiB, which counts where memory is limited by address space.
_STACK_BYTES = 1 << 19


class Sharing:
    """One node's place among those that share a snapshot. All of it may be called by several threads.

    Args:
        store: The node's store.
        wanted: The snapshot.
        policy: Who shares, and how.
        piece_bytes: How contents are divided; the same on each node.

    Attributes:
        name: Names snapshot and division: who has another one is not spoken to.
        contents: One file of each content that has bytes, in the order in which all nodes number them.
        pieces: How they are divided.
        changed: Notified when there may be something to do. To be held around whatever is done to the swarm.
        hub_bytes: Bytes that came from the hub.
        peer_bytes: Bytes that came from each of the others, by its rank.

    Raises:
        NodeRejected: The secret or the port cannot be had.
    """

    def __init__(self, store: Store, wanted: Wanted, policy: SharePolicy, piece_bytes: int) -> None:
        self.policy = policy
        self.name = f"{wanted.digest[:32]}-{piece_bytes}"
        by_key = {file.key: file for file in wanted.files if file.size_bytes}
        self.contents: Sequence[WantedFile] = [by_key[key] for key in sorted(by_key)]
        self.pieces = Pieces([-(-file.size_bytes // piece_bytes) for file in self.contents])
        self.changed = threading.Condition()
        self.hub_bytes = 0
        self.peer_bytes: dict[int, int] = {}
        self._store, self._wanted, self._piece_bytes = store, wanted, piece_bytes
        self._life = secrets.token_hex(8)
        self._swarm: Swarm | None = None
        self._places: dict[int, Address] = {}
        self._knowing: set[int] = set()
        self._files: dict[int, int] = {}
        self._hashes: dict[int, Claim] = {}
        self._client = client_context(policy.secret)
        self._server_context = server_context(policy.secret)
        self._server: Server | None = None
        self._listener: Listener | None = None

    @property
    def swarm(self) -> Swarm:
        """The rules; `changed` is to be held. Only after `begin`."""
        assert self._swarm is not None  # noqa: S101
        return self._swarm

    def begin(self, missing: Collection[str], whole: Collection[str]) -> None:
        """Listen, and hear the others.

        Args:
            missing: Keys of the contents that this node brings.
            whole: Keys of those that it has.
        """
        policy = self.policy
        numbers = {file.key: number for number, file in enumerate(self.contents)}
        self._swarm = Swarm(
            policy.rank,
            policy.nodes,
            self.pieces,
            life=self._life,
            wanted=[numbers[key] for key in missing if key in numbers],
            whole=[numbers[key] for key in whole if key in numbers],
            policy=policy.swarm,
            now=time.monotonic(),
        )
        threading.stack_size(_STACK_BYTES)
        try:
            self._server = Server(self, policy.bind, self._server_context, policy.bytes_per_second, 2 * policy.nodes + 32)
        except OSError as exc:
            raise NodeRejected(f"The port {policy.bind[1]}, on which nodes share, cannot be had ({exc.strerror or exc}).") from exc
        self._listener = Listener(policy.names, self.asker, self._hear, self._lost, policy.pause_seconds, 2 * policy.nodes + 8)

    def complete(self) -> None:
        """The snapshot lies here."""
        with self.changed:
            self.swarm.complete = True
            for content in range(len(self.contents)):  # another Job of this node may have brought some of them
                self.swarm.proven(content)

    def linger(self, until: float) -> None:
        """Give, until nobody may need it any more, or until then (on `time.monotonic`)."""
        while time.monotonic() < until:
            with self.changed:
                if self._may_leave(time.monotonic()):
                    return
            time.sleep(self.policy.poll_seconds / 3)

    def _may_leave(self, now: float) -> bool:
        # Each is told first that this node is done, and need not wait for it in turn: unless it is gone, and nobody knows how far it came.
        swarm, longest = self.swarm, self.policy.swarm.linger_seconds
        return swarm.may_leave(now) and all(
            other.rank in self._knowing or other.heard_at is None or now - other.heard_at > longest for other in swarm.others
        )

    def close(self) -> None:
        """Neither give nor hear any longer."""
        if self._listener is not None:
            self._listener.close()
        if self._server is not None:
            self._server.close()

    def asker(self) -> Asker:
        """What one thread asks others with."""
        return Asker(self.name, self._client, _SILENT_SECONDS, self.policy.bind[0])

    def place(self, rank: int) -> Address | None:
        """Where another was heard last."""
        return self._places.get(rank)

    def span(self, piece: int) -> tuple[int, int]:
        """A piece's offset in its content, and its length."""
        content, index = self.pieces.place(piece)
        start = index * self._piece_bytes
        return start, min(self._piece_bytes, self.contents[content].size_bytes - start)

    def told(self, rank: int, life: str, since: int, *, complete: bool, host: str) -> Told:
        """What another is told, and that it is done if it says so."""
        if self._listener is not None and rank not in self._places and rank != self.policy.rank and 0 <= rank < self.policy.nodes:
            self._listener.meet((host.removeprefix("::ffff:"), self.policy.bind[1]))
        with self.changed:
            if complete and rank != self.policy.rank and 0 <= rank < self.policy.nodes:
                self.swarm.others[rank].complete = True
            return self.swarm.told(since, life)

    def knows(self, rank: int) -> None:
        """Another was sent that this node is done."""
        if rank != self.policy.rank and 0 <= rank < self.policy.nodes:
            with self.changed:
                self._knowing.add(rank)

    def work(self, rank: int) -> int | None:
        """A piece that is left to another, which asks for work."""
        if rank == self.policy.rank or not 0 <= rank < self.policy.nodes:
            return None
        with self.changed:
            return self.swarm.leave(rank, time.monotonic())

    def held(self, piece: int) -> Held | None:
        """A piece of ours; the hash of one that was proven with its whole is taken when it is first asked for."""
        if piece >= self.pieces.count:
            return None
        with self.changed:
            if not self.swarm.gives(piece):
                return None
            claim = self.swarm.claim_of(piece) or self._hashes.get(piece)
            is_whole = self.swarm.has_whole(piece)
        file = self._file(self.pieces.content(piece), is_whole=is_whole)
        if file is None:
            return None
        start, length = self.span(piece)
        if claim is None:
            claim = self._hashes[piece] = Claim(sha256=_hash(file, start, length), origin=self.policy.rank)
        return Held(file=file, start=start, length=length, claim=claim)

    def brought(self, size_bytes: int) -> None:
        """So many bytes came from the hub."""
        with self.changed:
            self.hub_bytes += size_bytes

    def forget(self, content: int) -> None:
        """The file of a content is another one from now on."""
        self._files.pop(content, None)

    def _file(self, content: int, *, is_whole: bool) -> int | None:
        if content in self._files:
            return self._files[content]
        file = self.contents[content]
        # The snapshot's folder only if it was, or will be, put together of what was proven: one that a scrub condemned still has its files.
        folders = (self._store.staging(self._wanted), self._store.folder(self._wanted))
        paths = [folder / file.path for folder in folders] if is_whole else [self._store.parts / file.key, folders[0] / file.path]
        for path in paths:
            try:
                # Never closed: whoever is sent a piece of it may read on. What the path leads to later is the same file.
                return self._files.setdefault(content, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                continue
        return None

    def _hear(self, asker: Asker, address: Address) -> bool:
        with self.changed:
            # Of whom lives there nothing is known before it has answered.
            rank = next((rank for rank, place in self._places.items() if place == address), None)
            other = self.swarm.others[rank] if rank is not None else None
            complete = self.swarm.complete
            asked: dict[str, int | str] = {"rank": self.policy.rank, "complete": int(complete)}
            asked |= {"life": other.life, "since": other.read} if other is not None else {"life": "", "since": 0}
        told = asker.told(address, urlencode(asked), self.policy.nodes, self.pieces)
        if told.rank == self.policy.rank:
            return told.life != self._life
        with self.changed:
            self._places[told.rank] = address
            self.swarm.heard(told, time.monotonic())
            if complete:
                self._knowing.add(told.rank)
            self.changed.notify_all()
        return True

    def _lost(self, address: Address) -> None:
        with self.changed:
            for rank, place in self._places.items():
                # It left when it was done: nobody waits for it.
                if place == address and self.swarm.others[rank].complete:
                    self._knowing.add(rank)


def ask_piece(sharing: Sharing, asker: Asker, piece: int, rank: int, view: memoryview, stop: threading.Event) -> Claim:
    """Have a piece from another; errors as of `Asker.piece`."""
    place = sharing.place(rank)
    if place is None:
        raise PeerTrouble("it was never heard")
    return asker.piece(place, piece, view, sharing.policy.nodes, stop.is_set)


def ask_work(sharing: Sharing, asker: Asker, rank: int) -> int | None:
    """The piece that another leaves to this node, which is being read by it from now; none if it has none."""
    place = sharing.place(rank)
    try:
        piece = asker.work(place, sharing.policy.rank, sharing.pieces) if place is not None else None
    except PeerTrouble:
        return None
    if piece is None:
        return None
    with sharing.changed:
        return piece if sharing.swarm.helps(piece, rank, time.monotonic()) else None


def _hash(file: int, start: int, length: int) -> str:
    sha256, done = hashlib.sha256(), 0
    buffer = memoryview(bytearray(min(1 << 20, length)))
    while done < length and (count := os.preadv(file, [buffer[: length - done]], start + done)):
        sha256.update(buffer[:count])
        done += count
    return sha256.hexdigest()

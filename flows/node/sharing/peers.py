"""The asking end: finds the others by name, hears what each has, and reads pieces from them."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from flows.node.sharing.claims import Claim, Pieces, Told
from flows.node.sharing.secret import TimedSocket
from flows.node.sharing.server import ORIGIN, SHA256

#: What is read of one answer about claims: twice what the longest that we make takes.
_MOST_BYTES = 1 << 20

#: Bytes that are asked of the socket at a time.
_CHUNK_BYTES = 1 << 18

#: Connections that one thread keeps open.
_MOST_KEPT = 8

#: Between two looks at the names, in seconds.
_RESOLVE_SECONDS = 1.0

Address = tuple[str, int]


class PeerTrouble(Exception):
    """Another did not send what it was asked for."""


class PeerBusy(PeerTrouble):
    """Another has the piece, and no turn for one more that asks."""


class Asker:
    """Asks others, over connections that it keeps. Not for several threads.

    Args:
        name: The snapshot's.
        context: TLS.
        timeout_seconds: Longest silence.
        own: The address that is asked from: others know by it where to ask back.
    """

    def __init__(self, name: str, context: ssl.SSLContext, timeout_seconds: float, own: str) -> None:
        self._name = name
        self._source = (own, 0) if own not in ("0.0.0.0", "::") else None  # noqa: S104
        self._context = context
        self._timeout = timeout_seconds
        self._open: dict[Address, http.client.HTTPSConnection] = {}

    def told(self, address: Address, query: str, nodes: int, pieces: Pieces) -> Told:
        """What a node says of itself.

        Raises:
            PeerTrouble: It did not answer, or not with that.
        """
        try:
            return Told.of(self._document(address, f"told?{query}"), nodes, pieces)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self._close(address)
            raise PeerTrouble(str(exc)) from exc

    def work(self, address: Address, rank: int, pieces: Pieces) -> int | None:
        """The piece that a node leaves to this one; none if it has none.

        Raises:
            PeerTrouble: It did not answer, or not with that.
        """
        try:
            left = self._document(address, f"work?rank={rank}").get("piece")
            if left is not None and (type(left) is not int or not 0 <= left < pieces.count):
                raise ValueError("no piece")
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self._close(address)
            raise PeerTrouble(str(exc)) from exc
        return left

    def piece(self, address: Address, number: int, view: memoryview, nodes: int, stopped: Callable[[], bool]) -> Claim:
        """Read a piece into the whole view; what is claimed of it.

        Raises:
            PeerTrouble: It did not come.
        """
        try:
            with self._get(address, f"/{self._name}/pieces/{number}") as answer:
                if answer.length != len(view):
                    raise ValueError("of another length")
                claim = Claim.of(answer.headers.get(SHA256, ""), answer.headers.get(ORIGIN, ""), nodes)
                got = 0
                while got < len(view):
                    count = answer.readinto(view[got : got + _CHUNK_BYTES])
                    if not count or stopped():
                        raise ValueError("not all of it")
                    got += count
                    self._allow(address)
            return claim
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self._close(address)
            raise PeerTrouble(str(exc)) from exc

    def close(self) -> None:
        """Close all connections."""
        for address in list(self._open):
            self._close(address)

    def _document(self, address: Address, asked: str) -> dict[str, Any]:
        with self._get(address, f"/{self._name}/{asked}") as answer:
            body = answer.read(_MOST_BYTES)
            if not answer.isclosed():
                raise ValueError("too long")
        try:
            document = json.loads(body)
        except RecursionError as exc:
            raise ValueError("nested without end") from exc
        if not isinstance(document, dict):
            raise ValueError("no word of a node")
        return document

    def _get(self, address: Address, target: str) -> http.client.HTTPResponse:
        connection = self._open.pop(address, None)
        fresh = connection is None
        if connection is None:
            while len(self._open) >= _MOST_KEPT:
                self._close(next(iter(self._open)))
            connection = http.client.HTTPSConnection(*address, timeout=self._timeout, context=self._context, source_address=self._source)
        self._open[address] = connection  # the last one is dropped last
        try:
            if connection.sock is None:
                connection.connect()
            self._allow(address)
            connection.request("GET", target)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):
            self._close(address)
            if fresh:
                raise
            return self._get(address, target)  # one that was kept may have been closed by the other side long ago
        if answer.status == 503:
            self._close(address)
            raise PeerBusy("it sends to others")
        if answer.status != 200:
            raise ValueError(f"HTTP {answer.status}")
        return answer

    def _allow(self, address: Address) -> None:
        """What is read next from there, a head, a document or a part of a piece, must be whole in the time of the longest silence."""
        connection = self._open.get(address)
        if connection is not None and isinstance(connection.sock, TimedSocket):
            connection.sock.ends_at = time.monotonic() + self._timeout

    def _close(self, address: Address) -> None:
        connection = self._open.pop(address, None)
        if connection is not None:
            connection.close()


class Listener:
    """Hears all others, each in a thread of its own, for as long as it is not closed.

    Args:
        names: Where they are.
        asker: Makes what asks them, for each thread.
        hear: Asks one, and takes in what it says; false if it is this node itself.
        lost: Called when one does not answer.
        poll_seconds: Between two questions.
        most: Addresses that are asked at most.
    """

    def __init__(
        self,
        names: Sequence[Address],
        asker: Callable[[], Asker],
        hear: Callable[[Asker, Address], bool],
        lost: Callable[[Address], None],
        poll_seconds: float,
        most: int,
    ) -> None:
        self._names, self._asker, self._hear, self._lost = names, asker, hear, lost
        self._poll_seconds = poll_seconds
        self._most = most
        self._closed = threading.Event()
        self._found: set[Address] = set()
        self._met: set[Address] = set()
        self._asked: set[Address] = set()
        threading.Thread(target=self._resolve, daemon=True).start()

    def meet(self, address: Address) -> None:
        """Ask that one, too: it has asked us, and its name may not be known yet."""
        self._met.add(address)

    def close(self) -> None:
        """Stop asking."""
        self._closed.set()

    def _resolve(self) -> None:
        while not self._closed.is_set():
            found: set[Address] = set()
            for host, port in self._names:
                try:
                    found |= {(str(info[4][0]), port) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
                except OSError:
                    continue  # no pod has an address yet
            found |= self._met
            self._found = found
            for address in sorted(found - self._asked)[: max(0, self._most - len(self._asked))]:
                self._asked.add(address)
                threading.Thread(target=self._follow, args=(address,), daemon=True).start()
            self._closed.wait(_RESOLVE_SECONDS)

    def _follow(self, address: Address) -> None:
        asker = self._asker()
        failing_since: float | None = None
        while not self._closed.is_set():
            try:
                if not self._hear(asker, address):
                    return  # ourselves: never asked again
                failing_since = None
            except PeerTrouble:
                self._lost(address)
                failing_since = failing_since or time.monotonic()
                # A pod that is gone has no name any more; another one may get its address.
                self._met.discard(address)
                if address not in self._found and time.monotonic() - failing_since > _RESOLVE_SECONDS:
                    break
            self._closed.wait(self._poll_seconds if failing_since is None else 2 * self._poll_seconds)
        asker.close()
        self._asked.discard(address)

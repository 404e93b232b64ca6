"""Another node may hold the key and say or send anything: whoever asks it ends in time, and in trouble that is foreseen."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

import pytest

from flows.node.sharing.claims import Claim, Pieces, Told
from flows.node.sharing.peers import Asker, PeerBusy, PeerTrouble
from flows.node.sharing.secret import client_context, server_context
from flows.node.sharing.server import Held, Server
from flows.weights.secret import share_secret
from tests.support.waiting import HANGS_SECONDS

PIECES = Pieces([3])
DRIP_SECONDS = 0.03
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
DRIPS = int(2 * HANGS_SECONDS / DRIP_SECONDS)
Answers = Callable[[bytes], Iterator[bytes]]


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secret")
    for name, text in share_secret().items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def peer(secret: Path) -> Iterator[Callable[..., tuple[Asker, tuple[str, int]]]]:
    with ExitStack() as stack:

        def make(answers: Answers, patience_seconds: float = 10) -> tuple[Asker, tuple[str, int]]:
            listening = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))

            def serve() -> None:
                try:
                    while True:
                        with server_context(secret).wrap_socket(listening.accept()[0], server_side=True) as connection:
                            for part in answers(connection.recv(65536)):
                                connection.sendall(part)
                except OSError:
                    pass

            threading.Thread(target=serve, daemon=True).start()
            asker = Asker("name", client_context(secret), patience_seconds, "127.0.0.1")
            stack.callback(asker.close)
            return asker, listening.getsockname()

        yield make


def dripped(data: bytes) -> Iterator[bytes]:
    for byte in data:
        yield bytes([byte])
        time.sleep(DRIP_SECONDS)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
        b"\xff\xfe",
        b"NaN",
        b'{"rank":0}',
        json.dumps({"rank": 1, "life": "\ud800", "begin": 0, "claims": [], "reading": [], "whole": [], "complete": False}).encode(),
    ],
)
def test_whatever_it_says_is_trouble_and_nothing_worse(peer: Callable[..., tuple[Asker, tuple[str, int]]], body: bytes) -> None:
    asker, address = peer(lambda _: iter([HEAD % len(body), body]))

    with pytest.raises(PeerTrouble):
        asker.told(address, "", 2, PIECES)
    if b"rank" not in body:
        with pytest.raises(PeerTrouble):
            asker.work(address, 0, PIECES)


@pytest.mark.parametrize("what", ["head", "document", "piece"])
def test_one_that_sends_a_byte_now_and_then_is_silent(peer: Callable[..., tuple[Asker, tuple[str, int]]], what: str) -> None:
    said = {
        "head": b"HTTP/1.1 200 OK\r\nX-Long: " + b"1" * DRIPS,
        "document": HEAD % DRIPS + b" " * DRIPS,
        "piece": b"x" * DRIPS,
    }[what]
    head = HEAD[:-2] % DRIPS + b"X-Slipway-Sha256: " + b"a" * 64 + b"\r\nX-Slipway-Origin: 0\r\n\r\n"
    asker, address = peer(
        lambda _: dripped(said) if what != "piece" else (part for parts in ([head], dripped(said)) for part in parts), 0.3
    )
    begun = time.monotonic()

    asked: Callable[[], object] = partial(asker.work, address, 0, PIECES)
    if what == "piece":
        asked = partial(asker.piece, address, 0, memoryview(bytearray(DRIPS)), 2, lambda: False)
    # All of it would take twice as long as what hangs. A busy machine may be silent itself: that is trouble in other words.
    with pytest.raises(PeerTrouble):
        asked()
    assert time.monotonic() - begun < HANGS_SECONDS


def test_one_that_is_busy_is_told_from_one_that_fails(peer: Callable[..., tuple[Asker, tuple[str, int]]]) -> None:
    asker, address = peer(lambda _: iter([b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n"]))

    with pytest.raises(PeerBusy):
        asker.piece(address, 0, memoryview(bytearray(5)), 2, lambda: False)


class Holder:
    """Has nothing, and counts who asks."""

    name = "name"
    asked = 0

    def told(self, rank: int, life: str, since: int, *, complete: bool, host: str) -> Told:
        self.asked += 1
        return Told(
            rank=0,
            life="x",
            begin=0,
            claims=[(0, Claim(sha256="a" * 64, origin=0))],
            reading=frozenset(),
            whole=frozenset(),
            complete=False,
        )

    def knows(self, rank: int) -> None:
        raise AssertionError("it is not done")

    def work(self, rank: int) -> int | None:
        self.asked += 1
        return None

    def held(self, piece: int) -> Held | None:
        self.asked += 1
        return None


def test_whoever_has_no_key_or_another_release_s_is_told_nothing(secret: Path, tmp_path: Path) -> None:
    for name, text in share_secret().items():
        (tmp_path / name).write_text(text)
    holder = Holder()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        bind = free.getsockname()
    server = Server(holder, bind, server_context(secret), None, 4)
    try:
        for folder in (tmp_path, secret):
            asker = Asker("name", client_context(folder), 2, "127.0.0.1")
            if folder == secret:
                assert asker.told(bind, "rank=1&since=0", 2, PIECES).rank == 0
            else:
                with pytest.raises(PeerTrouble):
                    asker.told(bind, "rank=1&since=0", 2, PIECES)
            asker.close()
        with socket.create_connection(bind) as stranger, suppress(ConnectionError):
            stranger.sendall(b"GET /name/told?rank=1&since=0 HTTP/1.1\r\n\r\n")
            stranger.settimeout(5)
            assert b"life" not in stranger.recv(4096)
        assert holder.asked == 1
    finally:
        server.close()


def test_a_question_that_is_none_gets_no_byte(secret: Path) -> None:
    numbers = ("-1", "3", "9" * 30, "..%2f..%2fetc%2fpasswd", "../../../etc/passwd", "\u00c2\u00b2", "0/", "+0", "0x0")
    targets = [f"/name/pieces/{number}" for number in numbers]
    targets += ["/other/pieces/0", "//[", "/name/told?rank=x&since=0", "/name/told", "/name/work"]
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        bind = free.getsockname()
    server = Server(Holder(), bind, server_context(secret), None, 4)
    try:
        for target in targets:
            with socket.create_connection(bind) as plain, client_context(secret).wrap_socket(plain) as connection:
                connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1"))
                answer = connection.recv(4096)
                assert answer == b"" or answer.split()[1] in (b"400", b"404"), (target, answer)
    finally:
        server.close()

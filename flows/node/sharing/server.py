"""The sending end: what this node has, over TLS, to those that hold the snapshot's key, and at a pace."""

from __future__ import annotations

import errno
import http.server
import json
import os
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from flows.node.sharing.bucket import Bucket
from flows.node.sharing.claims import Claim, Told

#: Sent at a time: what waits for the bucket, and what a thread has in memory.
_CHUNK_BYTES = 1 << 18

#: Pieces that are sent at a time, and how long another waits for its turn, in seconds.
_MOST_SENDS = 16
_TURN_SECONDS = 5.0

#: How long a stranger may take to prove that it is none, and a silent connection is kept, in seconds.
_HANDSHAKE_SECONDS = 5.0
_SILENT_SECONDS = 30.0

#: Headers of a piece: its claim.
SHA256, ORIGIN = "X-Slipway-Sha256", "X-Slipway-Origin"


@dataclass(frozen=True, kw_only=True)
class Held:
    """A piece that lies here.

    Attributes:
        file: A descriptor to read from; open for as long as the program runs.
        start: Where in the file.
        length: How long.
        claim: What it hashes to, and by whose word.
    """

    file: int
    start: int
    length: int
    claim: Claim


class Holder(Protocol):
    """Whoever has the pieces."""

    name: str

    def told(self, rank: int, life: str, since: int, *, complete: bool, host: str) -> Told:
        """What another at that address is told that has read so many claims of this life; `complete` is what it says of itself."""

    def knows(self, rank: int) -> None:
        """Another, which is done, was sent that this node is, too."""

    def work(self, rank: int) -> int | None:
        """A piece that is left to another, which asks for work; none if there is none."""

    def held(self, piece: int) -> Held | None:
        """The piece, if it may be given."""


class Server:
    """Listens and answers until it is closed.

    Args:
        holder: Whose pieces are sent.
        bind: Address and port.
        context: TLS.
        bytes_per_second: The most that is sent to all together; none for no limit.
        most_connections: More than that are closed at once.

    Raises:
        OSError: The port cannot be had.
    """

    def __init__(
        self, holder: Holder, bind: tuple[str, int], context: ssl.SSLContext, bytes_per_second: float | None, most_connections: int
    ) -> None:
        bucket, sends = Bucket(bytes_per_second), threading.BoundedSemaphore(_MOST_SENDS)

        class Handler(_Handler):
            pass

        Handler.holder, Handler.bucket, Handler.sends = holder, bucket, sends
        try:
            self._server = _Listener(bind, Handler, context, most_connections)
        except OSError as exc:
            # A kernel without IPv6 has no address for everybody but the old one.
            if bind[0] != "::" or exc.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            self._server = _Listener(("0.0.0.0", bind[1]), Handler, context, most_connections)  # noqa: S104
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.5}, daemon=True).start()

    def close(self) -> None:
        """Stop listening; who is sent a piece gets it whole, if the program lives so long."""
        self._server.shutdown()
        self._server.server_close()


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, bind: tuple[str, int], handler: type[_Handler], context: ssl.SSLContext, most_connections: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in bind[0] else socket.AF_INET
        super().__init__(bind, handler)
        self._context = context
        self._places = threading.BoundedSemaphore(most_connections)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the DNS for this host's name.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        # Whatever serves on this node comes first; the kernel ranks a thread's disk by the same number (ioprio_set(2)).
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        # Here, in a thread of its own: a stranger that says nothing holds nobody up.
        request.settimeout(_HANDSHAKE_SECONDS)
        with self._context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: strangers, and nodes that are killed, break their connections."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "slipway", ""
    timeout = _SILENT_SECONDS
    disable_nagle_algorithm = True
    holder: Holder
    bucket: Bucket
    sends: threading.BoundedSemaphore

    def do_GET(self) -> None:
        """`/NAME/told?rank=&life=&since=&complete=`, `/NAME/work?rank=` and `/NAME/pieces/NUMBER`; NAME is the snapshot's."""
        address = urlsplit(self.path)
        asked = {key: values[0] for key, values in parse_qs(address.query).items()}
        match address.path.split("/"):
            case ["", name, "told"] if name == self.holder.name:
                self._tell(asked)
            case ["", name, "work"] if name == self.holder.name:
                self._leave(asked)
            case ["", name, "pieces", number] if name == self.holder.name and number.isascii() and number.isdigit() and len(number) < 12:
                self._send(int(number))
            case _:
                self._refuse(404)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the last line of the log is the program's own."""

    def _tell(self, asked: dict[str, str]) -> None:
        try:
            rank, since = int(asked["rank"][:9]), int(asked["since"][:12])
            complete, host = asked.get("complete") == "1", str(self.client_address[0])
            told = self.holder.told(rank, asked.get("life", ""), since, complete=complete, host=host)
        except (KeyError, ValueError):
            self._refuse(400)
            return
        self._answer(told.document())
        # Not before: who is done leaves when all know of it, and the answer would go with its process.
        if told.complete and complete:
            self.holder.knows(rank)

    def _leave(self, asked: dict[str, str]) -> None:
        try:
            piece = self.holder.work(int(asked["rank"][:9]))
        except (KeyError, ValueError):
            self._refuse(400)
            return
        self._answer({"piece": piece})

    def _answer(self, document: dict[str, Any]) -> None:
        body = json.dumps(document, separators=(",", ":")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send(self, piece: int) -> None:
        if not self.sends.acquire(timeout=_TURN_SECONDS):
            self._refuse(503)
            return
        try:
            held = self.holder.held(piece)
            if held is None:
                self._refuse(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(held.length))
            self.send_header(SHA256, held.claim.sha256)
            self.send_header(ORIGIN, str(held.claim.origin))
            self.end_headers()
            self._send_bytes(held)
        finally:
            self.sends.release()

    def _send_bytes(self, held: Held) -> None:
        done = 0
        buffer = memoryview(bytearray(min(_CHUNK_BYTES, held.length)))
        while done < held.length:
            count = os.preadv(held.file, [buffer[: held.length - done]], held.start + done)
            if count == 0:  # cut short by somebody: the other side sees that bytes are missing
                self.close_connection = True
                return
            self.bucket.take(count)
            self.connection.sendall(buffer[:count])
            done += count

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

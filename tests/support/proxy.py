"""A forward proxy, as companies have them: with a user and a password, for plain HTTP and, by CONNECT, for TLS."""

from __future__ import annotations

import base64
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

from tests.support.waiting import HANGS_SECONDS

_CHUNK_BYTES = 1 << 18


class Proxy(socketserver.ThreadingTCPServer):
    """One proxy on this machine.

    Args:
        user: The user that it lets through, with a password; none lets everybody.

    Attributes:
        asked: The origins that it was asked for, as `http://HOST:PORT`; of tunnels, `HOST:PORT`.
        refused: How many requests had no user, or another.
        credentials: What followed `Proxy-Authorization: ` where that went on to an origin; it must not.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, user: tuple[str, str] | None = None) -> None:
        self.asked: list[str] = []
        self.refused = 0
        self.user = user
        super().__init__(("127.0.0.1", 0), _Connection)

    @property
    def url(self) -> str:
        """Its address, with user and password."""
        known = f"{quote(self.user[0], safe='')}:{quote(self.user[1], safe='')}@" if self.user else ""
        return f"http://{known}127.0.0.1:{self.server_address[1]}"

    @contextmanager
    def served(self) -> Iterator[Proxy]:
        """Serve while the block runs."""
        with self:
            threading.Thread(target=self.serve_forever, daemon=True).start()
            yield self
            self.shutdown()


class _Connection(socketserver.StreamRequestHandler):
    server: Proxy
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with_origin: dict[str, tuple[socket.socket, object]] = {}
        try:
            while self._request(with_origin):
                pass
        except OSError:
            return
        finally:
            for origin, _ in with_origin.values():
                origin.close()

    def _request(self, origins: dict[str, tuple[socket.socket, object]]) -> bool:
        """Serve one request; whether another may follow."""
        line, headers = _head(self.rfile)
        if not line:
            return False
        method, target, version = line.split(" ", 2)
        if not self._known(headers):
            self.server.refused += 1
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        if method == "CONNECT":
            self.server.asked.append(target)
            self._tunnel(target)
            return False
        address = urlsplit(target)
        self.server.asked.append(f"{address.scheme}://{address.netloc}")
        if address.netloc not in origins:
            opened = socket.create_connection((address.hostname or "", address.port or 80), timeout=HANGS_SECONDS)
            origins[address.netloc] = opened, opened.makefile("rb")
        origin, answers = origins[address.netloc]
        path = f"{address.path or '/'}{'?' if address.query else ''}{address.query}"
        kept = [f"{name}: {value}" for name, value in headers if not name.lower().startswith("proxy-")]
        origin.sendall("\r\n".join([f"{method} {path} {version}", *kept, "", ""]).encode("latin-1"))
        status, said = _head(answers)
        self.wfile.write("\r\n".join([status, *(f"{name}: {value}" for name, value in said), "", ""]).encode("latin-1"))
        length = next((int(value) for name, value in said if name.lower() == "content-length"), 0)
        left = 0 if method == "HEAD" or status.split(" ")[1] in ("204", "304") else length
        while left:
            chunk = answers.read1(min(left, _CHUNK_BYTES))  # type: ignore[attr-defined]
            if not chunk:
                return False
            self.wfile.write(chunk)
            left -= len(chunk)
        return True

    def _known(self, headers: list[tuple[str, str]]) -> bool:
        if self.server.user is None:
            return True
        wanted = "Basic " + base64.b64encode(":".join(self.server.user).encode()).decode()
        return any(name.lower() == "proxy-authorization" and value == wanted for name, value in headers)

    def _tunnel(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=HANGS_SECONDS) as origin:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(origin, self.connection), daemon=True)
            back.start()
            _pump(self.connection, origin)
            back.join()


def _head(stream: object) -> tuple[str, list[tuple[str, str]]]:
    lines = []
    while line := stream.readline(1 << 16).decode("latin-1").rstrip("\r\n"):  # type: ignore[attr-defined]
        lines.append(line)
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    return (lines[0] if lines else ""), headers


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(_CHUNK_BYTES):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def main() -> None:
    """Serve until standard input ends; prints the address first."""
    with Proxy((sys.argv[1], sys.argv[2])).served() as proxy:
        print(proxy.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

"""A caching proxy for plain HTTP, as sites put one before the hub: parts are kept by path and range, whatever signs their links."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CachingProxy

    def do_HEAD(self) -> None:
        self._answer(*self._ask())

    def do_GET(self) -> None:
        place = (urlsplit(self.path).path, self.headers.get("Range", ""))
        kept = self.server.kept.get(place)
        if kept is None:
            kept = self._ask()
            if kept[0] in (200, 206):
                self.server.kept[place] = kept
        self._answer(*kept)

    def _ask(self) -> tuple[int, dict[str, str], bytes]:
        address = urlsplit(self.path)
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        try:
            connection.request(self.command, f"{address.path}?{address.query}", headers=dict(self.headers))
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


class CachingProxy(http.server.ThreadingHTTPServer):
    """One such proxy on this machine.

    Attributes:
        kept: What it keeps: status, headers and body, by path and range.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], tuple[int, dict[str, str], bytes]] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @contextmanager
    def served(self) -> Iterator[CachingProxy]:
        """Serve while the block runs."""
        with self:
            threading.Thread(target=self.serve_forever, daemon=True).start()
            yield self
            self.shutdown()

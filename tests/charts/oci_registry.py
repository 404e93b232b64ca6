"""An OCI registry in memory: as much of the distribution protocol as `helm push` and `helm pull` speak, without TLS and credentials."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: dict[str, tuple[str, bytes]]

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/v2/":
            return self._answer(200)
        kind, body = self.store.get(path, ("", b""))
        if not kind:
            return self._answer(404)
        return self._answer(200, body, Content_Type=kind, Docker_Content_Digest=_digest(body))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._read()
        self._answer(202, Location=f"{urlsplit(self.path).path}one")

    def do_PUT(self) -> None:
        url, body = urlsplit(self.path), self._read()
        digest = _digest(body)
        if match := re.fullmatch(r"(/v2/.+/blobs/)uploads/one", url.path):
            if parse_qs(url.query)["digest"] != [digest]:
                return self._answer(400)
            self.store[f"{match[1]}{digest}"] = ("application/octet-stream", body)
        else:
            for reference in (url.path, f"{url.path.rpartition('/')[0]}/{digest}"):
                self.store[reference] = (self.headers["Content-Type"], body)
        return self._answer(201, Location=url.path, Docker_Content_Digest=digest)

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, *_: Any) -> None:
        pass


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


@contextmanager
def oci_registry() -> Iterator[str]:
    """Run one; its `host:port`."""
    handler = type("Handler", (_Handler,), {"store": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        serving.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()

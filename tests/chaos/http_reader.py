"""Requests of HTTP/1.1 connections, and what they are called in the table of points."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from tests.chaos.proxy import Reader
from tests.chaos.trap import Request

#: What a request is, by method, path and headers; None is not worth a look.
Namer = Callable[[str, str, Mapping[str, str]], Request | None]

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OBJECT = re.compile(r"^/apis?/(?:[^/]+/)?v[^/]+/(?:namespaces/[^/]+/)?(?P<kind>[a-z]+)(?:/(?P<name>[^/?]+))?(?:/(?P<sub>[a-z]+))?")
_WRITES = {"POST", "PUT", "PATCH", "DELETE"}


class HttpReader(Reader):
    """The requests of one connection, one after the other; after an upgrade the rest is not looked at."""

    def __init__(self, namer: Namer) -> None:
        self._namer = namer
        self._kept = b""
        self._body = 0  # bytes that are still to come
        self._chunked = False
        self._raw = False

    def split(self, data: bytes) -> list[tuple[bytes, Request | None]]:
        """See `Reader`."""
        data, self._kept = self._kept + data, b""
        pieces: list[tuple[bytes, Request | None]] = []
        while data:
            if self._raw:
                pieces.append((data, None))
                break
            if self._chunked:
                taken = self._through_chunks(data)
                if taken == 0:
                    self._kept = data
                    break
                pieces.append((data[:taken], None))
                data = data[taken:]
                continue
            if self._body:
                pieces.append((data[: self._body], None))
                data, self._body = data[self._body :], max(0, self._body - len(data))
                continue
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._kept = data
                break
            head, data = data[: end + 4], data[end + 4 :]
            pieces.append((head, self._request(head)))
        return pieces

    def _request(self, head: bytes) -> Request | None:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        self._body = int(headers.get("content-length", 0))
        self._chunked = "chunked" in headers.get("transfer-encoding", "")
        self._raw = "upgrade" in headers.get("connection", "").lower()
        return self._namer(method, path, headers)

    def _through_chunks(self, data: bytes) -> int:
        """How many bytes of chunks are there in whole; the last one ends the body."""
        taken = 0
        while (line_end := data.find(b"\r\n", taken)) >= 0:
            size = int(data[taken:line_end].split(b";")[0], 16)
            end = line_end + 2 + size + 2
            if end > len(data):
                break
            taken = end
            if size == 0:
                self._chunked = False
                break
        return taken


def cluster_request(method: str, path: str, headers: Mapping[str, str]) -> Request | None:
    """A request to the API server: who asks (helm or the pipeline), the verb and the kind."""
    found = _OBJECT.match(path)
    if found is None:
        return None
    kind, name, sub = found["kind"], found["name"] or "", found["sub"] or ""
    if "/proxy" in path:
        return Request(what=f"{method} {path.partition('/proxy')[2].partition('?')[0]}", writes=False)
    if kind.endswith("reviews"):
        return None
    who = "helm " if headers.get("user-agent", "").lower().startswith("helm") else ""
    if name.startswith("sh.helm.release"):
        kind = "release record"
    return Request(what=f"{who}{method} {kind}{f'/{sub}' if sub else ''}", writes=method in _WRITES)


def prefect_request(method: str, path: str, headers: Mapping[str, str]) -> Request | None:
    """A request to Prefect's API that changes something in it; what it is asked for, and its logs, are not worth a look."""
    short = _ID.sub("ID", path.partition("?")[0]).removeprefix("/api").strip("/")
    if method not in _WRITES or re.search(r"filter|count|paginate|/read|logs|events|hello|csrf|lateness", short):
        return None
    return Request(what=f"Prefect {method} {short}", writes=True)


def hub_request(method: str, path: str, headers: Mapping[str, str]) -> Request | None:
    """A request to the hub; nothing is ever written to it."""
    return Request(what=f"hub {method}", writes=False)


def git_request(method: str, path: str, headers: Mapping[str, str]) -> Request | None:
    """A request of git: a push is what changes the repository, the rest is what it looks at before."""
    service = path.rpartition("/")[2].rpartition("=")[2]
    pushes = method == "POST" and service == "git-receive-pack"
    return Request(what="git push" if pushes else f"git {method}", writes=pushes)

"""Requests and replies between the stand-in hub's routes and its server: plain values, no sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, kw_only=True)
class HubRequest:
    """One request: the path still percent-encoded (a revision may hold encoded slashes), header names in lower case."""

    method: str
    raw_path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(self.raw_path)

    @property
    def segments(self) -> list[str]:
        """The decoded parts of the path."""
        return [unquote(part) for part in self.raw_path.strip("/").split("/")]

    def flag(self, name: str) -> bool:
        """Return whether a query parameter says yes."""
        return self.query.get(name, [""])[0].lower() in ("true", "1")


@dataclass(frozen=True, kw_only=True)
class FilePart:
    """A stretch of a file, to be sent from the disk."""

    path: Path
    start: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer. A HEAD request gets the headers of the same answer and no body."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FilePart = b""

    @property
    def length(self) -> int:
        """The bytes of the body."""
        return self.body.length if isinstance(self.body, FilePart) else len(self.body)


def json_reply(document: object, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply that carries JSON."""
    return Reply(headers={"content-type": "application/json; charset=utf-8", **(headers or {})}, body=json.dumps(document).encode())


def error_reply(status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None) -> Reply:
    """Return an error as the hub sends it: clients read the two headers and not the body."""
    # A header holds ASCII alone, and what was asked for may hold anything.
    said = message.encode("unicode_escape").decode("ascii")
    marks = {"x-error-message": said, **({"x-error-code": code} if code else {}), **(headers or {})}
    body = json.dumps({"error": message}).encode()
    return Reply(status=status, headers={"content-type": "application/json; charset=utf-8", **marks}, body=body)


def file_reply(path: Path, size: int, range_header: str | None, headers: Mapping[str, str]) -> Reply:
    """Return the file, or the stretch that a single-range header asks for (206; 416 where it lies outside)."""
    base = {"content-type": "application/octet-stream", "accept-ranges": "bytes", **headers}
    match = _RANGE.fullmatch(range_header.strip()) if range_header else None
    if not match or match[0] == "bytes=-":
        return Reply(headers=base, body=FilePart(path=path, start=0, length=size))
    if match[1]:
        start = int(match[1])
        end = min(int(match[2]), size - 1) if match[2] else size - 1
    else:
        start, end = max(0, size - int(match[2])), size - 1
    if start >= size or end < start:
        return Reply(status=416, headers={**base, "content-range": f"bytes */{size}"})
    part = FilePart(path=path, start=start, length=end - start + 1)
    return Reply(status=206, headers={**base, "content-range": f"bytes {start}-{end}/{size}"}, body=part)

"""Statements of PostgreSQL connections (protocol 3, from the client's side), and what they are called in the table of points."""

from __future__ import annotations

import re
import struct
from functools import cache
from importlib.resources import files

from tests.chaos.proxy import Reader
from tests.chaos.trap import Request

_COMMENT = re.compile(r"--[^\n]*")
_PLACEHOLDER = re.compile(r"%\(\w+\)s|\$\d+")
_WRITING = re.compile(r"^(with\b.*)?\b(insert into|update|delete from)\b", re.DOTALL)


class PostgresReader(Reader):
    """The statements of one connection: a transaction's COMMIT bears the names of what it wrote; reads are reads."""

    def __init__(self) -> None:
        self._kept = b""
        self._started = False
        self._texts: dict[bytes, str] = {}
        self._in_transaction = False
        self._wrote: list[str] = []

    def split(self, data: bytes) -> list[tuple[bytes, Request | None]]:
        """See `Reader`."""
        data, self._kept = self._kept + data, b""
        pieces: list[tuple[bytes, Request | None]] = []
        while data:
            head = 1 if self._started else 0
            if len(data) < head + 4:
                break
            (length,) = struct.unpack_from("!I", data, head)
            if len(data) < head + length:
                break
            message, data = data[: head + length], data[head + length :]
            pieces.append((message, self._request(message) if self._started else None))
            self._started = True
        self._kept = data
        return pieces

    def _request(self, message: bytes) -> Request | None:
        kind, body = message[:1], message[5:]
        if kind == b"Q":
            return self._statement(body.rstrip(b"\0").decode())
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._texts[name] = text.decode()
        if kind == b"B":
            _, name, _ = body.split(b"\0", 2)
            return self._statement(self._texts.get(name, ""))
        return None

    def _statement(self, text: str) -> Request | None:
        plain = _COMMENT.sub("", text).strip().lower()
        if plain.startswith("begin"):
            self._in_transaction, self._wrote = True, []
            return None
        if plain.startswith("rollback"):
            self._in_transaction, self._wrote = False, []
            return None
        if plain.startswith("commit"):
            wrote, self._in_transaction, self._wrote = self._wrote, False, []
            return Request(what=f"COMMIT {wrote[0]}", writes=True) if wrote else None
        if not plain:
            return None
        name = statement_names().get(_normal(text), plain.split(" ", 1)[0])
        if _WRITING.search(plain) is None:
            return Request(what=f"registry {name}", writes=False)
        if self._in_transaction:
            self._wrote.append(name)
            return None
        return Request(what=f"registry {name}", writes=True)


def _normal(text: str) -> str:
    return " ".join(_PLACEHOLDER.sub("?", _COMMENT.sub("", text)).split()).rstrip(";")


@cache
def statement_names() -> dict[str, str]:
    """Text of a statement (without comments, with `?` for parameters) → its name."""
    folder = files("blocks.registry").joinpath("sql")
    return {_normal(path.read_text(encoding="utf-8")): path.name.removesuffix(".sql") for path in folder.iterdir()}

"""Parts of files from the hub's own store (xet), by its library: the way to files that plain HTTP does not give."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urljoin, urlsplit

from flows.node.address import origin
from flows.node.http import Answered
from flows.node.patience import Trouble


@dataclass(frozen=True, kw_only=True)
class XetFile:
    """A file in the store.

    Attributes:
        hash: Its name there; 64 hexadecimal digits.
        token_url: Where the hub gives a read token for it, and says where the store is.
    """

    hash: str
    token_url: str


def offered(said: Answered, endpoint: str) -> XetFile | None:
    """What the hub says of the file in its store; none if it has it there not, or sends for the token to somebody else.

    Args:
        said: The hub's answer.
        endpoint: The hub's address: the token is for that origin alone.
    """
    name = said.said("X-Xet-Hash") or ""
    link = re.search(r'<([^<>]{1,2000})>\s*;\s*rel="?xet-auth"?', said.said("Link") or "")
    route = link[1] if link else said.said("X-Xet-Refresh-Route") or ""
    if not re.fullmatch(r"[0-9a-f]{64}", name) or not re.fullmatch(r"[!-~]{1,2000}", route):
        return None
    try:
        url = urljoin(f"{endpoint}/", route)
        is_own = origin(urlsplit(url)) == origin(urlsplit(endpoint))
    except ValueError:
        return None
    return XetFile(hash=name, token_url=url) if is_own else None


class Xet:
    """The store. Threads may share it.

    Args:
        token: The hub's token; none for public models.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._groups: dict[str, Any] = {}
        self._lock = threading.Lock()

    def read(self, file: XetFile, start: int, view: memoryview, size_bytes: int) -> Iterator[int]:
        """Read the bytes from `start` on into the whole view; yield how many came, each time some did.

        They are hashed by whoever asked: the library takes wrong bytes for right ones (hf_xet 1.8.0).

        Args:
            file: The file.
            start: Offset in it.
            view: Where they go; as long as what is wanted.
            size_bytes: The file's size.

        Raises:
            Trouble: Not all of them came.
        """
        from hf_xet import XetFileInfo

        got = 0
        try:
            stream = self._group(file.token_url).download_stream(XetFileInfo(file.hash, size_bytes), start, start + len(view))
            try:
                for chunk in stream:
                    if got + len(chunk) > len(view):
                        raise Trouble(f"the hub's store sent more than the {len(view):,} bytes that were asked for")
                    view[got : got + len(chunk)] = chunk
                    got += len(chunk)
                    yield len(chunk)
            finally:
                stream.cancel()
        # All that the library raises: of its errors some are RuntimeErrors and some OSErrors.
        except (RuntimeError, OSError, ValueError) as exc:
            with self._lock:
                self._groups.pop(file.token_url, None)
            raise Trouble(f"the hub's store (xet) gave up ({type(exc).__name__})") from exc
        if got < len(view):
            raise Trouble(f"the hub's store (xet) ended after {got:,} of {len(view):,} bytes")

    @cached_property
    def _session(self) -> Any:
        # Loaded when it is needed, which is seldom: it brings a runtime of its own.
        from hf_xet import XetSession

        return XetSession()

    def _group(self, token_url: str) -> Any:
        """Connections to the store, which ask the hub for a token by themselves, and again before it expires."""
        with self._lock:
            if token_url not in self._groups:
                headers = {"Authorization": f"Bearer {self._token}"} if self._token is not None else {}
                self._groups[token_url] = self._session.new_download_stream_group(
                    token_refresh_url=token_url, token_refresh_headers={"User-Agent": "slipway", **headers}
                )
            return self._groups[token_url]

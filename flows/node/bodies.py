"""What comes back when a part of a file is asked for: that part, all of it, or a refusal."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

from blocks.errors import HubRejected
from blocks.hub.waits import stated_wait
from flows.node.patience import Trouble

#: Bytes that are asked of the socket at a time.
_CHUNK_BYTES = 1 << 18


class NoRanges(Exception):
    """The server sends the whole file where a part was asked for, or will not send parts of this one."""

    def __init__(self, why: str = "its server sends no parts") -> None:
        super().__init__(why)
        self.why = why


def require_part(answer: http.client.HTTPResponse, name: str, start: int, length: int, size_bytes: int) -> None:
    """Require that the answer is that part of the file.

    Raises:
        Trouble: It is not.
        NoRanges: It is the whole file.
    """
    status = answer.status
    if status == 206:
        # With the total: a file that was replaced under its name has another.
        wanted = f"bytes {start}-{start + length - 1}/{size_bytes}"
        given = answer.headers.get("Content-Range", "")
        if given != wanted:
            shown = given[:60] if given.isprintable() else ""
            raise Trouble(f"{name} sent {shown or 'an unnamed part'} where {wanted} was asked for", stale=True)
        return
    if status == 200:
        # All of it was asked for: the whole file is that part.
        if (start, length) == (0, size_bytes):
            return
        raise NoRanges
    raise refused(answer, name)


def fill(answer: http.client.HTTPResponse, view: memoryview, name: str) -> Iterator[int]:
    """Read the body into the whole view; yield how many bytes came, each time some did.

    Raises:
        Trouble: It ends before.
    """
    got = 0
    while got < len(view):
        count = answer.readinto(view[got : got + _CHUNK_BYTES])
        if not count:
            raise Trouble(f"{name} closed the connection after {got:,} of {len(view):,} bytes")
        got += count
        yield count


def refused(answer: http.client.HTTPResponse, name: str) -> Trouble:
    """What an answer means that is no part of a file."""
    status = answer.status
    if status in (408, 425, 429) or status >= 500:
        return Trouble(f"{name} answered HTTP {status}", retry_after_seconds=stated_wait(answer.headers))
    # A signed link that has expired is answered so; a fresh one may do.
    return Trouble(f"{name} answered HTTP {status}, also to fresh links", stale=True, kind=HubRejected)

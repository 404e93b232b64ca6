"""What the stand-in hub was asked, for tests to assert on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.hub.faults import Origin


@dataclass(kw_only=True)
class LoggedRequest:
    """One request. It is in the log from its arrival; `status` and `bytes_sent` (of the body) follow as the answer goes out."""

    origin: Origin
    method: str
    path: str
    query: str
    range: str | None
    authorized: bool
    status: int = 0
    bytes_sent: int = 0

    @property
    def leaks_token(self) -> bool:
        """Whether a token was sent to the CDN, which must never see one."""
        return self.origin == "cdn" and self.authorized


class RequestLog:
    """The last requests, the oldest first.

    Args:
        limit: How many are kept.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._lock = threading.Lock()
        self._entries: deque[LoggedRequest] = deque(maxlen=limit)

    def append(self, entry: LoggedRequest) -> None:
        """Add a request."""
        with self._lock:
            self._entries.append(entry)

    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._entries.clear()

    def __iter__(self) -> Iterator[LoggedRequest]:
        with self._lock:
            return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def bytes_sent(self, origin: Origin | None = None) -> int:
        """Return the bytes of all bodies, or of one origin's."""
        return sum(entry.bytes_sent for entry in self if origin in (None, entry.origin))

    def leaks(self) -> list[LoggedRequest]:
        """Return the requests that sent a token to the CDN."""
        return [entry for entry in self if entry.leaks_token]

"""How much is sent in a second, by all threads together."""

from __future__ import annotations

import threading
import time


class Bucket:
    """A token bucket of a quarter of a second.

    Args:
        bytes_per_second: The rate; none for no limit.
    """

    def __init__(self, bytes_per_second: float | None) -> None:
        self._rate = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def take(self, size_bytes: int) -> None:
        """Wait until so many bytes may be sent."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            begin = max(self._free_at, now - 0.25)
            self._free_at = begin + size_bytes / self._rate
        if begin > now:
            time.sleep(begin - now)

"""What the program says: JSON lines, each with an `event`; the last one is `complete` or `failed`."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from typing import Any

#: Seconds that the speed is taken over: long enough to be steady, short enough to follow a link that slows down.
WINDOW_SECONDS = 10.0


def say(event: str, **facts: Any) -> None:
    """Print one line for the log."""
    # At once: a pipe is buffered in blocks, and a container that is killed would take its last lines with it.
    print(json.dumps({"event": event, **facts}), flush=True)


class Progress:
    """Counts bytes, from several threads.

    Args:
        total_bytes: What there will be in the end.
    """

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._done = 0
        self._lock = threading.Lock()
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def add(self, size_bytes: int, *, arrived: bool = True) -> None:
        """Count bytes; those that an earlier attempt left (`arrived` is false) say nothing about the speed."""
        with self._lock:
            self._done += size_bytes
            if not arrived:
                # The whole window moves, so that what a resumed transfer finds does not look like a second's work.
                self._seen = deque((moment, done + size_bytes) for moment, done in self._seen)

    def say(self) -> None:
        """Print where it stands, once a second at most."""
        now = time.monotonic()
        if now - self._seen[-1][0] < 1.0:
            return
        with self._lock:
            done = self._done
            self._seen.append((now, done))
            while now - self._seen[0][0] > WINDOW_SECONDS and len(self._seen) > 2:
                self._seen.popleft()
            since, before = self._seen[0]
        speed = max(0.0, (done - before) / max(now - since, 1e-3))
        left = round((self._total - done) / speed) if speed > 0 else None
        say("progress", done_bytes=done, total_bytes=self._total, bytes_per_second=round(speed), seconds_left=left)

"""Faults that tests script into the stand-in hub."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Origin = Literal["hub", "cdn", "cas"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Which requests go wrong, and how. Several ways may be combined.

    Attributes:
        origin: `hub`, `cdn`, or `cas` (the store of xet); None is all.
        method: `GET`, `HEAD`; None is all.
        path: Shell pattern for the decoded path without query; `*` crosses slashes. CDN paths end in the file's path.
        skip: So many matching requests go well first.
        times: So many go wrong after that; None is all.
        status: Answers with this status, `headers` and `body` instead of the real answer.
        headers: Added to the answer, real or not; an empty value takes a header of that name (in lower case) away.
        delay_seconds: Waits before the answer begins.
        reset_after_bytes: The connection is reset (TCP RST) after so many bytes of the body; 0 is before the answer begins.
        truncate_after_bytes: The connection is closed after so many bytes of the body.
        stall_after_bytes: After so many bytes nothing more comes until the client goes away.
        flip_byte_at: The byte at this place of the *file* arrives inverted, if the answer contains it.
        bytes_per_second: The body comes no faster than this.
        ignore_range: Answers 200 and the whole file to a range request.
    """

    origin: Origin | None = None
    method: str | None = None
    path: str = "*"
    skip: int = 0
    times: int | None = 1
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_seconds: float = 0.0
    reset_after_bytes: int | None = None
    truncate_after_bytes: int | None = None
    stall_after_bytes: int | None = None
    flip_byte_at: int | None = None
    bytes_per_second: float | None = None
    ignore_range: bool = False

    def matches(self, origin: Origin, method: str, path: str) -> bool:
        """Return whether a request is of the kind that this fault is for."""
        return self.origin in (None, origin) and self.method in (None, method) and fnmatch.fnmatchcase(path, self.path)


class Faults:
    """The faults in force. Each request suffers at most one: the first that matches and is neither waiting nor used up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._seen: list[int] = []

    def add(self, fault: Fault) -> None:
        """Put a fault in force, after those that are."""
        with self._lock:
            self._faults.append(fault)
            self._seen.append(0)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()
            self._seen.clear()

    def take(self, origin: Origin, method: str, path: str) -> Fault | None:
        """Return the fault that this request suffers, and count it."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                if not fault.matches(origin, method, path):
                    continue
                count = self._seen[index]
                if fault.times is not None and count >= fault.skip + fault.times:
                    continue
                self._seen[index] += 1
                if count >= fault.skip:
                    return fault
        return None

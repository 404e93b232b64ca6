"""Container logs: written with the time of each line, read as a kubelet serves them.

Not emulated: rotation, and a last line without its newline is kept back until the container ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sandbox.kubernetes.meta.clock import utc_now
from sandbox.kubernetes.meta.values import parse_time

TAIL_LINES = 80
TAIL_BYTES = 2048
"""How much of a log becomes the termination message under `FallbackToLogsOnError`: the kubelet's limits."""


class LogFile(asyncio.Protocol):
    """The log of one run of a container; receives the container's output and tells its readers."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.ended = asyncio.Event()
        self._file = path.open("ab")
        self._rest = b""
        self._readers: set[asyncio.Event] = set()

    def data_received(self, data: bytes) -> None:
        """Write the complete lines, each after its time."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._write(lines)

    def _write(self, lines: list[bytes]) -> None:
        if lines:
            # In nanoseconds, as a kubelet's.
            stamp = utc_now().strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode()
            self._file.write(b"".join(stamp + line + b"\n" for line in lines))
            self._file.flush()
        for reader in self._readers:
            reader.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Write what is left and tell the readers that nothing follows."""
        self._write([self._rest] if self._rest else [])
        self._file.close()
        self.ended.set()
        for reader in self._readers:
            reader.set()

    def subscribe(self) -> asyncio.Event:
        """An event that is set whenever there is more to read."""
        event = asyncio.Event()
        self._readers.add(event)
        return event

    def unsubscribe(self, event: asyncio.Event) -> None:
        """Stop telling that reader."""
        self._readers.discard(event)


@dataclass(frozen=True, kw_only=True)
class LogQuery:
    """Which part of a log is wanted, in the words of the kubelet's query."""

    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: datetime | None = None
    timestamps: bool = False
    follow: bool = False

    @classmethod
    def parse(cls, query: dict[str, str]) -> LogQuery:
        """Read the parameters of a request.

        Raises:
            ValueError: A number or time in it is none.
        """
        since = None
        if "sinceSeconds" in query:
            since = utc_now() - timedelta(seconds=int(query["sinceSeconds"]))
        elif "sinceTime" in query:
            since = parse_time(query["sinceTime"])
        return cls(
            tail_lines=int(query["tailLines"]) if "tailLines" in query else None,
            limit_bytes=int(query["limitBytes"]) if "limitBytes" in query else None,
            since=since,
            timestamps=query.get("timestamps") in ("true", "1"),
            follow=query.get("follow") in ("true", "1"),
        )


async def read_log(path: Path, query: LogQuery, live: LogFile | None) -> AsyncIterator[bytes]:
    """Yield the wanted part of a log file; with `follow`, and while the container runs, also what comes."""
    left = query.limit_bytes
    event = live.subscribe() if live is not None and query.follow else None
    try:
        with path.open("rb") as file:
            lines = _since(file.read().splitlines(keepends=True), query.since)
            if query.tail_lines is not None:
                lines = lines[max(0, len(lines) - query.tail_lines) :]
            while True:
                chunk = b"".join(line if query.timestamps else line.partition(b" ")[2] for line in lines)
                if left is not None:
                    chunk = chunk[:left]
                    left -= len(chunk)
                if chunk:
                    yield chunk
                if event is None or live is None or left == 0 or (live.ended.is_set() and not event.is_set()):
                    return
                await event.wait()
                event.clear()
                lines = file.read().splitlines(keepends=True)
    finally:
        if live is not None and event is not None:
            live.unsubscribe(event)


def _since(lines: list[bytes], since: datetime | None) -> list[bytes]:
    if since is None:
        return lines
    return [line for line in lines if parse_time(line.partition(b" ")[0].decode()) >= since]


def tail(path: Path) -> str:
    """The end of a log, as a termination message."""
    lines = [line.partition(b" ")[2] for line in path.read_bytes().splitlines(keepends=True)[-TAIL_LINES:]]
    return b"".join(lines)[-TAIL_BYTES:].decode(errors="replace")

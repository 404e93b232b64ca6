"""A real Redis (Debian: redis-server) for the tests of the health cache; where it is not installed they are skipped."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.support.waiting import HANGS_SECONDS

PASSWORD = "opensesame"


@contextmanager
def redis_url(folder: Path) -> Iterator[str]:
    """Start a Redis on a Unix socket, with a password; yields its URL."""
    executable = shutil.which("redis-server")
    if executable is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    socket = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder), "--requirepass", PASSWORD]
    with subprocess.Popen([executable, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            url = f"unix://:{PASSWORD}@{socket}"
            _wait(url)
            yield url
        finally:
            process.terminate()


def _wait(url: str) -> None:
    deadline = time.monotonic() + HANGS_SECONDS
    while True:
        try:
            with redis.Redis.from_url(url) as client:
                client.ping()
            return
        except redis.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.02)

"""Child processes that end with whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Runs a command and ends it, with everything it started, when standard input closes: that happens however the parent ends.
_GUARD = """
import os, signal, subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
def end(*_):
    try:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(10)
    except subprocess.TimeoutExpired:
        pass
    except ProcessLookupError:
        pass
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os._exit(0)
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, end)
threading.Thread(target=lambda: (sys.stdin.buffer.read(), end()), daemon=True).start()
os._exit(child.wait() & 0xFF)
"""


class Child:
    """A long-running child process with a log file.

    It runs in a process group of its own behind a small guard, so that its own children end with it and it ends with us,
    even after a SIGKILL of ours.

    Args:
        command: The command and its arguments; no shell.
        log: Where its output goes.
        environment: Its whole environment.
        folder: Its working directory.
    """

    def __init__(self, command: Sequence[str], *, log: Path, environment: Mapping[str, str], folder: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._guard = subprocess.Popen(
                [sys.executable, "-c", _GUARD, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._guard.poll() is None

    def close(self, timeout_seconds: float = 15.0) -> None:
        """Ask it to end, wait, and make it end. Safe to call twice."""
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            self._guard.stdin.close()
        try:
            self._guard.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.wait()

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

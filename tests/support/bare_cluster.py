"""A bare API server with its controllers in a process of its own: to the tests, a cluster that is not theirs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import HANGS_SECONDS


@contextmanager
def bare_cluster(folder: Path) -> Iterator[Path]:
    """Its kubeconfig. It has no node."""
    command = [sys.executable, "-m", "sandbox.kubernetes", "--folder", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert line, "the API server did not start"
            yield Path(line)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=HANGS_SECONDS) == 0

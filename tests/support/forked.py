"""A program of `Forks` with its output on pipes: what a test asks of a `subprocess.Popen` with text."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox.forks import Forks


class Forked:
    """A program that runs."""

    def __init__(self, forks: Forks, program: str, arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path) -> None:
        self._said, said = os.pipe()
        self._complained, complained = os.pipe()
        try:
            self._fork = forks.start(program, arguments, environment=environment, folder=folder, stdout=said, stderr=complained)
        finally:
            os.close(said)
            os.close(complained)
        self.pid = self._fork.pid

    @property
    def returncode(self) -> int | None:
        return self._fork.returncode

    def poll(self) -> int | None:
        return self._fork.returncode

    def kill(self) -> None:
        self._fork.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it says and complains of until it ends, which must be in time if one is given."""
        with ThreadPoolExecutor(2) as beside:
            try:
                heard = [beside.submit(_all_of, pipe) for pipe in (self._said, self._complained)]
                self._fork.join(timeout)
            except BaseException:
                self.kill()
                raise
        said, complained = (each.result() for each in heard)
        return said, complained


def _all_of(pipe: int) -> str:
    with os.fdopen(pipe, encoding="utf-8") as file:
        return file.read()

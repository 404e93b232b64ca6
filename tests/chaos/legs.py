"""The harness's side of the zygote: starts legs of runs, hears of them, and kills them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flows.spec.load import ROOT

#: How long one leg may take, in seconds: the longest waits out a fault of half a minute on a busy machine.
LEG_SECONDS = 150.0


class LegStuck(Exception):
    """A leg neither ended nor was killed in time."""


@dataclass
class Leg:
    """One process that executes a run.

    Attributes:
        number: Its number among all.
        pid: Its process, and its process group.
        log: What it printed.
        boundary: The last boundary of a task or a step that it told of, for example `begin deploy`.
        heard: Called with each of them and its task.
    """

    number: int
    log: Path
    pid: int | None = None
    boundary: str = ""
    heard: Callable[[str, str], None] = lambda boundary, task: None
    _begun: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)

    def kill(self, *, group: bool = True) -> None:
        """SIGKILL the process and what it started, or the process alone; returns when it is gone."""
        if self._begun.wait(LEG_SECONDS) and self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)
        self.wait()

    @property
    def running(self) -> bool:
        """Whether its process still lives."""
        return not self._ended.is_set()

    def wait(self, seconds: float = LEG_SECONDS) -> None:
        """Wait until its process has ended.

        Raises:
            LegStuck: It has not.
        """
        if not self._ended.wait(seconds):
            raise LegStuck(f"leg {self.number} still runs after {seconds:.0f} s, last at {self.boundary!r}; see {self.log}")

    def tell(self, said: Mapping[str, Any]) -> None:
        """Take in a line that the zygote wrote about it."""
        if "pid" in said:
            self.pid = said["pid"]
            self._begun.set()
        if "boundary" in said:
            self.boundary = said["boundary"]
            self.heard(self.boundary, said["task"])
        if "ended" in said:
            self._ended.set()
            self._begun.set()


class Zygote:
    """Starts legs; use it as a context manager.

    Args:
        environment: Further environment variables.
        without: Environment variables of this process that are not for legs.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, *, without: Container[str] = ()) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in without}
        self._environment = {**inherited, **(environment or {})}
        self._numbers = itertools.count(1)
        self._legs: dict[int, Leg] = {}
        self._ready = threading.Event()
        self._writing = threading.Lock()

    def begin(
        self,
        flow: str,
        run_id: str,
        *,
        api: str,
        home: Path,
        environment: Mapping[str, str],
        die: str | None,
        log: Path,
        clock: Path,
        heard: Callable[[str, str], None],
    ) -> Leg:
        """Execute a run in a new process, which ends itself at the task boundary `die` if one is named; its clock follows a file."""
        number = next(self._numbers)
        leg = Leg(number=number, log=log, heard=heard)
        self._legs[number] = leg
        order = {
            "leg": number,
            "flow": flow,
            "run": run_id,
            "api": api,
            "home": str(home),
            "environment": dict(environment),
            "die": die,
            "log": str(leg.log),
            "clock": str(clock),
        }
        assert self._process.stdin is not None
        with self._writing:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        return leg

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "ready" in said:
                self._ready.set()
            else:
                self._legs[said["leg"]].tell(said)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=self._environment
        )
        threading.Thread(target=self._listen, name="zygote", daemon=True).start()
        if not self._ready.wait(60):
            self.close()
            raise LegStuck("the zygote did not start")
        return self

    def close(self) -> None:
        """End it with all its legs."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

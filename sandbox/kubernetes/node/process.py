"""Containers as child processes: each in a session of its own, its output with the time of every line in a log file."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sandbox import confine
from sandbox.forks import Fork, Forks
from sandbox.kubernetes.meta.clock import utc_now
from sandbox.kubernetes.node import watchdog as watchdog_program
from sandbox.kubernetes.node.logs import LogFile


class StartFailed(Exception):
    """The command of a container could not be executed; the message is the runtime's."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to execute.

    Attributes:
        argv: The program and its arguments.
        env: The whole environment.
        folder: The working directory.
        writable: Where alone it may write, if it is to be held to that.
        forks: What has imported the program already, where it is `python -m PROGRAM`.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    folder: Path
    writable: tuple[Path, ...] | None = None
    forks: Forks | None = None

    def executed(self) -> tuple[str, ...]:
        """The arguments to execute: by way of `confine` where something must stay as it is and the kernel can see to that.

        Raises:
            OSError: There is no such program, or it may not be executed.
        """
        if self.writable is None or not confine.available():
            return self.argv
        # Found out here, since the program that confines it would be found in any case.
        program = self.argv[0]
        if shutil.which(str(self.folder / program) if "/" in program else program, path=self.env.get("PATH")) is None:
            missing = "/" not in program or not (self.folder / program).exists()
            raise OSError(errno.ENOENT if missing else errno.EACCES, os.strerror(errno.ENOENT if missing else errno.EACCES))
        return (sys.executable, "-I", "-S", confine.__file__, *map(str, self.writable), "--", *self.argv)


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How a process ended: the exit code as a container runtime gives it (128 + n after signal n), and when."""

    code: int
    finished_at: datetime


class Watchdog:
    """The process that ends the containers when this one is gone."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(watchdog_program.__file__)],
            stdin=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
            env={},
        )

    def add(self, group: int) -> None:
        """Watch over a process group."""
        self._write(f"+{group}\n")

    def remove(self, group: int) -> None:
        """The group has ended; its number may be used again by others."""
        self._write(f"-{group}\n")

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(line)

    def close(self) -> None:
        """End the watchdog and whatever it still watches."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(timeout=5)


class Running(Protocol):
    """A running container."""

    pid: int
    started_at: datetime
    ended: asyncio.Event

    async def wait(self) -> Exit:
        """Wait for its main process to end; everything else in it ends with that."""
        ...

    def terminate(self) -> None:
        """Send SIGTERM to the main process."""
        ...

    def kill(self) -> None:
        """Send SIGKILL to everything in it."""
        ...


class Runtime(Protocol):
    """What starts containers, as containerd does for a kubelet."""

    async def start(self, command: Command, log: LogFile) -> Running:
        """Start a container.

        Raises:
            StartFailed: There is no such program, or it may not be executed.
        """
        ...

    async def execute(self, command: Command, timeout_seconds: float) -> tuple[int | None, str]:
        """Execute a probe or hook in a container's surroundings; its exit code (None: it took too long) and its output."""
        ...

    def close(self) -> None:
        """End what still runs."""
        ...


class LocalRuntime:
    """Runs containers as processes of this machine, which end with this one."""

    def __init__(self) -> None:
        self._watchdog = Watchdog()

    async def start(self, command: Command, log: LogFile) -> Running:
        """Start a container."""
        return await Process.start(command, log, self._watchdog)

    async def execute(self, command: Command, timeout_seconds: float) -> tuple[int | None, str]:
        """Execute a probe or hook."""
        return await run_to_end(command, timeout_seconds)

    def close(self) -> None:
        """End what still runs."""
        self._watchdog.close()


class Process:
    """A container that is a process group of this machine."""

    def __init__(self, process: asyncio.subprocess.Process | Fork, log: LogFile, output: asyncio.ReadTransport, watchdog: Watchdog) -> None:
        self.pid = process.pid
        self.started_at = utc_now()
        self.ended = asyncio.Event()
        self._process = process
        self._log = log
        self._output = output
        self._watchdog = watchdog

    @classmethod
    async def start(cls, command: Command, log: LogFile, watchdog: Watchdog) -> Process:
        """Execute the command.

        Raises:
            StartFailed: There is no such program, or it may not be executed.
        """
        reading, writing = os.pipe()
        output, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: log, os.fdopen(reading, "rb", buffering=0))
        try:
            process = await _started(command, writing)
        except OSError as exc:
            output.close()
            raise StartFailed(runtime_words(command.argv, exc)) from exc
        finally:
            os.close(writing)
        watchdog.add(process.pid)
        return cls(process, log, output, watchdog)

    async def wait(self) -> Exit:
        """Wait for the main process to end; what it left behind in its group ends with it, as in a PID namespace."""
        code = await self._process.wait()
        finished_at = utc_now()
        self._signal_group(signal.SIGKILL)
        self._watchdog.remove(self.pid)
        with contextlib.suppress(TimeoutError):
            # Whoever left the group may hold the pipe open; the last lines of everyone else are there by now.
            async with asyncio.timeout(1.0):
                await self._log.ended.wait()
        self._output.close()
        self.ended.set()
        return Exit(code=code if code >= 0 else 128 - code, finished_at=finished_at)

    def terminate(self) -> None:
        """Send SIGTERM to the main process, as a container runtime does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to everything in the container."""
        if self._process.returncode is None:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


async def _started(command: Command, output: int) -> asyncio.subprocess.Process | Fork:
    if command.forks is not None:
        _, _, program, *arguments = command.argv
        writable = command.writable if confine.available() else None
        return command.forks.start(
            program, arguments, environment=command.env, folder=command.folder, stdout=output, stderr=output, writable=writable
        )
    return await asyncio.create_subprocess_exec(
        *command.executed(),
        env=dict(command.env),
        cwd=command.folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


async def run_to_end(command: Command, timeout_seconds: float) -> tuple[int | None, str]:
    """Execute a probe or hook in a container's surroundings; return its exit code (None: it took too long) and its output."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command.executed(),
            env=dict(command.env),
            cwd=command.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as exc:
        return 126, runtime_words(command.argv, exc)
    try:
        async with asyncio.timeout(timeout_seconds):
            output, _ = await process.communicate()
        return process.returncode, output.decode(errors="replace")
    except TimeoutError:
        return None, ""
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def runtime_words(argv: Sequence[str], exc: OSError) -> str:
    """What the container runtime says about a program that cannot be started."""
    why = (exc.strerror or str(exc)).lower()
    if isinstance(exc, FileNotFoundError):
        why = f"stat {argv[0]}: {why}" if "/" in argv[0] else "executable file not found in $PATH"
    return (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
        f'unable to start container process: exec: "{argv[0]}": {why}: unknown'
    )

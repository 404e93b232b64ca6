"""Python programs as forks of one interpreter that has imported what they need, which is most of what their start costs.

`Forks(programs)` starts that interpreter (`python -m sandbox.forks PROGRAM…`). `start` has it run one of them as
`python -m PROGRAM` would, in a session of its own; a fork ends as any interpreter does.

What it does not emulate: a fork's command line and first environment in `/proc` are those of the interpreter that it came from, and what an
interpreter reads of its environment as it starts (`PYTHON…`) is read no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandbox import names
from sandbox.confine import restrict

#: What the interpreter tells of a fork: its process id once it is there, and later how it ended, as `subprocess` does.
_WORD = struct.Struct("i")

#: Longer than any order: arguments and environment of a container.
_ORDER_BYTES = 1 << 20


class Fork:
    """A program that runs, with what one asks of an `asyncio.subprocess.Process`.

    Attributes:
        pid: Its process, which leads a session and a group of its own.
    """

    def __init__(self, told: int) -> None:
        self._told = told
        self._returncode: int | None = None
        word = os.read(told, _WORD.size)
        if not word:
            os.close(told)
            raise ChildProcessError("the interpreter that programs are forked from has ended")
        self.pid: int = _WORD.unpack(word)[0]

    @property
    def returncode(self) -> int | None:
        """How it ended, as `subprocess` says it: the exit code, or minus the signal; None while it runs."""
        if self._returncode is None and select.select([self._told], [], [], 0)[0]:
            self._hear()
        return self._returncode

    async def wait(self) -> int:
        """Wait for its end and return how it ended."""
        if self._returncode is None:
            loop, heard = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(self._told, heard.set)
            try:
                await heard.wait()
            finally:
                loop.remove_reader(self._told)
        return self.join()

    def join(self, timeout_seconds: float | None = None) -> int:
        """The same for whoever has no event loop.

        Raises:
            subprocess.TimeoutExpired: It runs on.
        """
        if self._returncode is None:
            if not select.select([self._told], [], [], timeout_seconds)[0]:
                raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout_seconds or 0)
            self._hear()
        assert self._returncode is not None
        return self._returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _hear(self) -> None:
        if self._returncode is not None:
            return
        word = os.read(self._told, _WORD.size)
        # Without a word its interpreter was killed, and nobody will ever know how it ended.
        self._returncode = _WORD.unpack(word)[0] if word else -signal.SIGKILL
        os.close(self._told)


class Forks:
    """The interpreter that programs are forked from; use it as a context manager.

    Args:
        programs: Packages whose `__main__` has a `main()` that returns the exit code.
        modules: What else is imported beforehand.
    """

    def __init__(self, programs: Sequence[str], modules: Sequence[str] = ()) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ORDER_BYTES)
        self._orders = ours
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox.forks", *(f"{program}.__main__" for program in programs), *modules],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        stdout: int,
        stderr: int,
        writable: Sequence[Path] | None = None,
    ) -> Fork:
        """Run `python -m PROGRAM` with these arguments.

        Args:
            program: One of the programs.
            arguments: What follows its name.
            environment: Its whole environment.
            folder: Its working directory.
            stdout: Where its output goes, as a file descriptor.
            stderr: Where its complaints go.
            writable: Where alone it may write, as `confine` holds it to that; None leaves it free.

        Raises:
            OSError: The interpreter is gone.
        """
        order = {
            "program": program,
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(folder),
            "writable": None if writable is None else [str(path) for path in writable],
        }
        told, tell = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._orders, [json.dumps(order).encode()], [tell, stdout, stderr])
        except OSError:
            os.close(told)
            raise
        finally:
            os.close(tell)
        return Fork(told)

    def close(self) -> None:
        """End the interpreter; what it runs goes on. Safe to call twice."""
        self._orders.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _serve(orders: socket.socket) -> dict[str, Any] | None:
    """Fork for each order until whoever gives them is gone; returns the order in each fork, and None at the end."""
    running: dict[int, int] = {}
    # A signal that a child has ended wakes the wait for orders.
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        readable, _, _ = select.select([orders.fileno(), woken], [], [])
        if woken in readable:
            os.read(woken, 1024)
            _tell_of_ended(running)
        if orders.fileno() not in readable:
            continue
        message, files, _, _ = socket.recv_fds(orders, _ORDER_BYTES, 3)
        if not message:
            return None
        tell, stdout, stderr = files
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            for file in (woken, wake, tell, *running.values()):
                os.close(file)
            orders.close()
            nothing = os.open(os.devnull, os.O_RDONLY)
            for file, stream in ((nothing, 0), (stdout, 1), (stderr, 2)):
                os.dup2(file, stream)
                os.close(file)
            order: dict[str, Any] = json.loads(message)
            return order
        os.close(stdout)
        os.close(stderr)
        running[pid] = tell
        os.write(tell, _WORD.pack(pid))


def _tell_of_ended(running: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            tell = running.pop(pid)
            with contextlib.suppress(BrokenPipeError):  # nobody asks for it any more
                os.write(tell, _WORD.pack(os.waitstatus_to_exitcode(status)))
            os.close(tell)


def _main(modules: Sequence[str]) -> int:
    for module in modules:
        importlib.import_module(module)
    # A Ctrl-C in the terminal is for whoever gives the orders.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # forks share these pages for as long as nobody writes to them, and the collector would
    order = _serve(socket.socket(fileno=os.dup(0)))
    if order is None:
        return 0
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(order["environment"])
    if names.VARIABLE in os.environ:
        names.follow(Path(os.environ[names.VARIABLE]))
    os.chdir(order["folder"])
    if order["writable"] is not None:
        restrict(order["writable"])
    program = sys.modules[f"{order['program']}.__main__"]
    sys.argv = [str(program.__file__), *order["arguments"]]
    code: int = program.main()
    return code


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))

"""The programs of the recorded pods, played by what their commands say: how long they run, how they end, what they answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import dataclass, field
from datetime import datetime

import httpx

from sandbox.kubernetes.meta.clock import utc_now
from sandbox.kubernetes.node.logs import LogFile
from sandbox.kubernetes.node.process import Command, Exit, Running, StartFailed, runtime_words

#: Between the order to start a container and its first line; the recorded machine took 0.1 to 0.3 s when it was idle.
START_SECONDS = 0.3

#: Until the recorded server listened.
LISTEN_SECONDS = 0.5


@dataclass
class Program:
    """A container that runs.

    Attributes:
        command: What was started.
        log: Where its words go.
    """

    command: Command
    log: LogFile
    pid: int
    started_at: datetime = field(default_factory=utc_now)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    terminating: bool = False
    _code: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _work: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Run, from now on."""
        self._work = asyncio.create_task(self._run())

    async def wait(self) -> Exit:
        """Wait for its end."""
        code = await self._code
        finished_at = utc_now()
        if self._work is not None:
            self._work.cancel()
        self.log.connection_lost(None)
        self.ended.set()
        return Exit(code=code, finished_at=finished_at)

    def terminate(self) -> None:
        """SIGTERM: as PID 1 a program without a handler ignores it."""
        term = float(self.command.env.get("TERM_SECONDS", "-1"))
        if self.is_server and term >= 0:
            self.log.data_received(b"SIGTERM\n")
            self.terminating = True
            asyncio.get_running_loop().call_later(term, self._end, 0)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(137)

    def answer(self, path: str) -> int:
        """The status that it answers a request with."""
        rules = json.loads(self.command.env.get("RULES", "{}"))
        age = (utc_now() - self.started_at).total_seconds()
        return next((code for begin, end, code in rules.get(path, []) if begin <= age < end), 200)

    @property
    def listens(self) -> bool:
        """Whether it answers requests by now."""
        return self.is_server and not self.ended.is_set() and (utc_now() - self.started_at).total_seconds() >= LISTEN_SECONDS

    @property
    def is_server(self) -> bool:
        """Whether it is the recorded HTTP server."""
        return "http.server" in self.command.argv[-1]

    def _end(self, code: int) -> None:
        if not self._code.done():
            self._code.set_result(code)

    async def _run(self) -> None:
        if self.is_server:
            return None
        for step in re.split(r"\s*;\s*", self.command.argv[-1]):
            word, _, rest = step.partition(" ")
            if word == "echo":
                self.log.data_received(f"{rest}\n".encode())
            elif word == "sleep":
                await asyncio.sleep(float(rest))
            elif word == "exit":
                return self._end(int(rest))
            elif word in ("while", "import"):
                return None  # for ever
        return self._end(0)


class PlayedRuntime:
    """Starts such programs; requests go to them by their pods' addresses."""

    def __init__(self) -> None:
        self.programs: dict[str, Program] = {}
        self._pids = iter(range(1000, 10**9))

    async def start(self, command: Command, log: LogFile) -> Running:
        """Start one."""
        await asyncio.sleep(START_SECONDS)
        program = command.argv[0]
        if "no/such" in program or "no-such" in program:
            raise StartFailed(runtime_words(command.argv, FileNotFoundError(2, "No such file or directory")))
        if program.endswith(".crt"):
            raise StartFailed(runtime_words(command.argv, PermissionError(13, "Permission denied")))
        running = Program(command=command, log=log, pid=next(self._pids))
        running.begin()
        self.programs[command.env.get("SANDBOX_POD_IP", "")] = running
        return running

    async def execute(self, command: Command, timeout_seconds: float) -> tuple[int | None, str]:
        """Execute a hook; the recorded ones say what they end with."""
        text = " ".join(command.argv)
        found, said = re.search(r"exit (\d+)", text), re.search(r"echo ([^;]+?);", text)
        return (int(found[1]) if found else 0), f"{said[1]}\n" if said else ""

    def close(self) -> None:
        """Nothing is left."""

    def http(self) -> httpx.AsyncClient:
        """A client that reaches the programs."""

        async def handle(request: httpx.Request) -> httpx.Response:
            program = self.programs.get(request.url.host)
            if program is None or not program.listens:
                raise httpx.ConnectError("refused", request=request)
            if program.terminating:  # its one thread is in the signal's handler
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await program.ended.wait()
                        raise httpx.ReadError("reset", request=request)
                raise httpx.ReadTimeout("silent", request=request)
            if "time.sleep(3)" in program.command.argv[-1]:
                await asyncio.sleep(3)
            return httpx.Response(program.answer(request.url.path))

        return httpx.AsyncClient(transport=httpx.MockTransport(handle))

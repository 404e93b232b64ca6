"""HTTP servers for the stand-ins: an asyncio loop in a thread of its own, and uvicorn on it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import uvicorn

T = TypeVar("T")

ASGIApp = Callable[..., Coroutine[Any, Any, None]]


class LoopThread:
    """An asyncio event loop that runs in a daemon thread until it is closed.

    Everything in the sandbox that serves or watches lives on one such loop, so that a world starts quickly and costs one thread.
    """

    def __init__(self, name: str = "sandbox") -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_seconds: float = 60.0) -> T:
        """Run the coroutine on the loop from another thread and return its result.

        Raises:
            TimeoutError: It did not end in time; it is cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout_seconds)
        except TimeoutError:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what still runs, stop the loop and wait for its thread. Safe to call twice."""
        if self.loop.is_closed():
            return
        with contextlib.suppress(TimeoutError):
            self.run(self._cancel_all(), timeout_seconds=10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=10)
        if not self._thread.is_alive():
            self.loop.close()

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.loop.shutdown_default_executor()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process belongs to whoever made the world."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


class HttpServer:
    """One ASGI application on one address, served on a `LoopThread`.

    Args:
        app: The ASGI application.
        loop: The loop to serve on.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        certificate: PEM files (certificate chain, private key) for TLS; plain HTTP without.
    """

    def __init__(
        self, app: ASGIApp, loop: LoopThread, *, host: str = "127.0.0.1", port: int = 0, certificate: tuple[Path, Path] | None = None
    ) -> None:
        self._loop = loop
        # With the protocol named, asyncio switches Nagle's algorithm off; otherwise every answer waits 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))
        self.host, self.port = self._socket.getsockname()
        self.url = f"{'https' if certificate else 'http'}://{self.host}:{self.port}"
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=30,
            ssl_certfile=certificate[0] if certificate else None,
            ssl_keyfile=certificate[1] if certificate else None,
        )
        config.load()
        if config.ssl is not None:
            config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to serve; returns when connections are accepted."""
        self._loop.run(self._start())

    async def _start(self) -> None:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.005)

    def close(self) -> None:
        """Stop serving; open responses get one second. Safe to call twice."""
        if self._task is not None:
            self._loop.run(self._stop())
            self._task = None
        self._socket.close()

    async def _stop(self) -> None:
        assert self._task is not None
        self._server.should_exit = True
        done, _ = await asyncio.wait({self._task}, timeout=5)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=5)

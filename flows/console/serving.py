"""The server that the console runs in: one process, a thread for each of forty requests."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from flows.errors import SpecInvalid

#: Requests at the same time; one more is told 503.
MOST_AT_ONCE = 500

#: Seconds that requests get which are under way when it is told to end; a release's progress would go on for hours.
LAST_REQUESTS_SECONDS = 10


@contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets that listen there.

    Raises:
        SpecInvalid: They cannot.
    """
    try:
        (family, *_), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        listener = socket.create_server((host, port), family=family, backlog=512)
    except (OSError, UnicodeError) as exc:
        why = getattr(exc, "strerror", None) or "it is no address"
        raise SpecInvalid(f"The console cannot listen on {host}:{port} ({why}): choose another with --host and --port.") from exc
    with listener:
        yield [listener]


def serve_until_ended(app: FastAPI, sockets: list[socket.socket]) -> None:
    """Answer until the process is told to end (SIGINT, SIGTERM)."""
    config = uvicorn.Config(
        app,
        # Whose headers are believed, and what is logged, the console decides itself.
        proxy_headers=False,
        access_log=False,
        server_header=False,
        log_config=None,
        limit_concurrency=MOST_AT_ONCE,
        timeout_graceful_shutdown=LAST_REQUESTS_SECONDS,
        lifespan="off",
        ws="none",
    )
    uvicorn.Server(config).run(sockets=sockets)

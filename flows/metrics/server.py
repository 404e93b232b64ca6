"""Serves metrics over HTTP: a connection that says nothing, or says it without end, holds nobody up for long."""

from __future__ import annotations

import socket
import threading
from collections import OrderedDict
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import make_wsgi_app

#: Connections that are open at the same time; a few Prometheus servers need one each. One more ends the oldest.
MOST_CONNECTIONS = 32

#: Seconds without a word after which a connection is closed.
SILENCE_SECONDS = 10.0


class MetricsServer(ThreadingMixIn, WSGIServer):
    """A thread for each connection, and no more than so many."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._open: OrderedDict[int, socket.socket] = OrderedDict()
        self._lock = threading.Lock()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; where there are too many, the oldest connection ends: a scrape is short, so it is one that only waits."""
        with self._lock:
            self._open[id(request)] = request
            oldest = next(iter(self._open.values())) if len(self._open) > MOST_CONNECTIONS else None
        if oldest is not None:
            with suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
            self._forget(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection."""
        self._forget(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: whoever hangs up in the middle is no error of ours."""

    def _forget(self, request: socket.socket) -> None:
        with self._lock:
            self._open.pop(id(request), None)


class _Handler(WSGIRequestHandler):
    # What `StreamRequestHandler` gives the socket.
    timeout = SILENCE_SECONDS

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of each scrape."""


def metrics_server(address: str, port: int, metrics: CollectorRegistry) -> MetricsServer:
    """A server of these metrics, which listens and does not serve yet (`serve_forever`).

    Raises:
        OSError: It cannot listen there.
    """
    (family, *_), *_ = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # The class says whether it is IPv6.
    kind = type("MetricsServer", (MetricsServer,), {"address_family": family})
    return make_server(address, port, make_wsgi_app(metrics), kind, handler_class=_Handler)

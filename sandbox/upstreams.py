"""The router's connections to engines: kept open for the next request, and closed when the endpoint is another candidate's."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager

import httpx

from sandbox.routes import Engines

#: Base URL, headers to add, and how to check the server's certificate (None for plain HTTP) of an endpoint in the cluster.
Target = tuple[str, Mapping[str, str], ssl.SSLContext | None]


class _Upstream:
    """Connections to the engines of one candidate at one endpoint."""

    def __init__(self, target: Target) -> None:
        self.base, self.headers, context = target
        # No limit on reading: a long answer is the engine's business, and ours ends when its connection does.
        timeout, limits = httpx.Timeout(5.0, read=None), httpx.Limits(max_connections=None, max_keepalive_connections=100)
        self.client = httpx.AsyncClient(verify=context or _plain(), timeout=timeout, limits=limits, trust_env=False)
        self.under_way = 0
        self.retired = False

    async def close_if_done(self) -> None:
        if self.retired and not self.under_way:
            await self.client.aclose()


@functools.cache
def _plain() -> ssl.SSLContext:
    return ssl.create_default_context()  # once: it reads all the world's authorities, and there is nothing here to check by them


class Upstreams:
    """Sends requests to engines.

    Args:
        resolve: Turns an endpoint (`name.namespace.svc.cluster.local:8000`) into how to reach it from here.
    """

    def __init__(self, resolve: Callable[[str], Target]) -> None:
        self._resolve = functools.cache(resolve)
        self._upstreams: dict[Engines, _Upstream] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def sent(self, engines: Engines, path: str, body: bytes, content_type: str) -> AsyncIterator[httpx.Response]:
        """The answer to a request whose body is not read yet.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout: Nothing was sent.
            httpx.TransportError: It broke on the way.
        """
        upstream = self._upstreams.get(engines)
        if upstream is None:
            upstream = self._upstreams[engines] = _Upstream(self._resolve(engines.endpoint))
        headers = {"content-type": content_type, "accept-encoding": "identity", **upstream.headers}
        upstream.under_way += 1
        try:
            async with upstream.client.stream("POST", upstream.base + path, content=body, headers=headers) as answer:
                yield answer
        finally:
            upstream.under_way -= 1
            await upstream.close_if_done()

    def keep(self, wanted: Collection[Engines]) -> None:
        """Close idle connections to all others; what is under way there goes on until it ends."""
        for engines in self._upstreams.keys() - set(wanted):
            upstream = self._upstreams.pop(engines)
            upstream.retired = True
            task = asyncio.ensure_future(upstream.close_if_done())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close all connections, whatever is under way."""
        while self._upstreams:
            await self._upstreams.popitem()[1].client.aclose()

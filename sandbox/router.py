"""The reference router: an OpenAI-compatible proxy in front of all models, which follows the registry as docs/router.md says.

All routes are kept in memory and changed by notices; they are loaded again once a minute, and whenever the connection was lost. While it
is lost the last known ones hold. Requests that are under way stay with the endpoint that they began with.

Not emulated: authentication, retries, limits, and balancing between endpoints.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

import httpx
import psycopg
from psycopg.rows import class_row
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.serving import HttpServer, LoopThread

#: Base URL, headers to add, and how to check the server's certificate (None for plain HTTP) of an endpoint in the cluster.
Target = tuple[str, Mapping[str, str], ssl.SSLContext | None]

_ALL = b"""
SELECT DISTINCT ON (model) model, endpoint, http_status, message
FROM slipway_routes
WHERE environment = %(environment)s AND organisation IS NOT DISTINCT FROM %(organisation)s
ORDER BY model, preference, verified_at DESC NULLS LAST, updated_at DESC NULLS LAST
"""
_ONE = b"""
SELECT %(model)s::text AS model, endpoint, http_status, message FROM route(%(model)s, NULL, %(environment)s, %(organisation)s)
"""
#: A peer that vanished without a word is given up after these seconds (TCP only).
_GONE: dict[str, Any] = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 15_000}


class _Place(NamedTuple):
    model: str
    endpoint: str | None
    http_status: int
    message: str | None


class Router:
    """The router of one environment.

    Args:
        dsn: The registry's database; a member of `slipway_router` is enough.
        resolve: Turns an endpoint (`name.namespace.svc.cluster.local:8000`) into how to reach it from here.
        loop: The loop to serve on.
        environment: Whose entries are served.
        organisation: Whose entries, where there are several organisations.
        resync_seconds: How often everything is loaded again.
    """

    def __init__(
        self,
        dsn: str,
        resolve: Callable[[str], Target],
        loop: LoopThread,
        environment: str = "production",
        *,
        organisation: str | None = None,
        resync_seconds: float = 60.0,
    ) -> None:
        self._dsn = dsn
        self._resolve = functools.cache(resolve)
        self._loop = loop
        self._whose = {"environment": environment, "organisation": organisation}
        self._resync_seconds = resync_seconds
        self._places: dict[str, _Place] | None = None
        self._tried = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._clients: dict[ssl.SSLContext | None, httpx.AsyncClient] = {}
        routes = [Route("/v1/models", self._models, methods=["GET"]), Route("/v1/{path:path}", self._forward, methods=["POST"])]
        self._server = HttpServer(Starlette(routes=routes), loop)
        self.url = self._server.url

    def start(self) -> None:
        """Load the routes and begin to serve. A database that is down is tried again until it is up; requests are told."""
        self._loop.run(self._begin())
        self._server.start()

    def close(self) -> None:
        """Stop serving and close all connections. Safe to call twice."""
        self._server.close()
        self._loop.run(self._end())

    async def _begin(self) -> None:
        self._following = asyncio.create_task(self._follow())
        await self._tried.wait()

    async def _end(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
        while self._clients:
            await self._clients.popitem()[1].aclose()

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True, connect_timeout=5, **_GONE) as connection:
                    # Listening comes first: what changes between the two is then heard.
                    await connection.execute("LISTEN slipway_routes")
                    while True:
                        await self._load(connection)
                        await self._listen(connection)
            self._tried.set()
            await asyncio.sleep(0.5)

    async def _load(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._places = {place.model: place for place in await self._read(connection, _ALL)}
        self._tried.set()

    async def _listen(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Follow the notices until it is time to load everything again."""
        end = time.monotonic() + self._resync_seconds
        while (left := end - time.monotonic()) > 0:
            heard = {notice.payload async for notice in connection.notifies(timeout=left, stop_after=1)}
            for told in map(_json_object, heard):
                if "model" not in told:  # a name that is too long for a notice, or somebody's joke
                    return
                # A notice names the place and not the news: the row is read, so that late and doubled notices do no harm.
                if {name: told.get(name) for name in self._whose} == self._whose and self._places is not None:
                    (place,) = await self._read(connection, _ONE, model=str(told["model"]))
                    self._places[place.model] = place

    async def _read(self, connection: psycopg.AsyncConnection[Any], statement: bytes, **more: str) -> list[_Place]:
        async with connection.cursor(row_factory=class_row(_Place)) as cursor:
            return await (await cursor.execute(statement, {**self._whose, **more})).fetchall()

    async def _models(self, request: Request) -> Response:
        if self._places is None:
            return _error(503, "the registry cannot be reached")
        names = sorted(place.model for place in self._places.values() if place.endpoint)
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "slipway"} for name in names]})

    async def _forward(self, request: Request) -> Response:
        body = await request.body()
        model = _json_object(body).get("model")
        if not isinstance(model, str):
            return _error(400, "the request body is not a JSON object that names a model", param="model")
        if self._places is None:
            return _error(503, "the registry cannot be reached")
        place = self._places.get(model) or _Place(model, None, 404, f"model {model} is unknown in {self._whose['environment']}")
        if place.endpoint is None:
            return _error(place.http_status, place.message or "", param="model")
        base, headers, context = self._resolve(place.endpoint)
        sent = {"content-type": request.headers.get("content-type", "application/json"), "accept-encoding": "identity", **headers}
        client = self._client(context)
        try:
            answer = await client.send(client.build_request("POST", base + request.url.path, content=body, headers=sent), stream=True)
        except httpx.TransportError as exc:
            return _error(502, f"the endpoint of {model} does not answer: {type(exc).__name__}")
        kept = {name: value for name, value in answer.headers.items() if name in ("content-type", "content-length", "retry-after")}
        return StreamingResponse(_relayed(answer), status_code=answer.status_code, headers=kept)

    def _client(self, context: ssl.SSLContext | None) -> httpx.AsyncClient:
        if context not in self._clients:
            # No limit on reading: a long answer is the engine's business, and ours ends when its connection does.
            timeout, limits = httpx.Timeout(5.0, read=None), httpx.Limits(max_connections=None, max_keepalive_connections=100)
            self._clients[context] = httpx.AsyncClient(verify=context or True, timeout=timeout, limits=limits, trust_env=False)
        return self._clients[context]


async def _relayed(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()


def _json_object(text: str | bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _error(status: int, message: str, param: str | None = None) -> Response:
    kinds = {400: "BadRequestError", 404: "NotFoundError", 502: "BadGatewayError", 503: "ServiceUnavailableError"}
    return JSONResponse({"error": {"message": message, "type": kinds[status], "param": param, "code": status}}, status_code=status)

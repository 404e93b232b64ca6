"""The reference router: an OpenAI-compatible proxy in front of all models, which follows the registry as docs/router.md says.

All routes are kept in memory (`sandbox.routes`); while the registry is away the last known ones hold. Requests that are under way stay
with the endpoint that they began with. Where there is a canary it gets its share, and copies (`sandbox.weights`).

Not emulated: authentication, retries, limits, and balancing between endpoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import httpx
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.passing import PassedOn, Passing
from sandbox.router_metrics import RouterMetrics
from sandbox.routes import Engines, Place, Routes, json_object, sendable
from sandbox.serving import HttpServer, LoopThread
from sandbox.upstreams import Target, Upstreams
from sandbox.weights import lies_below, may_be_copied, point, session_key

__all__ = ["Router", "Target"]

#: Copies that are under way at the most, and seconds that one may take: they must not cost the requests that count anything.
_MOST_COPIES, _COPY_SECONDS = 32, 600.0


class Router:
    """The router of one environment.

    Args:
        dsn: The registry's database; a member of `slipway_router` is enough. A pooler may lie between.
        resolve: Turns an endpoint (`name.namespace.svc.cluster.local:8000`) into how to reach it from here.
        loop: The loop to serve on.
        environment: Whose entries are served.
        organisation: Whose entries, where there are several organisations.
        resync_seconds: How often everything is loaded again.
        direct_dsn: The same database past the pooler, where notices are heard.
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
        direct_dsn: str | None = None,
    ) -> None:
        self.routes = Routes(dsn, environment, organisation=organisation, resync_seconds=resync_seconds, direct_dsn=direct_dsn)
        self.routes.changed = self._changed
        self._upstreams = Upstreams(resolve)
        self._metrics = RouterMetrics(environment)
        self._loop = loop
        self._environment = environment
        self._following: asyncio.Task[None] | None = None
        self._copies: set[asyncio.Task[None]] = set()
        routes = [
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/v1/{path:path}", self._forward, methods=["POST"]),
            Route("/metrics", self._told, methods=["GET"]),
        ]
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
        self._following = asyncio.create_task(self.routes.follow())
        await self.routes.tried.wait()

    async def _end(self) -> None:
        ended = [*self._copies, *([self._following] if self._following is not None else [])]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        await self._upstreams.close()

    def _changed(self) -> None:
        places = (self.routes.places or {}).values()
        self._upstreams.keep({engines for place in places for engines in (place.current, place.canary) if engines is not None})

    async def _models(self, request: Request) -> Response:
        if self.routes.places is None:
            return _error(503, "the registry cannot be reached")
        names = sorted(place.model for place in self.routes.places.values() if place.endpoint)
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "slipway"} for name in names]})

    async def _told(self, request: Request) -> Response:
        return Response(self._metrics.render(), media_type=CONTENT_TYPE_LATEST)

    async def _forward(self, request: Request) -> Response:
        body = await request.body()
        asked = json_object(body)
        model = asked.get("model")
        if not isinstance(model, str):
            return _error(400, "the request body is not a JSON object that names a model", param="model")
        if self.routes.places is None:
            return _error(503, "the registry cannot be reached")
        place = self.routes.places.get(model) or Place(model, None, 404, f"model {sendable(model)} is unknown in {self._environment}")
        current, canary = place.current, place.canary
        if current is None:
            return _error(place.http_status, place.message or "", param="model")
        sent = _Sent(model, request.url.path, body, request.headers.get("content-type", "application/json"))
        key = session_key(request.headers, asked)
        if canary is not None and lies_below(point("weight", canary.candidate, key), place.canary_weight):
            try:
                return await self._passed_on(request, canary, sent)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                pass  # nothing was sent, and the failure is counted: what serves answers instead
            except httpx.TransportError as exc:
                return _unanswered(model, exc)  # it may have been done, and is not asked for twice
        elif canary is not None and may_be_copied(sent.path, asked) and lies_below(point("shadow", canary.candidate, key), place.shadow):
            self._copy(canary, sent)
        try:
            return await self._passed_on(request, current, sent)
        except httpx.TransportError as exc:
            return _unanswered(model, exc)

    async def _passed_on(self, request: Request, engines: Engines, sent: _Sent) -> Response:
        passing = Passing(self._metrics.series(sent.model, engines.candidate, "live", len(sent.body)))
        sending = asyncio.ensure_future(passing.send(self._upstreams.sent(engines, sent.path, sent.body, sent.content_type)))
        # Whoever goes away while nothing has come yet is waited for by nobody: the engine should hear of it, and it counts.
        left = asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait({sending, left}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            if not sending.done():
                sending.cancel()
        try:
            return PassedOn(passing, await sending)
        except asyncio.CancelledError:
            return Response(status_code=499)  # nobody reads it

    def _copy(self, canary: Engines, sent: _Sent) -> None:
        """Send a copy, without waiting for anything of it."""
        if len(self._copies) >= _MOST_COPIES:
            self._metrics.dropped.labels(sent.model).inc()
            return
        task = asyncio.ensure_future(self._copied(canary, sent))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _copied(self, canary: Engines, sent: _Sent) -> None:
        passing = Passing(self._metrics.series(sent.model, canary.candidate, "shadow", len(sent.body)))
        try:
            async with asyncio.timeout(_COPY_SECONDS):
                answer = await passing.send(self._upstreams.sent(canary, sent.path, sent.body, sent.content_type))
                async for _ in passing.pieces(answer):
                    pass
        except TimeoutError:
            await passing.end("error")
        except httpx.TransportError:
            pass  # it is counted, and nobody waits for it
        finally:
            await passing.end("aborted")


class _Sent(NamedTuple):
    """A request as it is sent on."""

    model: str
    path: str
    body: bytes
    content_type: str


def _unanswered(model: str, error: httpx.TransportError) -> Response:
    return _error(502, f"the endpoint of {model} does not answer: {type(error).__name__}")


def _error(status: int, message: str, param: str | None = None) -> Response:
    kinds = {400: "BadRequestError", 404: "NotFoundError", 502: "BadGatewayError", 503: "ServiceUnavailableError"}
    return JSONResponse({"error": {"message": message, "type": kinds[status], "param": param, "code": status}}, status_code=status)

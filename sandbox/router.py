"""The reference router: an OpenAI-compatible proxy in front of all models, which follows the registry as docs/router.md says.

All routes are kept in memory (`sandbox.routes`); while the registry is away the last known ones hold. Requests that are under way stay
with the endpoint that they began with.

Not emulated: authentication, retries, limits, and balancing between endpoints.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Callable, Mapping

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.routes import Place, Routes, json_object, sendable
from sandbox.serving import HttpServer, LoopThread

#: Base URL, headers to add, and how to check the server's certificate (None for plain HTTP) of an endpoint in the cluster.
Target = tuple[str, Mapping[str, str], ssl.SSLContext | None]


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
        self._resolve = functools.cache(resolve)
        self._loop = loop
        self._environment = environment
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
        self._following = asyncio.create_task(self.routes.follow())
        await self.routes.tried.wait()

    async def _end(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
        while self._clients:
            await self._clients.popitem()[1].aclose()

    async def _models(self, request: Request) -> Response:
        if self.routes.places is None:
            return _error(503, "the registry cannot be reached")
        names = sorted(place.model for place in self.routes.places.values() if place.endpoint)
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "slipway"} for name in names]})

    async def _forward(self, request: Request) -> Response:
        body = await request.body()
        model = json_object(body).get("model")
        if not isinstance(model, str):
            return _error(400, "the request body is not a JSON object that names a model", param="model")
        if self.routes.places is None:
            return _error(503, "the registry cannot be reached")
        place = self.routes.places.get(model) or Place(model, None, 404, f"model {sendable(model)} is unknown in {self._environment}")
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


def _error(status: int, message: str, param: str | None = None) -> Response:
    kinds = {400: "BadRequestError", 404: "NotFoundError", 502: "BadGatewayError", 503: "ServiceUnavailableError"}
    return JSONResponse({"error": {"message": message, "type": kinds[status], "param": param, "code": status}}, status_code=status)

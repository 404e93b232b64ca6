"""A small router in front of all models: an OpenAI-compatible proxy that asks the registry where each model is ready.

Not emulated: authentication, retries, balancing between endpoints, and caching; every request asks the database on a
connection of its own, so that a row that is no longer `ready` gets no traffic from the next request on.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx
import psycopg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.serving import HttpServer, LoopThread

#: Base URL, headers to add, and how to check the server's certificate (None for plain HTTP) of an endpoint in the cluster.
Target = tuple[str, Mapping[str, str], ssl.SSLContext | None]

_ENDPOINT = """
SELECT deployment_endpoint, deployment_status FROM model_registry_entries
WHERE model_name = %s AND deployment_environment = %s
ORDER BY deployment_status = 'ready' DESC, verified_at DESC NULLS LAST LIMIT 1
"""
_READY = """
SELECT DISTINCT model_name FROM model_registry_entries WHERE deployment_status = 'ready' AND deployment_environment = %s ORDER BY 1
"""


class Router:
    """The router of one environment.

    Args:
        dsn: The registry's database.
        resolve: Turns an endpoint (`name.namespace.svc.cluster.local:8000`) into how to reach it from here.
        loop: The loop to serve on.
        environment: Whose entries are served.
    """

    def __init__(self, dsn: str, resolve: Callable[[str], Target], loop: LoopThread, environment: str = "production") -> None:
        self._dsn = dsn
        self._resolve = resolve
        self._loop = loop
        self._environment = environment
        self._clients: dict[ssl.SSLContext | None, httpx.AsyncClient] = {}
        routes = [Route("/v1/models", self._models, methods=["GET"]), Route("/v1/{path:path}", self._forward, methods=["POST"])]
        self._server = HttpServer(Starlette(routes=routes, exception_handlers={psycopg.Error: _registry_down}), loop)
        self.url = self._server.url

    def start(self) -> None:
        """Begin to serve; a database that is down is noticed by the requests and not here."""
        self._server.start()

    def close(self) -> None:
        """Stop serving and close all connections. Safe to call twice."""
        self._server.close()
        while self._clients:
            self._loop.run(self._clients.popitem()[1].aclose())

    async def _models(self, request: Request) -> Response:
        names = [str(row[0]) for row in await self._query(_READY, self._environment)]
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "slipway"} for name in names]})

    async def _forward(self, request: Request) -> Response:
        body = await request.body()
        model = _model_of(body)
        if model is None:
            return _error(400, "the request body is not a JSON object that names a model", param="model")
        rows = await self._query(_ENDPOINT, model, self._environment)
        if not rows:
            return _error(404, f"The model `{model}` does not exist.", param="model")
        endpoint, status = rows[0]
        if status != "ready" or not endpoint:
            return _error(503, f"The model `{model}` is not ready: it is {status}.", param="model")
        base, headers, context = self._resolve(endpoint)
        sent = {"content-type": request.headers.get("content-type", "application/json"), "accept-encoding": "identity", **headers}
        client = self._client(context)
        try:
            answer = await client.send(client.build_request("POST", base + request.url.path, content=body, headers=sent), stream=True)
        except httpx.TransportError as exc:
            return _error(502, f"The endpoint of `{model}` does not answer: {type(exc).__name__}.")
        kept = {name: value for name, value in answer.headers.items() if name in ("content-type", "content-length", "retry-after")}
        return StreamingResponse(_relayed(answer), status_code=answer.status_code, headers=kept)

    async def _query(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True, connect_timeout=5) as connection:
            return await (await connection.execute(statement.encode(), values)).fetchall()

    def _client(self, context: ssl.SSLContext | None) -> httpx.AsyncClient:
        if context not in self._clients:
            # No limit on reading: a long answer is the engine's business, and ours ends when its connection does.
            self._clients[context] = httpx.AsyncClient(verify=context or True, timeout=httpx.Timeout(5.0, read=None), trust_env=False)
        return self._clients[context]


async def _relayed(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()


def _model_of(body: bytes) -> str | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    model = document.get("model") if isinstance(document, dict) else None
    return model if isinstance(model, str) else None


def _registry_down(request: Request, error: Exception) -> Response:
    return _error(503, "the registry cannot be reached")


def _error(status: int, message: str, param: str | None = None) -> Response:
    kinds = {400: "BadRequestError", 404: "NotFoundError", 502: "BadGatewayError", 503: "ServiceUnavailableError"}
    return JSONResponse({"error": {"message": message, "type": kinds[status], "param": param, "code": status}}, status_code=status)

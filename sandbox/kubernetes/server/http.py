"""The API server's HTTP side, as an ASGI application: who asks, what the body says, and what is answered or passed on."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import yaml

from sandbox.kubernetes.admission.access import Tokens, User
from sandbox.kubernetes.admission.requests import Request, Target
from sandbox.kubernetes.meta import errors
from sandbox.kubernetes.meta.decoding import DuplicateKeys
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.protobuf import decode_protobuf
from sandbox.kubernetes.server.connection import ANONYMOUS, Connection, Exchange, Receive, Scope, Send
from sandbox.kubernetes.server.proxy import Proxy, response_headers
from sandbox.kubernetes.server.routing import Router

_HEALTH = ("/healthz", "/livez", "/readyz")
_LOG_LENGTH = 5_000


class HttpApp:
    """The ASGI application.

    Attributes:
        exchanges: The last requests that came over HTTP, oldest first.
    """

    def __init__(self, router: Router, tokens: Tokens, proxy: Proxy) -> None:
        self._router = router
        self._tokens = tokens
        self._proxy = proxy
        self.exchanges: deque[Exchange] = deque(maxlen=_LOG_LENGTH)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        connection = Connection(scope, receive, send, headers, query, self.exchanges)
        try:
            if scope["path"].startswith(_HEALTH):
                await connection.send_text("ok")
                return
            connection.user = self._authenticate(headers)
            if "impersonate-user" in headers:
                groups = tuple(value.decode() for name, value in scope["headers"] if name.lower() == b"impersonate-group")
                connection.user = self._router.impersonated(connection.user, headers["impersonate-user"], groups, connection.request())
            await self._serve(connection)
        except ApiError as error:
            await connection.send_json(error.code, error.status)
        except Exception as exc:
            # uvicorn runs silently here: without this a mistake of ours would look like a lost connection.
            if connection.started:
                raise
            mistake = ApiError(500, "InternalError", f"Internal error occurred: {type(exc).__name__}: {exc}")
            await connection.send_json(mistake.code, mistake.status)
            raise

    def _authenticate(self, headers: Mapping[str, str]) -> User:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if not token:
            return ANONYMOUS
        user = self._tokens.user(token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise errors.unauthorized()
        return user

    async def _serve(self, connection: Connection) -> None:
        request = connection.request()
        if "/proxy" in request.path or request.path.endswith("/log"):
            target = self._router.authorized_target(request)
            if target is not None and target.subresource == "proxy":
                return await self._pass_on(connection, target)
            if target is not None and target.subresource == "log":
                return await self._send_log(connection, request, target)
        request.body = decode_body(await connection.read(), request.content_type, strict=request.query.get("fieldValidation") == "Strict")
        answer = self._router.answer(request)
        return await connection.send_answer(request, answer)

    async def _pass_on(self, connection: Connection, target: Target) -> None:
        url = self._proxy.address(target)
        # As the real one, so that relative links lead to the program behind it.
        if not target.rest and connection.scope["method"] in ("GET", "HEAD"):
            return await connection.redirect(connection.scope["path"] + "/")
        query = connection.scope["query_string"].decode()
        has_body = "content-length" in connection.headers or "transfer-encoding" in connection.headers
        body = connection.stream() if has_body else None
        headers = {**connection.headers, "x-forwarded-uri": connection.scope["path"], "x-forwarded-proto": "https"}
        response = await self._proxy.open(connection.scope["method"], url + target.rest + (f"?{query}" if query else ""), headers, body)
        async with contextlib.aclosing(response):
            await connection.start(response.status_code, response_headers(response))
            await connection.send_chunks(response.aiter_raw())
        return None

    async def _send_log(self, connection: Connection, request: Request, target: Target) -> None:
        url = self._proxy.log_url(request, target)
        if not url:
            return await connection.send_text("")
        response = await self._proxy.open("GET", url, {}, None)
        async with contextlib.aclosing(response):
            if response.status_code >= 400:
                raise await self._proxy.log_error(response)
            await connection.start(200, [(b"content-type", b"text/plain; charset=utf-8")])
            await connection.send_chunks(response.aiter_raw())
        return None


def decode_body(raw: bytes, content_type: str, *, strict: bool) -> Any:
    """The value that a request's body holds; None if it is empty.

    Raises:
        ApiError: 400 if it cannot be parsed; 415 for protobuf of a kind that is not understood.
    """
    if not raw:
        return None
    if "protobuf" in content_type:
        return decode_protobuf(raw)
    try:
        return json.loads(raw, object_pairs_hook=_with_duplicates if strict else None)
    except ValueError as exc:
        if "yaml" not in content_type:
            raise errors.bad_request(f"couldn't get version/kind; json parse error: {exc}") from exc
    try:
        return yaml.safe_load(raw)
    except yaml.YAMLError as exc:
        raise errors.bad_request(f"error decoding YAML: {exc}") from exc


def _with_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    marked = DuplicateKeys(value)
    seen: set[str] = set()
    marked.duplicates = tuple(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return marked

"""Ids of requests: every answer and every line of the log names its own."""

from __future__ import annotations

import logging
import re
import time
from secrets import token_hex
from typing import TYPE_CHECKING

from flows.runtime.json_logs import about

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logging.getLogger("flows.console.requests")

#: What a proxy or a client may call a request: no more than that is taken over into a log.
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


def request_id(scope: Scope) -> str:
    """The id of the request."""
    return str(scope.get("state", {}).get("request_id", ""))


class RequestIds:
    """Gives each request its id, and logs how it ended: method, path, status, time; never a header, a query or a body.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        own = given if _ID.fullmatch(given) else token_hex(16)
        scope.setdefault("state", {})["request_id"] = own
        about(request=own)
        begun, status = time.monotonic(), 500

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", own.encode())]
            await send(message)

        try:
            await self._app(scope, receive, named)
        finally:
            seconds = time.monotonic() - begun
            _LOG.info("%s %s: %d in %.3f s", scope["method"], scope["path"], status, seconds)

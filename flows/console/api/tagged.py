"""Entity tags: who has the same answer already is told so in a hundred bytes (304)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

#: What such a route may answer beside what it is for.
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "What you have is what there is."}}


class Tagged(APIRoute):
    """A route whose answers to GET have an `ETag`, and are 304 to who names it in `If-None-Match`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler around the route's own."""
        answer = super().get_route_handler()

        async def tagged(request: Request) -> Response:
            response = await answer(request)
            if request.method != "GET" or response.status_code != 200 or not isinstance(getattr(response, "body", None), bytes):
                return response
            tag = f'"{hashlib.sha256(bytes(response.body)).hexdigest()[:32]}"'
            # A browser may keep it and must ask each time; nothing in between may.
            headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
            if _names(request.headers.get("If-None-Match", ""), tag):
                return Response(status_code=304, headers=headers)
            response.headers.update(headers)
            return response

        return tagged


def _names(header: str, tag: str) -> bool:
    """Whether the header names the tag; for reading, a weak one is as good (RFC 9110, 13.1.2)."""
    return header.strip() == "*" or tag in (each.strip().removeprefix("W/") for each in header.split(","))

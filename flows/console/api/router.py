"""The API as a whole: `/api/v1`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from flows.console.access.who import SignedIn
from flows.console.edge.problems import documented

#: What any endpoint may answer.
EVERYWHERE = documented(401, 403, 404, 422, 429, 503)


def api_router() -> APIRouter:
    """All of it."""
    router = APIRouter(prefix="/api/v1", responses=EVERYWHERE)
    router.add_api_route("/me", me, summary="Who you are, and what you may.")
    return router


def me(caller: SignedIn) -> dict[str, Any]:
    """Who you are, how that is known, your grants, and what a browser's script sends as `X-CSRF-Token` to change anything."""
    return {**caller.summary(), "csrf": caller.csrf}

"""The API as a whole: `/api/v1`, and the document that describes it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from flows.console.access.who import SignedIn
from flows.console.api import actions, following, reading, record, tokens
from flows.console.api.tagged import Tagged
from flows.console.edge.problems import Problem, documented
from flows.spec.access import Role

#: What any endpoint may answer.
EVERYWHERE = documented(400, 401, 403, 404, 422, 429, 500, 502, 503)

_ABOUT = (
    "What Slipway knows, and what it may be asked to do. Errors are problem details (RFC 9457). Reads have entity tags; long lists come in "
    "pages, by `cursor`. What does something needs an `Idempotency-Key`: sent again, it is done once."
)


class Granted(BaseModel):
    """A role of yours, and where you have it."""

    role: Role
    models: list[str]
    environments: list[str]


class Me(BaseModel):
    """Who you are."""

    name: str
    how: str
    grants: list[Granted]
    csrf: str


def api_router() -> APIRouter:
    """All of it."""
    router = APIRouter(prefix="/api/v1", responses=EVERYWHERE, route_class=Tagged)
    router.add_api_route("/openapi.json", document, include_in_schema=False)
    router.add_api_route("/me", me, summary="Who you are, and what you may.", tags=["reads"])
    # What is followed comes before what would take its address for a name.
    for part in (following, reading, record, actions, tokens):
        router.include_router(part.router)
    return router


def me(caller: SignedIn) -> Me:
    """Who you are, how that is known, your grants, and what a browser's script sends as `X-CSRF-Token` to change anything."""
    return Me.model_validate({**caller.summary(), "csrf": caller.csrf})


def document(request: Request) -> dict[str, Any]:
    """The OpenAPI document; for everybody, as it says nothing of what there is here."""
    app: FastAPI = request.app
    if app.openapi_schema is None:
        found = get_openapi(title="Slipway", version="1", description=_ABOUT, routes=app.routes)
        parts = found.setdefault("components", {})
        parts.setdefault("schemas", {})
        for name, schema in _problem_schemas().items():
            parts["schemas"][name] = schema
        parts["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "Made by `slipway token create`."},
            "session": {"type": "apiKey", "in": "cookie", "name": "__Host-slipway-session", "description": "Made by `/sign-in`."},
        }
        found["security"] = [{"token": []}, {"session": []}]
        app.openapi_schema = found
    return app.openapi_schema


def _problem_schemas() -> dict[str, Any]:
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs", {}), "Problem": schema}

"""Where people sign in and out: `/sign-in`, the provider's answer, `/sign-out`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse

from flows.console.access.oidc import SignIn
from flows.console.access.sealed import Seal, TooLarge
from flows.console.access.sessions import begin_session, cookie_name, drop_cookie, session_of, set_cookie
from flows.console.access.tokens import digest
from flows.console.access.who import SignedIn
from flows.console.edge.gate import address_of
from flows.console.edge.problems import ProblemError
from flows.console.services import Services
from flows.console.settings import ConsoleSettings

router = APIRouter(include_in_schema=False)

CALLBACK = "/sign-in/callback"

#: Seconds that somebody has to sign in at the provider.
_PATIENCE_SECONDS = 600

_PURPOSE = "sign-in"


def own_path(wanted: str) -> str:
    """Where to go after a sign-in: an address of the console, whatever was asked for (no `//host`, no `/\\host`, no other sign)."""
    return wanted if re.fullmatch(r"/(?![/\\])[A-Za-z0-9/_.~%?&=:@+,-]{0,1000}", wanted) else "/"


@router.get("/sign-in")
async def begin(request: Request, next: Annotated[str, Query()] = "/") -> Response:  # as people know it
    """Send the browser to the provider."""
    settings, sign_in = _of(request)
    response, kept = await sign_in.begin(request, f"{settings.url}{CALLBACK}")
    value = Seal(settings.keys).close(_PURPOSE, {"kept": kept, "next": own_path(next)})
    set_cookie(response, settings, "sign-in", value, _PATIENCE_SECONDS)
    return response


@router.get(CALLBACK)
async def finish(request: Request) -> Response:
    """Take the provider's answer, which must be this very browser's, and begin a session with an id of its own."""
    settings, sign_in = _of(request)
    begun = Seal(settings.keys).open(_PURPOSE, request.cookies.get(cookie_name(settings, "sign-in")), _PATIENCE_SECONDS)
    if begun is None:
        raise ProblemError(400, "sign-in-failed", "This sign-in was begun in another browser or too long ago: sign in again.")
    name, groups = await sign_in.finish(request, begun["kept"])
    services: Services = request.app.state.services
    # Of hundreds of groups, only those matter that a grant is for: all of them would not fit into a cookie.
    known = (await run_in_threadpool(services.deployments.access)).groups()
    response = RedirectResponse(begun["next"], status_code=303)
    try:
        begin_session(response, settings, name, [group for group in dict.fromkeys(groups) if group in known])
    except TooLarge:
        detail = "You are in more groups of deployments/access.yaml than a browser keeps: grant roles to fewer groups."
        raise ProblemError(403, "sign-in-failed", detail) from None
    drop_cookie(response, settings, "sign-in")
    return response


@router.post("/sign-out")
def sign_out(request: Request, caller: SignedIn) -> Response:
    """End the session, in this browser and wherever its cookie was copied to."""
    settings: ConsoleSettings = request.app.state.settings
    services: Services = request.app.state.services
    response = RedirectResponse("/", status_code=303)
    session = session_of(request, settings)
    if caller.how == "session" and session is not None:
        services.registry.access.end_session(digest(session.id), services.now() + timedelta(hours=settings.session_hours))
    drop_cookie(response, settings, "session")
    return response


def _of(request: Request) -> tuple[ConsoleSettings, SignIn]:
    settings: ConsoleSettings = request.app.state.settings
    sign_in: SignIn | None = request.app.state.sign_in
    if sign_in is None:
        raise ProblemError(404, "not-found", "People are signed in by the proxy before the console.")
    request.app.state.limits.sign_ins.require(address_of(request.scope, settings), "sign-ins")
    return settings, sign_in

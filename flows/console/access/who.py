"""The dependency of every endpoint that is not for everybody: who asks. It also keeps their rates, and other sites' pages out."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from flows.console.access.caller import Caller
from flows.console.access.own_pages import require_own_page
from flows.console.access.proxy import told_by_proxy
from flows.console.access.sessions import form_token, session_of
from flows.console.access.tokens import bearer, caller_of, digest
from flows.console.edge.gate import address_of
from flows.console.edge.problems import ProblemError
from flows.console.services import Services
from flows.console.settings import ConsoleSettings
from flows.runtime.json_logs import about
from flows.spec.access import Role


async def signed_in(request: Request) -> Caller:
    """Who asks; found out once for a request.

    Raises:
        ProblemError: Nobody that is known (401), a page elsewhere (403), or too often (429).
    """
    found: Caller | None = getattr(request.state, "caller", None)
    if found is None:
        found = request.state.caller = await _sign_in(request)
    return found


async def _sign_in(request: Request) -> Caller:
    settings: ConsoleSettings = request.app.state.settings
    limits = request.app.state.limits
    try:
        found = await run_in_threadpool(known, request)
    except ProblemError:
        limits.sign_ins.require(address_of(request.scope, settings), "requests without a sign-in")
        raise
    about(caller=found.name)
    limits.callers.require(found.name, "requests of yours")
    await require_own_page(request, settings, found)
    if request.method not in ("GET", "HEAD"):
        limits.writes.require(found.name, "changes of yours")
    return found


def known(request: Request) -> Caller:
    """Who asks, and what they may at this moment.

    By a token if one is sent, whatever else is: who sends one means it; then by a proxy's word, then by a session.

    Raises:
        ProblemError: None of them is any good (401).
    """
    settings: ConsoleSettings = request.app.state.settings
    services: Services = request.app.state.services
    if (secret := bearer(request)) is not None:
        return caller_of(services.registry, secret)
    if (told := told_by_proxy(request, settings)) is not None:
        name, groups = told
        grants = services.deployments.access().of(name, groups)
        return Caller(name=name, how="proxy", grants=grants, csrf=form_token(settings, f"proxy\0{name}"))
    session = session_of(request, settings)
    # A cookie that somebody copied ends with the sign-out, too.
    if session is not None and not services.registry.access.is_ended(digest(session.id)):
        grants = services.deployments.access().of(session.name, session.groups)
        return Caller(name=session.name, how="session", grants=grants, csrf=form_token(settings, session.id))
    raise ProblemError(401, "not-signed-in", "Sign in, or send a token.", {"WWW-Authenticate": 'Bearer realm="slipway"'})


#: Who asks, as an endpoint's parameter.
SignedIn = Annotated[Caller, Depends(signed_in)]


class SignedInFirst(APIRoute):
    """A route that reads what was sent only of somebody it knows: of itself, FastAPI parses a body before it asks any dependency."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Ask who it is, then answer."""
        answer = super().get_route_handler()

        async def ask_first(request: Request) -> Response:
            await signed_in(request)
            return await answer(request)

        return ask_first


def require(caller: Caller, role: Role, model: str, environment: str) -> None:
    """Refuse somebody who may not.

    Raises:
        ProblemError: They see it and may not do it (403), or may not even know of it (404).
    """
    if not caller.sees(model, environment):
        raise ProblemError(404, "not-found", "There is no such model in such an environment that you may see.")
    if not caller.may(role, model, environment):
        raise ProblemError(403, "not-allowed", f"You are no {role} of {model} in {environment}.")


def require_admin(caller: Caller) -> None:
    """Refuse somebody who is no administrator of everything.

    Raises:
        ProblemError: They are not (403).
    """
    if not caller.is_admin():
        raise ProblemError(403, "not-allowed", "That is for administrators of all models and environments.")

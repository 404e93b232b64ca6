"""Sessions of people in browsers: all of one is in its cookie, but for that it was ended, which the registry remembers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from secrets import token_urlsafe

from fastapi import Request, Response

from flows.console.access.sealed import Seal
from flows.console.settings import ConsoleSettings

_PURPOSE = "session"


@dataclass(frozen=True, kw_only=True)
class Session:
    """That somebody has signed in.

    Attributes:
        id: Random, made at the sign-in.
        name: Who.
        groups: The groups that they were in then.
    """

    id: str
    name: str
    groups: tuple[str, ...]


def cookie_name(settings: ConsoleSettings, name: str) -> str:
    """The cookie's name. With its prefix, browsers take it from this very host alone, and over TLS."""
    return f"__Host-slipway-{name}" if settings.secure else f"slipway-{name}"


def set_cookie(response: Response, settings: ConsoleSettings, name: str, value: str, seconds: float) -> None:
    """Have the browser keep it: out of reach of scripts, and not sent along by other sites' forms."""
    response.set_cookie(
        cookie_name(settings, name), value, max_age=int(seconds), path="/", secure=settings.secure, httponly=True, samesite="lax"
    )


def drop_cookie(response: Response, settings: ConsoleSettings, name: str) -> None:
    """Have the browser forget it."""
    response.delete_cookie(cookie_name(settings, name), path="/", secure=settings.secure, httponly=True, samesite="lax")


def begin_session(response: Response, settings: ConsoleSettings, name: str, groups: Iterable[str]) -> None:
    """A new session, with an id of its own: one that somebody planted before is worth nothing."""
    document = {"id": token_urlsafe(24), "name": name, "groups": list(groups)}
    set_cookie(response, settings, "session", Seal(settings.keys).close(_PURPOSE, document), settings.session_hours * 3600)


def session_of(request: Request, settings: ConsoleSettings) -> Session | None:
    """The session that the request's cookie holds; none if there is none, or its time is up."""
    value = request.cookies.get(cookie_name(settings, "session"))
    document = Seal(settings.keys).open(_PURPOSE, value, settings.session_hours * 3600)
    return Session(id=document["id"], name=document["name"], groups=tuple(document["groups"])) if document is not None else None


def form_token(settings: ConsoleSettings, of: str) -> str:
    """What a form must bring along that is to be believed: nobody else can compute it, and it is another for each session."""
    return hmac.new(settings.keys[0].encode(), b"form\0" + of.encode(), hashlib.sha256).hexdigest()

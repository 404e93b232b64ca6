"""Whether a request that changes something comes from a page of the console, and not from one that has a browser send it (CSRF)."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qsl

from fastapi import Request

from flows.console.access.caller import Caller
from flows.console.edge.problems import ProblemError
from flows.console.settings import ConsoleSettings

#: Where a script puts the token, and the form's field of a page without one.
HEADER, FIELD = "X-CSRF-Token", "csrf"

_READS = ("GET", "HEAD", "OPTIONS")
_FORM = "application/x-www-form-urlencoded"

#: More than any form of the console has.
_MOST_FIELDS = 50


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a form; of one that is there twice, the last.

    Raises:
        ProblemError: It is no form (415, 400).
    """
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _FORM:
        raise ProblemError(415, "unsupported-media-type", f"A form is sent as {_FORM}.")
    try:
        text = (await request.body()).decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise ProblemError(400, "bad-request", "The form cannot be read.") from None


async def require_own_page(request: Request, settings: ConsoleSettings, caller: Caller) -> None:
    """Refuse a write that a browser sends with credentials of its own, unless a page of ours had it do so.

    Two walls: what the browser itself says of where it comes from, and a token that only our pages have.

    Raises:
        ProblemError: It comes from elsewhere (403).
    """
    if request.method in _READS or caller.how == "token":
        return
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if origin is None and site is None:
        raise _foreign("Your browser does not say which page it comes from.")
    if origin not in (None, settings.url) or site not in (None, "same-origin"):
        raise _foreign("It comes from another site's page.")
    given = request.headers.get(HEADER)
    if given is None and request.headers.get("Content-Type", "").startswith(_FORM):
        given = (await form_fields(request)).get(FIELD)
    if not hmac.compare_digest((given or "").encode(), caller.csrf.encode()):
        raise _foreign("Its token is missing or another session's: load the page again.")


def _foreign(why: str) -> ProblemError:
    return ProblemError(403, "foreign-request", f"The request was not taken. {why}")

"""The one way from values to a page: escaped templates, and words for times, sizes and states."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse

from blocks.wording import one_line
from flows.console.access.caller import Caller
from flows.console.edge.problems import Problem
from flows.console.pages.files import addresses
from flows.console.reads.known import Unknown
from flows.console.reads.site import Reads
from flows.console.services import Services
from flows.record.phases import BUDGET_SECONDS
from flows.text import gib
from flows.text.html import templates_in
from flows.verification.plots import phases_plot, time

#: Statuses in the order in which a bar shows them.
_SHARES = ("ready", "deploying", "pending", "degraded", "failed", "disabled")

#: Longest JSON of one document that a page shows, in characters.
LONGEST_JSON = 3_900


def page(request: Request, caller: Caller | None, template: str, values: Mapping[str, Any], *, here: str = "") -> HTMLResponse:
    """The page that a template makes of values.

    Args:
        request: What is answered.
        caller: Who asks; None where nobody is known.
        template: A file of `templates/`.
        values: What the template names.
        here: The entry of the menu that it belongs to.
    """
    services: Services = request.app.state.services
    common = {"caller": caller, "here": here, "now": services.now(), "asked": _asked(request, caller), "keys": new_key}
    return HTMLResponse(templates().get_template(template).render({**common, **values}))


def problem_page(request: Request, problem: Problem) -> HTMLResponse:
    """A problem as a page: what it is, and where to go."""
    next_ = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    back = request.headers.get("Referer", "")
    own = back.startswith(f"{request.app.state.settings.url}/")
    values = {"problem": problem, "next": next_ if request.method == "GET" else "/", "back": back if own else "/"}
    # Without its menu: it may be the registry that does not answer, and who asks may not be known.
    common = {"caller": None, "here": "", "now": request.app.state.services.now(), "asked": 0, "keys": new_key}
    return HTMLResponse(templates().get_template("problem.html.jinja").render({**common, **values}), problem.status)


def new_key() -> str:
    """A key for a form: handing it in twice does its deed once."""
    return str(uuid4())


def query(**wanted: str | int | None) -> str:
    """A query of what is not empty, safe within an attribute."""
    return urlencode({name: value for name, value in wanted.items() if value})


def shown_json(document: object, most: int = LONGEST_JSON) -> tuple[str, bool]:
    """A document as lines of JSON, and whether it was cut."""
    text = json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True, default=str)
    return text[:most], len(text) > most


def _asked(request: Request, caller: Caller | None) -> int:
    """How many requests wait that the caller may see: a figure of the menu."""
    if caller is None:
        return 0
    reads: Reads = request.app.state.reads
    return reads.count_waiting(caller.sees, caller.grants)


@cache
def templates() -> jinja2.Environment:
    """The templates, read once."""
    made = templates_in(Path(__file__).with_name("templates"))
    made.filters.update(
        age=_age,
        cut=one_line,
        gib=gib,
        moment=_moment,
        part=part,
        phases=lambda seconds: phases_plot(seconds, BUDGET_SECONDS),
        shares=_shares,
        size=_size,
        state=_state,
        time=_duration,
    )
    made.tests["unknown"] = lambda value: isinstance(value, Unknown)
    made.globals["files"] = addresses()
    made.globals["parts"] = made.get_template("parts.html.jinja").module
    return made


def _age(at: datetime, now: datetime) -> str:
    seconds = (now - at).total_seconds()
    if seconds < 60:
        return "just now"  # clocks differ: what lies ahead by as much is now, too
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 48 * 3600:
        return f"{seconds // 3600:.0f} h ago"
    return f"{seconds // 86400:.0f} days ago" if seconds < 60 * 86400 else f"{at:%Y-%m-%d}"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float) -> str:
    """A time as people read it: short ones to the figure, long ones in their own units."""
    if seconds < 600:
        return time(seconds)
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def part(text: str) -> str:
    """A text as one part of an address."""
    return quote(text, safe="")


def _state(word: str) -> str:
    """The class of a state's word; whatever the word is, it is one."""
    return f"s-{re.sub(r'[^a-z]+', '-', word.lower())[:30]}"


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:,.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.1f} MB"


def _shares(counts: Mapping[str, int]) -> Iterator[tuple[str, str, str]]:
    """Where the part of each status begins and how wide it is, of a hundred."""
    total, begin = sum(counts.values()), 0.0
    for status in _SHARES:
        if counts.get(status):
            width = 100 * counts[status] / total
            yield f"{begin:.2f}", f"{width:.2f}", status
            begin += width

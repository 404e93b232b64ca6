"""What the commands do where `SLIPWAY_URL` names a console: the same words, asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

import typer

from blocks.facts.registry import Entry
from flows.cli.console_client import URL, ConsoleClient
from flows.cli.output import say, say_json
from flows.errors import SpecInvalid

Asked = TypeVar("Asked")
More = ParamSpec("More")

#: What `slipway approvals` calls what a request has.
_TEXTS = {"run": "run_id", "model": "model", "environment": "environment", "candidate": "fingerprint", "requester": "requester"}

_MOMENTS = ("verified_at", "last_health_check_at", "created_at", "updated_at")


def _understood(ask: Callable[Concatenate[ConsoleClient, More], Asked]) -> Callable[Concatenate[ConsoleClient, More], Asked]:
    """Makes a sentence of it that something else answers where the console should be: JSON, but not its own."""

    @wraps(ask)
    def asked(console: ConsoleClient, /, *args: More.args, **kwargs: More.kwargs) -> Asked:
        try:
            return ask(console, *args, **kwargs)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise console.no_console() from None

    return asked


def named(actor: str | None, console: ConsoleClient | None) -> str:
    """Who does it: the console knows, and without one it must be said.

    Raises:
        SpecInvalid: It is said to the console.
        BadParameter: It is not said.
    """
    if console is not None and actor:
        raise SpecInvalid(f"--as is not for use with {URL}: the console knows by your token who you are.")
    if console is None and not actor:
        raise typer.BadParameter("it is missing: say who does it.", param_hint="--as")
    return actor or ""


@_understood
def entries(console: ConsoleClient, model: str | None) -> list[Entry]:
    """What serves where."""
    names = {field.name for field in fields(Entry)}
    found = console.every("entries", model=model or "")
    return [Entry(**{name: _value(name, value) for name, value in each.items() if name in names}) for each in found]


def _value(name: str, value: Any) -> Any:
    if name in ("model", "environment", "status"):
        return _text(value)
    return datetime.fromisoformat(value) if name in _MOMENTS and value is not None else value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _moment(value: Any) -> str | None:
    if value is None:
        return None
    datetime.fromisoformat(value)
    return _text(value)


def _waiting(console: ConsoleClient) -> list[dict[str, Any]]:
    found = console.get("approvals")
    if not isinstance(found, list):
        raise TypeError("no list")
    return [dict(each["request"]) for each in found]


@_understood
def requests(console: ConsoleClient) -> list[dict[str, Any]]:
    """What waits for approval, as `slipway approvals` has it."""
    found = _waiting(console)
    return [
        {
            **{name: _text(each[its]) for name, its in _TEXTS.items()},
            # A console of before knows none.
            "step": _text(each.get("step", "")),
            "since": each["since"],
            "expires_at": _moment(each["expires_at"]),
            "frozen_until": each["frozen_until"],
            "approved_by": [event["actor"] for event in each["approvals"]],
        }
        for each in found
    ]


@_understood
def run(console: ConsoleClient, what: str, body: Mapping[str, Any], *, wait: bool, as_json: bool) -> tuple[str, str]:
    """Start a run and follow it until it ends or waits for a person; its state's name and what that says, of one that did not succeed."""
    started = console.post(what, body)
    say(f"Run {started['run']}: {console.url}/runs/{started['run']}", error=as_json)
    if not wait:
        if as_json:
            say_json({"run": started["run"], "name": started["name"], "state": "Scheduled", "message": "", "steps": []})
        return "", ""
    view = console.follow(started["run"], lambda line: say(line, error=as_json))
    its = view["run"]
    if as_json:
        say_json({"run": its["run_id"], "name": its["name"], "state": its["state"], "message": its["message"], "steps": _steps(view)})
    elif its["suspended"]:
        say(f"It waits for approval there, or: slipway approve {its['run_id']}")
    elif its["kind"] == "COMPLETED":
        say(f"{its['name']}: done.")
    return ("", "") if its["suspended"] or its["kind"] == "COMPLETED" else (str(its["state"]), str(its["message"]))


def _steps(view: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": f"{step['name']} {lane['environment']}", "state": step["state"]} for lane in view["lanes"] for step in lane["steps"]]


@_understood
def answer(console: ConsoleClient, which: str, decision: str, reason: str, code: str | None) -> None:
    """Answer a request for approval, having said what it is."""
    waiting = _waiting(console)
    named = [each for each in waiting if which == each["run_id"] or which == _name(console, each["run_id"])]
    if len(named) != 1:
        runs = ", ".join(str(each["run_id"]) for each in waiting) or "none"
        what = (
            f"{len(named)} runs {which[:200]!r} wait: give the id of one"
            if named
            else f"No run {which[:200]!r} that you may see waits for approval"
        )
        raise SpecInvalid(f"{what}. Waiting: {runs}.")
    (request,) = named
    say(f"{request['model']} to {request['environment']}: candidate {request['fingerprint'][:12]}, asked for by {request['requester']}")
    # Asked for last, since a code is shown for half a minute only.
    given = code or str(typer.prompt("One-time code", hide_input=True))
    console.post(f"approvals/{request['run_id']}", {"decision": decision, "gate": request["gate"], "code": given, "reason": reason})
    say(f"The run wakes up and checks the answer: {console.url}/runs/{request['run_id']}")
    say("If it is not accepted, the form opens again and says why; slipway approvals shows what waits.")


def _name(console: ConsoleClient, run_id: str) -> str:
    return str(console.get(f"releases/{quote(run_id)}")["run"]["name"])


@_understood
def switch(console: ConsoleClient, what: str, model: str, environment: str, reason: str, as_json: bool) -> None:
    """Take a model out of an environment, or put it back."""
    path = f"models/{quote(model, safe='')}/environments/{quote(environment, safe='')}/{what}"
    found = console.post(path, {"reason": reason})
    if as_json:
        say_json({name: found[name] for name in ("model", "environment", "status", "candidate")})
    elif found["status"] is None:
        say(f"{model} may serve in {environment} again, but a failed release took its endpoint: release it.")
    else:
        say(f"{model} is {found['status']} in {environment}.")

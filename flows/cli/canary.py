"""The commands about a canary: canary status, and what people may want of it: promote, abort, hold, resume."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import say, say_json
from flows.cli.shared import AsJson, open_registry

if TYPE_CHECKING:
    from blocks.facts.canary import Canary, Wish

canary_app = typer.Typer(help="A candidate that gets a share of the requests beside the one that serves.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="A model of the registry.")]
Where = Annotated[str, typer.Argument(help="The environment.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the registry.")]
Actor = Annotated[str, typer.Option("--as", help="Who wants it; kept in the registry.")]


@canary_app.command()
def status(
    model: Annotated[str | None, typer.Argument(help="A model; all canaries that are open without.")] = None,
    environment: Annotated[str | None, typer.Argument(help="Only there.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show where canaries are; of a model in an environment also the last one, if it has ended."""
    with open_registry() as registry:
        if model is not None and environment is not None:
            last = registry.canaries.get(model, environment)
            found = [last] if last is not None else []
        else:
            found = [each for each in registry.canaries.open() if model in (None, each.model)]
    if as_json:
        say_json([_document(each) for each in found], indent=2)
        return
    place = "".join([f" of {model}" if model else "", f" in {environment}" if environment else ""])
    for line in [line for each in found for line in canary_lines(each)] or [f"There is no canary{place}."]:
        say(line)


@canary_app.command()
def promote(model: Model, environment: Where, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """Have the canary take over now, whatever steps are left."""
    _wish(model, environment, "promote", reason, actor, as_json)


@canary_app.command()
def abort(model: Model, environment: Where, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """Have the canary end: what serves gets all requests again."""
    _wish(model, environment, "abort", reason, actor, as_json)


@canary_app.command()
def hold(model: Model, environment: Where, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """Have the canary keep its share until it is resumed, promoted or aborted; it is judged on."""
    _wish(model, environment, "hold", reason, actor, as_json)


@canary_app.command()
def resume(model: Model, environment: Where, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """Have a canary that is held go on with its steps."""
    _wish(model, environment, "resume", reason, actor, as_json)


def _wish(model: str, environment: str, wish: Wish, reason: str, actor: str, as_json: bool) -> None:
    with open_registry() as registry:
        canary = registry.canaries.wish(model, environment, wish, reason=reason, actor=actor)
    if as_json:
        say_json(_document(canary))
    else:
        say(f"Run {canary.run_id} is asked to {wish} the canary of {model} in {environment} (now {_now(canary)}).")


def canary_lines(canary: Canary) -> Iterator[str]:
    """Yield where a canary is, and below it who it is about, what somebody wants of it, and how it ended."""
    yield f"{canary.model} in {canary.environment}: {_now(canary)}"
    roles = ("kept warm", "serves") if canary.phase == "warm" else ("serves", "is tried") if canary.open else ("was there", "was tried")
    told = ", ".join(f"{fingerprint[:12]} {role}" for fingerprint, role in zip((canary.stable, canary.canary), roles, strict=True))
    yield f"    {told}; run {canary.run_id}, begun {canary.began_at:%Y-%m-%d %H:%M}Z"
    if canary.phase in ("running", "held") and (said := _verdict(canary)):
        yield f"    {said}"
    if canary.wish is not None:
        yield f"    {canary.wish_actor} wants it to {canary.wish}: {canary.wish_reason}"
    if canary.outcome_reason:
        yield f"    {canary.outcome_reason}"


def _verdict(canary: Canary) -> str:
    """What the judge last said; empty if it has said nothing."""
    verdict = canary.judge.get("verdict")
    reason = verdict.get("reason") if isinstance(verdict, dict) else None
    return reason if isinstance(reason, str) else ""


def _now(canary: Canary) -> str:
    if canary.phase == "ended":
        return f"ended, {canary.outcome}"
    parts = [canary.phase.replace("_", " ")]
    if canary.phase in ("running", "held", "taking_over"):
        parts.append(f"{canary.weight} % of the requests" + (f" and copies of {canary.shadow} %" if canary.shadow else ""))
        if canary.steps:
            parts.append(f"step {min(canary.step + 1, len(canary.steps))} of {len(canary.steps)}")
    if canary.until is not None:
        parts.append(f"until {canary.until:%Y-%m-%d %H:%M}Z")
    return ", ".join(parts)


def _document(canary: Canary) -> dict[str, object]:
    wish = {"wish": canary.wish, "as": canary.wish_actor, "reason": canary.wish_reason, "at": _text(canary.wished_at)}
    moments = {name: _text(getattr(canary, name)) for name in ("began_at", "since", "until", "judged_at")}
    return {
        "model": canary.model,
        "environment": canary.environment,
        "run": canary.run_id,
        "phase": canary.phase,
        "weight": canary.weight,
        "shadow": canary.shadow,
        "step": canary.step,
        "steps": [dict(each) for each in canary.steps],
        "stable": canary.stable,
        "canary": canary.canary,
        "endpoint": canary.endpoint,
        **moments,
        "verdict": canary.judge.get("verdict"),
        "wish": wish if canary.wish is not None else None,
        "outcome": canary.outcome,
        "outcome_reason": canary.outcome_reason,
    }


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None

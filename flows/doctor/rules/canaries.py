"""Canaries that nobody looks after, that get no requests, or that have outlived their time."""

from __future__ import annotations

from collections.abc import Iterator

from flows.doctor.rules.facts import CanaryFact, Facts
from flows.doctor.rules.symptom import FIX, CleanUp, StartRun, Symptom
from flows.recovery.orphans import why_orphaned

#: The sweep runs every two minutes; what it does not do within some runs it does not do.
LATE_SECONDS = 600.0

#: Requests that a canary should have got before it is said to get none: shares are by conversations, and a few may make most requests.
EXPECTED = 20.0

_SWEEP = StartRun(deployment="sweep/sweep")
_SWEEP_COMMAND = "prefect deployment run sweep/sweep"


def canary_symptoms(facts: Facts) -> Iterator[Symptom]:
    """Yield what is wrong with canaries that are open."""
    for canary in facts.canaries:
        if canary.phase == "warm":
            yield from _late(facts, canary)
        else:
            yield from _dead(facts, canary)
            yield from _unasked(canary)


def _dead(facts: Facts, canary: CanaryFact) -> Iterator[Symptom]:
    seen = facts.runs.get(canary.run_id)
    if seen is None or not (seen.final or not seen.state):
        return
    begun = next((each for each in facts.orphaned_runs if (each.run_id, each.model, each.environment) == canary.of_run), None)
    why = why_orphaned(seen, failed=begun.failed) if begun is not None else None
    gets = f", and it gets {canary.weight} % of the requests" if canary.weight else ""
    became = f"ended as {seen.state}" if seen.state else "is gone from Prefect"
    yield Symptom(
        kind="canary-run-dead",
        about=canary.about,
        message=f"the canary of {canary.about} is {canary.phase.replace('_', ' ')}{gets}, but run {canary.run_id} {became}.",
        command=FIX if why is not None else _SWEEP_COMMAND,
        remedy=CleanUp(begun=begun.event_id, why=why) if begun is not None and why is not None else _SWEEP,
    )


def _unasked(canary: CanaryFact) -> Iterator[Symptom]:
    if canary.canary_requests is None or canary.current_requests is None or canary.phase not in ("running", "held"):
        return
    # Of the judge's whole time, in which the weight was at the most what it is now, as it only rises: half of that is a cautious guess.
    expected = (canary.current_requests + canary.canary_requests) * canary.weight / 100 / 2
    if canary.canary_requests == 0 and expected >= EXPECTED:
        yield Symptom(
            kind="canary-unasked",
            about=canary.about,
            message=f"the canary of {canary.about} should get {canary.weight} % of the requests and got none, while the candidate that "
            f"serves answered {canary.current_requests}: a router there does not know weights.",
            command="have the router share requests as docs/router.md says, or set `route` so that the gateway does; "
            f"slipway canary abort {canary.model} {canary.environment}",
        )


def _late(facts: Facts, canary: CanaryFact) -> Iterator[Symptom]:
    if canary.until is not None and (late := (facts.now - canary.until).total_seconds()) > LATE_SECONDS:
        yield Symptom(
            kind="canary-warm",
            about=canary.about,
            message=f"the candidate before is kept up beside the one that serves {canary.about}, and should have gone "
            f"{late / 60:.0f} min ago.",
            command=_SWEEP_COMMAND,
            remedy=_SWEEP,
        )

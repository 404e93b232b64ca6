"""Runs that are over and did not end what they began: why nobody will end it, and what is left of it, in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from blocks.facts.canary import Canary
from blocks.facts.registry import Event
from flows.recovery.decide import Decision


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    """A run that is over, or that Prefect does not know any longer.

    Attributes:
        state: The name of its last state; empty if Prefect does not know it.
        final: Whether it has ended.
        crashed: Whether it crashed, so that it may be taken up again.
        abandoned: Whether it was given up after that.
    """

    state: str
    final: bool
    crashed: bool
    abandoned: bool


@dataclass(frozen=True, kw_only=True)
class Orphaned:
    """Why nobody will end what a run began.

    Attributes:
        kind: The first word of what the registry keeps as the reason of the failure.
        message: What became of the run.
    """

    kind: Literal["Cancelled", "Abandoned"]
    message: str


CANCELLED = Orphaned(kind="Cancelled", message="its run was cancelled")


def why_orphaned(run: EndedRun, *, failed: bool = False) -> Orphaned | None:
    """Why nobody will end what the run began; none if somebody still may.

    Args:
        run: What Prefect and the registry say of it.
        failed: Whether it recorded that the candidate failed, and only did not put the environment right: that may have been its last word.
    """
    if not run.state:
        return Orphaned(kind="Abandoned", message="its run is gone from Prefect")
    if not run.final:
        return None
    if run.crashed:
        return Orphaned(kind="Abandoned", message="its run crashed and was given up") if run.abandoned else None
    if run.state == "Cancelled":
        return CANCELLED
    return None if failed else Orphaned(kind="Abandoned", message=f"its run ended as {run.state} before it could record that")


def has_failed(begun: Event) -> bool:
    """Whether the run recorded that what it began has failed, but nothing of what became of the environment."""
    return bool(begun.detail.get("failed"))


def what_is_left(decision: Decision, candidate: str, carrier: str, jobs: int) -> str:
    """What was left, exactly.

    Args:
        decision: What becomes of the environment.
        candidate: Fingerprint of the run's candidate.
        carrier: What carries it: the Helm release or the Application, by its name.
        jobs: Jobs of the run that were ended.
    """
    carries, to = f"{carrier} may carry candidate {candidate[:12]}, which is not routed", (decision.to or "")[:12]
    said = {
        "nothing": "The cluster was not changed: what served there still does.",
        "roll_back": f"{carries}; a run of its own takes it back to {to}.",
        "ask": f"{carries}; a person decides here whether it goes back to {to}: slipway rollback.",
        "remove": f"Nothing was ever verified there; what {carrier} had deployed was removed.",
        "keep": f"{carries}; nothing served just before, or it is to be kept. Release again, or slipway rollback.",
    }[decision.step]
    ended = f" {jobs} Job{'s' if jobs != 1 else ''} of the run {'were' if jobs != 1 else 'was'} ended." if jobs else ""
    # Weights that came are no harm: the next prefetch finds them, or makes room.
    return said + ended


@dataclass(frozen=True, kw_only=True)
class Leaves:
    """What is to go of a canary that is over.

    Attributes:
        canary: The canary, as it was seen.
        fingerprint: Which of its two candidates goes.
        outcome: How the canary ended, a word.
        reason: Why, for people.
    """

    canary: Canary
    fingerprint: str
    outcome: str
    reason: str


def what_leaves(canary: Canary, serving: str | None, run: EndedRun | None, now: datetime) -> Leaves | None:
    """Which of both candidates of an open canary is to go; none while somebody looks after it.

    Args:
        canary: The canary.
        serving: Fingerprint of what serves there by the record.
        run: What became of its run; none if it was not asked for, as of what is kept warm.
        now: The time.
    """
    if canary.phase in ("taking_over", "warm") and serving == canary.canary:
        if canary.until is not None and canary.until > now:
            return None
        reason = f"{canary.canary[:12]} serves, and {canary.stable[:12]} is kept no longer"
        return Leaves(canary=canary, fingerprint=canary.stable, outcome="promoted", reason=reason)
    # Also one whose run recorded its failure, and could not put the environment right.
    why = why_orphaned(run) if run is not None else None
    if canary.phase == "warm" or why is None:
        return None
    return Leaves(canary=canary, fingerprint=canary.canary, outcome=why.kind.lower(), reason=why.message)

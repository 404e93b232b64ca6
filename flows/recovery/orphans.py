"""What is to be done about what a run began and never ended: it was cancelled, given up, or lost its last words."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from flows.spec import FailurePolicy

#: What becomes of the environment. `none`: the cluster was not changed, so nothing. `back`: what served serves again, by a run of its own.
#: `ask`: the same, but the environment wants a person to say so. `remove`: nothing ever served there, so the release goes.
#: `leave`: no good candidate is known to have served, or what failed is to be kept; a person decides.
Way = Literal["none", "back", "ask", "remove", "leave"]


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


def why_clean_up(run: EndedRun, *, failed: bool = False) -> str:
    """Why nobody will end what the run began; empty if somebody still may.

    Args:
        run: What Prefect and the registry say of it.
        failed: Whether it recorded that the candidate failed, and only did not put the environment right: that may have been its last word.
    """
    if not run.state:
        return "its run is gone from Prefect"
    if not run.final:
        return ""
    if run.crashed:
        return "its run crashed and was given up" if run.abandoned else ""
    if run.state == "Cancelled":
        return "its run was cancelled"
    return "" if failed else f"its run ended as {run.state} before it could record that"


def way_out(
    *, candidate: str, replaces: str | None, carried: str | None, returning: bool, good: Collection[str], policy: FailurePolicy
) -> tuple[Way, str | None]:
    """How the environment gets to be what it was before, and the candidate that it goes back to, if it does.

    Args:
        candidate: What the run was bringing there.
        replaces: What held the endpoint when it began that; none if nothing did.
        carried: What the Helm release's newest revision carries, or Git says: both are written before anything is touched.
        returning: Whether the run had failed there with another candidate, and was on its way back.
        good: Candidates that were verified there, and whose last verdict was good. Empty where none ever was.
        policy: What the environment wants after a failure.
    """
    if returning and candidate in good:
        back_to = candidate if (carried, replaces) != (candidate, candidate) else None
        return ("back", back_to) if back_to is not None else ("none", None)
    if carried != candidate or replaces == candidate:
        return "none", None
    if replaces in good:
        return ("back" if policy.go_back == "automatic" else "ask"), replaces
    return ("leave" if replaces is not None or good or policy.first == "keep" else "remove"), None


def sentence(way: Way, candidate: str, back_to: str | None, carrier: str, jobs: int) -> str:
    """What was left, exactly.

    Args:
        way: What becomes of the environment.
        candidate: The run's candidate.
        back_to: What it goes back to.
        carrier: What carries it: the Helm release or the Application, by its name.
        jobs: Jobs of the run that were ended.
    """
    carries = f"{carrier} may carry candidate {candidate[:12]}, which is not routed"
    said = {
        "none": "The cluster was not changed: what served there still does.",
        "back": f"{carries}; a run of its own takes it back to {(back_to or '')[:12]}.",
        "ask": f"{carries}; a person decides here whether it goes back to {(back_to or '')[:12]}: slipway rollback.",
        "remove": f"Nothing was ever verified there; what {carrier} had deployed was removed.",
        "leave": f"{carries}; nothing good is known to go back to, or it is to be kept. Release again, or slipway rollback.",
    }[way]
    ended = f" {jobs} Job{'s' if jobs != 1 else ''} of the run {'were' if jobs != 1 else 'was'} ended." if jobs else ""
    # Weights that came are no harm: the next prefetch finds them, or makes room.
    return said + ended

"""What is to be done about what a run began and never ended: it was cancelled, given up, or lost its last words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: What becomes of the environment. `none`: the cluster was not changed, so nothing. `back`: what served serves again, by a run of its own.
#: `remove`: nothing ever served there, so the release goes. `leave`: no good candidate is known to have served; a person decides.
Way = Literal["none", "back", "remove", "leave"]


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    """A run that is over, or that Prefect does not know any longer.

    Attributes:
        state: The name of its last state; empty if Prefect does not know it.
        final: Whether it has ended.
        crashed: Whether it crashed, so that it may be taken up again.
        given_up: Whether it was given up after that.
    """

    state: str
    final: bool
    crashed: bool
    given_up: bool


def why_clean_up(run: EndedRun) -> str:
    """Why nobody will end what the run began; empty if somebody still may."""
    if not run.state:
        return "its run is gone from Prefect"
    if not run.final:
        return ""
    if run.crashed:
        return "its run crashed and was given up" if run.given_up else ""
    return "its run was cancelled" if run.state == "Cancelled" else f"its run ended as {run.state} before it could record that"


def changed(candidate: str, serving: str | None, carried: str | None) -> bool:
    """Whether the run may have changed what the endpoint serves: Helm carries its candidate, and what served is another.

    Helm writes its own record before it touches anything, whatever becomes of that.
    """
    return carried == candidate and serving != candidate


def way_out(*, cluster_changed: bool, served_well: bool, ever_verified: bool) -> Way:
    """How the environment gets to be what it was before.

    Args:
        cluster_changed: Whether the run may have changed what the endpoint serves.
        served_well: Whether a candidate was `ready` there when the run began (or would have been, had nobody taken it out).
        ever_verified: Whether any candidate ever was.
    """
    if not cluster_changed:
        return "none"
    if served_well:
        return "back"
    return "leave" if ever_verified else "remove"


def sentence(way: Way, candidate: str, back_to: str | None, release: str, jobs: int) -> str:
    """What was left, exactly.

    Args:
        way: What becomes of the environment.
        candidate: The run's candidate.
        back_to: What served before.
        release: The Helm release.
        jobs: Jobs of the run that were ended.
    """
    said = {
        "none": "The cluster was not changed: what served there still does.",
        "back": f"Candidate {candidate[:12]} may be behind the endpoint; a run of its own takes it back to {(back_to or '')[:12]}.",
        "remove": f"Nothing was ever verified there; the Helm release {release} was removed.",
        "leave": f"Helm release {release} carries candidate {candidate[:12]}, unverified and not routed; what was there before had failed, "
        "too. Release again, or roll back.",
    }[way]
    ended = f" {jobs} Job{'s' if jobs != 1 else ''} of the run {'were' if jobs != 1 else 'was'} ended." if jobs else ""
    # Weights that came are no harm: the next prefetch finds them, or makes room.
    return said + ended

"""What becomes of a run whose process is gone: taken up again where it was, twice at most; then a person is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

#: How often a run is taken up again before a person is told.
MOST_RESUMES = 2

#: What the sweep does with a run: leave it alone, say that it has crashed or that its cancelling is over, take it up again, give it up.
ResumeStep = Literal["leave", "crashed", "cancelled", "resume", "abandon"]


@dataclass(frozen=True, kw_only=True)
class StallLimits:
    """After how long without a sign of life a run counts as dead, in seconds.

    Attributes:
        running_seconds: While it runs. Each run gives a sign of life every 30 s (`prefect.yaml` sets that), so this is four of them.
        pending_seconds: While it waits for its process to begin: a pod may have to be scheduled, and its image pulled.
    """

    running_seconds: float = 120
    pending_seconds: float = 600


@dataclass(frozen=True, kw_only=True)
class SeenRun:
    """A run as Prefect shows it.

    Attributes:
        run_id: Its id.
        name: Its name.
        model: The model that it changes; empty for a rehearsal, which takes one after the other.
        phase: What its state is; suspended, scheduled and ended ones are never seen here.
        state_id: The state's id: a run that was taken up again has another one.
        began: When it first began; when it was asked for if it never did.
        sign_of_life: When it was last known to be alive: its state's beginning, its last event, or the last heartbeat of its lock.
    """

    run_id: str
    name: str
    model: str
    phase: Literal["pending", "running", "cancelling", "crashed"]
    state_id: str
    began: datetime
    sign_of_life: datetime


@dataclass(frozen=True, kw_only=True)
class Past:
    """What the registry knows of a run that died.

    Attributes:
        crashes: The ids of the crashed states from which it was taken up again.
        abandoned: Whether a person was told.
        overtaken_by: Another run that has begun with the model since; none if none has.
    """

    crashes: frozenset[str] = frozenset()
    abandoned: bool = False
    overtaken_by: str | None = None


def is_stalled(run: SeenRun, patience: StallLimits, now: datetime) -> bool:
    """Whether the run has given no sign of life for too long."""
    limit = patience.pending_seconds if run.phase == "pending" else patience.running_seconds
    return (now - run.sign_of_life).total_seconds() > limit


def resume_step(run: SeenRun, past: Past, patience: StallLimits, now: datetime) -> ResumeStep:
    """What to do with the run now; each step may be repeated, and the next look takes the next one."""
    if run.phase == "crashed":
        if past.abandoned:
            return "leave"
        if run.state_id in past.crashes:  # decided and counted already; whoever did that died before it was done
            return "resume"
        return "abandon" if why_abandoned(past) else "resume"
    if not is_stalled(run, patience, now):
        return "leave"
    return "cancelled" if run.phase == "cancelling" else "crashed"


def why_abandoned(past: Past) -> str:
    """Why the run is not taken up again; empty if it may be."""
    if past.overtaken_by is not None:
        return f"run {past.overtaken_by} has begun with the model since"
    if len(past.crashes) >= MOST_RESUMES:
        return f"it crashed again after it was taken up {len(past.crashes)} times"
    return ""

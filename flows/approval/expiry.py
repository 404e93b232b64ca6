"""What to do about a request for approval whose run nobody watches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from blocks.facts.canary import Canary
from blocks.facts.registry import OpenRequest


@dataclass(frozen=True, kw_only=True)
class WaitingRun:
    """The request's flow run as Prefect shows it.

    Attributes:
        state: Its state's name.
        final: Whether it has ended.
        suspended: Whether it waits for a form.
        since: When it came into this state.
        answered: Whether the form that it waits for was given something although the run was not resumed.
    """

    state: str
    final: bool
    suspended: bool
    since: datetime
    answered: bool


def is_to_wake(canary: Canary, run: WaitingRun | None) -> bool:
    """Whether a run that waits for people is to be told that its canary is to end, once: a run that looks hears of it by itself."""
    return run is not None and run.suspended and canary.wished_at is not None and run.since < canary.wished_at


def request_step(request: OpenRequest, request_hours: float, run: WaitingRun | None, now: datetime) -> Literal["leave", "wake", "void"]:
    """Leave the run alone, wake it so that it looks at its gate itself, or call the request void because the run is over.

    A run is woken once for each reason: when its time is up it ends itself, and after a freeze it either goes on or waits again.
    """
    if run is None or run.final:
        return "void"
    if not run.suspended:
        return "leave"
    # Suspended since before the end of the freeze: it was not yet woken for that.
    over = request.frozen_until is not None and run.since < request.frozen_until <= now
    expired = now > request.occurred_at + timedelta(hours=request_hours)
    return "wake" if over or expired or run.answered else "leave"

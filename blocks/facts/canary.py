"""What the registry gives back of a canary: a candidate that gets a share of the requests beside the one that serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

Phase = Literal["coming", "running", "held", "taking_over", "warm", "ended"]

#: All phases of a canary, in the order of its life. From each it may end.
PHASES: tuple[Phase, ...] = get_args(Phase)

Wish = Literal["promote", "abort", "hold", "resume"]

#: What an operator may want of a canary.
WISHES: tuple[Wish, ...] = get_args(Wish)


@dataclass(frozen=True, kw_only=True)
class Canary:
    """The canary of a model in an environment, or the last one that there was.

    Attributes:
        organisation: Whose; None where there is only one.
        model: The name that clients send.
        environment: Where.
        run_id: The flow run that began it.
        stable: Fingerprint of the candidate that served when it began.
        canary: Fingerprint of the candidate that is tried.
        endpoint: Host and port of the canary; it means this candidate for as long as the canary is open.
        weight: Percent of the requests that the canary answers.
        shadow: Percent of the other requests that it is sent a copy of.
        phase: `coming` (not up yet), `running`, `held` (waits for a person or for traffic), `taking_over` (gets the environment's
            endpoint), `warm` (it serves, and the one before stays up), `ended`.
        step: Which of the steps it is at, from 0.
        steps: What was planned, as the flow wrote it.
        began_at: When it began.
        since: Since when it has this phase, step and weight.
        until: When the step, or the time in which the one before stays up, ends; None if that is open.
        judge: What the judge has seen; its own JSON.
        judged_at: When that was saved.
        wish: What an operator wants and the run has not done yet.
        wish_actor: Who.
        wish_reason: Why.
        wished_at: When.
        outcome: How it ended, a word; None before.
        outcome_reason: Why, for people.
    """

    organisation: str | None
    model: str
    environment: str
    run_id: str
    stable: str
    canary: str
    endpoint: str
    weight: int
    shadow: int
    phase: Phase
    step: int
    steps: Sequence[Mapping[str, object]]
    began_at: datetime
    since: datetime
    until: datetime | None
    judge: Mapping[str, object]
    judged_at: datetime | None
    wish: Wish | None
    wish_actor: str | None
    wish_reason: str | None
    wished_at: datetime | None
    outcome: str | None
    outcome_reason: str | None

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.phase != "ended"

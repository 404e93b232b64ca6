"""What becomes of a canary at a look: it goes on, takes over, waits or ends. Rules alone: what was seen goes in, what to do comes out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from blocks.facts.canary import Canary
from flows.canary.judge import Verdict
from flows.errors import CanaryAborted, CanaryHarmful, CanaryInconclusive, Refusal
from flows.spec import RolloutPolicy

#: `look` again; the `next` step; take over (`promote`) without the steps that are left; `hold` until somebody says more; go on (`resume`);
#: `extend` the step; or `end` it, and what served goes on.
Move = Literal["look", "next", "promote", "hold", "resume", "extend", "end"]


@dataclass(frozen=True, kw_only=True)
class Next:
    """What to do now.

    Attributes:
        move: What.
        reason: Why, for people and the record.
        until: When the step ends from now on; none if that is open.
        error: What the release ends with; for `end` alone.
        heeds: When the wish was made that this does; none if it is nobody's wish.
    """

    move: Move
    reason: str = ""
    until: datetime | None = None
    error: Refusal | None = None
    heeds: datetime | None = None


#: For how long none of its pods may be ready, in seconds: a probe that fails once is no end, but whoever is sent there meets nobody, and
#: what does not answer counts nothing that could be judged.
DOWN_SECONDS = 30.0


def next_move(canary: Canary, verdict: Verdict, policy: RolloutPolicy, extended: int, now: datetime, down_seconds: float = 0.0) -> Next:
    """Decide by what is known.

    Harm ends it whatever anybody wishes; then people's wishes count, and then the step's time.

    Args:
        canary: As the registry has it.
        verdict: What the judge says.
        policy: What the environment wants.
        extended: How often a step was extended.
        now: The time.
        down_seconds: For how long no pod of it has been ready.
    """
    where = f"{canary.model} in {canary.environment}"
    if down_seconds >= DOWN_SECONDS:
        gone = f"none of its pods has been ready for {down_seconds:.0f} s at {canary.weight} %."
        return _end(CanaryHarmful(f"{where}: the canary does harm: {gone} What served serves all again."))
    if verdict.outcome == "harm":
        return _end(CanaryHarmful(f"{where}: the canary does harm at {canary.weight} %: {verdict.reason} What served serves all again."))
    wished = _wished(canary, policy, now, where)
    if wished is not None:
        return wished
    if canary.phase == "held":
        if now - canary.since < timedelta(hours=policy.ask_hours):
            return Next(move="look")
        return _end(
            CanaryInconclusive(f"{where}: nobody decided about the canary within {policy.ask_hours:g} h; what served serves all again.")
        )
    if canary.until is None or now < canary.until:
        return Next(move="look")
    if verdict.outcome == "none":
        return Next(move="next", reason=verdict.reason)
    return _undecided(verdict, policy, extended, now, where)


def _wished(canary: Canary, policy: RolloutPolicy, now: datetime, where: str) -> Next | None:
    by = f"{canary.wish_actor}: {canary.wish_reason}"
    match canary.wish:
        case "abort":
            error = CanaryAborted(f"{where}: {canary.wish_actor} ended the canary ({canary.wish_reason}); what served serves all again.")
            return Next(move="end", reason=by, error=error, heeds=canary.wished_at)
        case "promote":
            return Next(move="promote", reason=by, heeds=canary.wished_at)
        case "hold":
            return Next(move="hold", reason=by, heeds=canary.wished_at)
        case "resume":
            return Next(move="resume", reason=by, until=now + timedelta(minutes=_minutes(canary, policy)), heeds=canary.wished_at)
    return None


def _undecided(verdict: Verdict, policy: RolloutPolicy, extended: int, now: datetime, where: str) -> Next:
    match policy.inconclusive:
        case "go_on":
            return Next(move="next", reason=f"goes on undecided, as the environment says: {verdict.reason}")
        case "ask":
            return Next(move="hold", reason=f"a person decides (slipway canary): {verdict.reason}")
        case "extend" if extended < policy.extends:
            return Next(move="extend", reason=verdict.reason, until=now + timedelta(minutes=policy.extend_minutes))
    longer = f" after {extended} extension(s)" if extended else ""
    few = f"{verdict.canary_requests:,} request(s) in {verdict.seconds / 60:.1f} min"
    return _end(
        CanaryInconclusive(f"{where}: the canary got {few}{longer}, which do not tell: {verdict.reason} What served serves all again.")
    )


def _end(error: Refusal) -> Next:
    return Next(move="end", reason=error.message, error=error)


def _minutes(canary: Canary, policy: RolloutPolicy) -> float:
    """The time of the step that it is at."""
    steps = policy.steps
    return (steps[canary.step].minutes if canary.step < len(steps) else None) or policy.extend_minutes

"""The gate between environments: what must hold before a candidate becomes the wanted one in the next."""

from __future__ import annotations

from datetime import datetime, timedelta

from blocks.facts.registry import Entry
from flows.errors import PromotionRefused
from flows.spec import Candidate, Environment


def require_verified(candidate: Candidate, environment: Environment, before: Entry | None) -> None:
    """Refuse a candidate that is not the verified one in the environment before.

    Args:
        candidate: What wants to enter.
        environment: Where it wants to.
        before: The current entry of the environment that comes before (`environment.after`); none if nothing serves there.

    Raises:
        PromotionRefused: Something else serves there, or it is not ready.
    """
    if before is None or before.fingerprint is None:
        raise PromotionRefused(
            f"{candidate.model} cannot enter {environment.name}: nothing is verified in {environment.after}; release it there first."
        )
    if before.fingerprint != candidate.fingerprint:
        raise PromotionRefused(
            f"{candidate.model} cannot enter {environment.name}: {environment.after} serves candidate {before.fingerprint[:12]}, "
            f"not {candidate.short}; release the same revision there first."
        )
    if before.status != "ready":
        raise PromotionRefused(
            f"{candidate.model} cannot enter {environment.name}: candidate {candidate.short} is {before.status} in "
            f"{environment.after}; mend it or release it there again."
        )


def require_fresh(candidate: Candidate, environment: Environment, verified_at: datetime | None, now: datetime) -> None:
    """Refuse a candidate whose last passed verification in the environment before is too long ago.

    Raises:
        PromotionRefused: It is, or there was none.
    """
    limit = timedelta(hours=environment.approval.verdict_hours)
    if verified_at is None or now - verified_at > limit:
        when = f"at {verified_at:%Y-%m-%d %H:%M} UTC" if verified_at is not None else "never"
        raise PromotionRefused(
            f"{candidate.model} cannot enter {environment.name}: {environment.after} last verified candidate {candidate.short} {when}, "
            f"which is more than {environment.approval.verdict_hours:g} hours ago; run revalidate there and release again."
        )

"""When an entry's health checks are reason enough to take it out of routing, or to put it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

#: How many of the last five checks decide. One lost packet must not take a model out, nor one lucky answer put it back.
ENOUGH = 3

#: With fewer endpoints than these, "most of them" is no sign of anything.
FEW = 3


def verdict_of_window(status: str, window: str) -> Literal["degraded", "ready"] | None:
    """Where an entry should move by its last five checks: hysteresis of three in five, in both directions.

    Args:
        status: `ready` or `degraded`.
        window: The last checks, the latest at the end: `+` good, `-` bad.
    """
    # The last check must agree: what answers at this moment is not taken out for what was before, nor the other way round.
    if status == "ready" and window.endswith("-") and window.count("-") >= ENOUGH:
        return "degraded"
    if status == "degraded" and window.endswith("+") and window.count("+") >= ENOUGH:
        return "ready"
    return None


def unseen(failing: Mapping[str, Sequence[bool]]) -> frozenset[str]:
    """The environments of which so many endpoints fail at once that the fault is likely with who looks, not with them.

    That is each one of which most fail; and all of them if most fail over all. Taking so many out helps nobody either: routers would refuse
    what might have been answered.

    Args:
        failing: For each environment, whether each endpoint that is `ready` there failed to answer as it should.
    """
    if _most([bad for environment in failing.values() for bad in environment]):
        return frozenset(failing)
    return frozenset(name for name, environment in failing.items() if _most(environment))


def _most(failing: Sequence[bool]) -> bool:
    return len(failing) >= FEW and sum(failing) * 2 > len(failing)

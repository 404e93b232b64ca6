"""What a model's events in an environment tell together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blocks.facts.kinds import SETTLING, STEPS, EventKind
from blocks.facts.registry import Event


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A candidate's failure in an environment, which is not settled yet.

    Attributes:
        reason: What the registry keeps as its reason.
        replaces: Fingerprint of the candidate that held the endpoint when the run began; none if none did.
    """

    reason: str
    replaces: str | None


def unsettled(events: Sequence[Event], fingerprint: str, run_id: str) -> Failure | None:
    """The failure of this run's candidate after which the environment was left as it is; none if it is settled, or there was none.

    A run that was killed finds here what it still has to do. What another run has done there since is not undone.

    Args:
        events: The model's events in the environment, newest first.
        fingerprint: The candidate.
        run_id: The run.
    """
    for place, event in enumerate(events):
        if event.run_id != run_id:
            if event.kind in STEPS:
                return None
            continue
        if event.kind in SETTLING:
            return None
        if event.kind == EventKind.FAILED and event.fingerprint == fingerprint:
            if not event.detail.get("deployed"):
                return None
            begun = next(
                (e for e in events[place:] if e.kind == EventKind.DEPLOYING and e.run_id == run_id and e.fingerprint == fingerprint), None
            )
            replaces = begun.detail.get("replaces") if begun else None
            return Failure(reason=str(event.detail["reason"]), replaces=str(replaces) if replaces else None)
    return None


def settled(events: Sequence[Event], fingerprint: str, run_id: str) -> Failure | None:
    """The failure of this run's candidate that the run has settled as its last deed there; none if there is none.

    A run that is lost after that has nothing left to do but to end as it would have ended.

    Args:
        events: The model's events in the environment, newest first.
        fingerprint: The candidate.
        run_id: The run.
    """
    own = [event for event in events if event.run_id == run_id and event.kind in (*SETTLING, *STEPS)]
    if not own or own[0].kind not in SETTLING:
        return None
    failed = next((event for event in own if event.kind == EventKind.FAILED and event.fingerprint == fingerprint), None)
    return Failure(reason=str(failed.detail["reason"]), replaces=None) if failed is not None else None

"""What metrics are made of: few statements, however many models there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from blocks.facts.registry import Status
from blocks.registry.session import Session


@dataclass(frozen=True, kw_only=True)
class PlaceStatus:
    """The status of a model in an environment.

    Attributes:
        organisation: Whose.
        model: The name that clients send.
        environment: Where.
        status: Of the entry that counts there.
        last_checked_at: When its endpoint was last looked at.
    """

    organisation: str | None
    model: str
    environment: str
    status: Status
    last_checked_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An event, and of a verification its verdict.

    Attributes:
        id: Of the event.
        occurred_at: When it happened.
        kind: Of the event.
        organisation: Whose entry it concerns.
        model: Which model it concerns, if one.
        environment: Where, if somewhere.
        detail: The event's facts.
        outcome: passed, failed, inconclusive or errored; None without a verdict.
    """

    id: int
    occurred_at: datetime
    kind: str
    organisation: str | None
    model: str | None
    environment: str | None
    detail: Mapping[str, object]
    outcome: str | None


@dataclass(frozen=True, kw_only=True)
class HeldLock:
    """A lock that a run holds.

    Attributes:
        organisation: Whose.
        model: The name that clients send.
        environment: Where.
        held_seconds: Time since the run took it.
        silent_seconds: Time since its last sign of life.
    """

    organisation: str | None
    model: str
    environment: str
    held_seconds: float
    silent_seconds: float


class Figures:
    """What metrics read."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def place_statuses(self) -> list[PlaceStatus]:
        """The status of each model in each environment."""
        return self._session.rows("place_statuses", PlaceStatus, {})

    def lock_ages(self) -> list[HeldLock]:
        """The locks that runs hold at the moment."""
        return self._session.rows("lock_ages", HeldLock, {})

    def outcomes(self, after_id: int, limit: int) -> list[Outcome]:
        """The next events after the one with that id, in the order of their ids.

        Ids are given before a transaction ends, so that a lower one may appear after a higher one.
        """
        return self._session.rows("outcomes", Outcome, {"after_id": after_id, "limit": limit})

"""Freezes are meant in their own time zone, begin to the minute, and end after their hours."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flows.approval.freeze import frozen_until
from flows.spec import Freeze

WEEKEND = Freeze(begins="0 16 * * 5", hours=64, timezone="Europe/Zurich", reason="weekend")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-05-15 13:59", None),  # Friday 15:59 in Zurich's summer
        ("2026-05-15 14:00", "2026-05-18 06:00"),
        ("2026-05-17 12:00", "2026-05-18 06:00"),
        ("2026-05-18 05:59", "2026-05-18 06:00"),
        ("2026-05-18 06:00", None),
        ("2026-01-16 14:59", None),  # winter: an hour later by UTC
        ("2026-01-16 15:00", "2026-01-19 07:00"),
    ],
)
def test_a_weekend_in_zurich(now: str, until: str | None) -> None:
    found = frozen_until([WEEKEND], at(now))

    assert found == ((at(until), "weekend") if until else None)


def test_of_several_freezes_the_last_end_counts() -> None:
    holidays = Freeze(begins="0 0 15 5 *", hours=240)

    assert frozen_until([WEEKEND, holidays], at("2026-05-16 12:00")) == (at("2026-05-25 00:00"), "")


def test_without_freezes_nothing_is_frozen() -> None:
    assert frozen_until([], at("2026-05-16 12:00")) is None

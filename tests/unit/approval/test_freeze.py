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


#: The days of 2027 on which Zurich's clocks change: 02:00 becomes 03:00 in March, 03:00 becomes 02:00 in October.
SPRING, AUTUMN = "2027-03-28", "2027-10-31"


@pytest.mark.parametrize(
    ("begins", "now", "until"),
    [
        # 02:30 does not exist: it begins when the clocks go on
        ("30 2 * * *", f"{SPRING} 00:59", None),
        ("30 2 * * *", f"{SPRING} 01:00", f"{SPRING} 02:00"),
        ("30 3 * * *", f"{SPRING} 01:30", f"{SPRING} 02:30"),
        # 02:30 comes twice: it begins at the first, and is over before the second
        ("30 2 * * *", f"{AUTUMN} 00:29", None),
        ("30 2 * * *", f"{AUTUMN} 00:30", f"{AUTUMN} 01:30"),
        ("30 2 * * *", f"{AUTUMN} 01:10", f"{AUTUMN} 01:30"),
        ("30 2 * * *", f"{AUTUMN} 01:30", None),
        # a pattern of every half hour goes by the time that passes, a list of minutes by the clock
        ("*/30 2 * * *", f"{AUTUMN} 01:40", f"{AUTUMN} 02:30"),
        ("0,30 2 * * *", f"{AUTUMN} 01:40", None),
    ],
)
def test_a_freeze_of_an_hour_on_the_days_when_the_clocks_change(begins: str, now: str, until: str | None) -> None:
    freeze = Freeze(begins=begins, hours=1, timezone="Europe/Zurich")

    found = frozen_until([freeze], at(now))

    assert found == ((at(until), "") if until else None)

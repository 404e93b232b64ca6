"""The schedules of `prefect.yaml`, as Prefect itself computes them, on the days when clocks change."""

from __future__ import annotations

import asyncio
import itertools
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect.server.schemas.schedules import CronSchedule

from flows.spec.load import ROOT

UTC = ZoneInfo("UTC")
SCHEDULES = [
    (deployment["name"], schedule)
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    for schedule in deployment.get("schedules", [])
]
#: Weeks of 2027 in which clocks are changed: Europe's two, and America's.
WEEKS = [datetime(2027, 3, 24, tzinfo=UTC), datetime(2027, 10, 27, tzinfo=UTC), datetime(2027, 3, 10, tzinfo=UTC)]


def dates(schedule: dict[str, Any], begin: datetime, days: int) -> list[datetime]:
    cron = CronSchedule(cron=schedule["cron"], timezone=schedule.get("timezone", "UTC"))
    # Prefect gives 1,000 dates at most in one answer.
    found: list[datetime] = []
    for quarter in range(4 * days):
        one = begin + timedelta(hours=6 * quarter)
        found += asyncio.run(cron.get_dates(1000, start=one, end=one + timedelta(hours=6, seconds=-1)))
    return [datetime.fromtimestamp(date.timestamp(), UTC) for date in found]


@pytest.mark.parametrize("begin", WEEKS)
@pytest.mark.parametrize(("name", "schedule"), SCHEDULES, ids=[name for name, _ in SCHEDULES])
def test_no_run_is_left_out_or_doubled_when_clocks_change(name: str, schedule: dict[str, Any], begin: datetime) -> None:
    found = dates(schedule, begin, 7)

    gaps = {other - one for one, other in itertools.pairwise(found)}
    if schedule["cron"].startswith("*"):  # every few minutes: by the time that passes, not by the clock on the wall
        (gap,) = gaps
        assert gap <= timedelta(minutes=2), name
    else:  # at an hour of the day: once a day or week, at that hour
        zone = ZoneInfo(schedule["timezone"])
        minute, hour = schedule["cron"].split()[:2]
        assert {(date.astimezone(zone).hour, date.astimezone(zone).minute) for date in found} == {(int(hour), int(minute))}
        assert len(found) == len({date.astimezone(zone).date() for date in found}) == (1 if schedule["cron"].split()[4] != "*" else 7)

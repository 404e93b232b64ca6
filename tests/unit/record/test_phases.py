"""A release's time is told by phases that do not overlap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flows.record.phases import Stopwatch, counted_seconds, phases, pod_times
from flows.verification.plots import phases_plot
from tests.support.examples import pod

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def at(**seconds: int) -> dict[str, datetime]:
    return {point: BEGIN + timedelta(seconds=value) for point, value in seconds.items()}


def test_a_rollout_is_told_by_its_slowest_pod() -> None:
    quick = pod("a", times=at(created=2, scheduled=2, started=4, ready=30))
    slow = pod("a", times=at(created=2, scheduled=7, started=9, ready=50))

    told = phases({"plan": 1.0, "rollout": 52.0, "verify": 20.0}, pod_times([quick, slow]), BEGIN, 12.5)

    assert told == {"plan": 1.0, "schedule": 5.0, "pull": 2.0, "load": 41.0, "rollout": 4.0, "warm-up": 12.5, "verify": 7.5}
    assert sum(told.values()) == 1.0 + 52.0 + 20.0


def test_pods_that_were_there_already_took_none_of_its_time() -> None:
    old = pod("a", times=at(created=-500, scheduled=-500, started=-490, ready=-400))

    told = phases({"rollout": 0.2, "verify": 2.0}, pod_times([old, pod("a")]), BEGIN, None)

    assert told == {"schedule": 0.0, "pull": 0.0, "load": 0.0, "rollout": 0.2, "warm-up": 0.0, "verify": 2.0}


def test_a_stopwatch_adds_up_and_counts_what_ends_in_an_error() -> None:
    moments = iter([0.0, 2.0, 10.0, 13.0])
    watch = Stopwatch(clock=lambda: next(moments))

    with watch.phase("plan"):
        pass
    try:
        with watch.phase("plan"):
            raise KeyError
    except KeyError:
        pass

    assert watch.seconds == {"plan": 5.0}


def test_a_canary_is_told_and_is_not_of_the_budget() -> None:
    watch = Stopwatch({"verify": 20.0}, clock=iter([0.0, 30.0]).__next__)
    watch.add("canary", 570.0)
    with watch.phase("canary"):
        pass

    told = phases({**watch.seconds, "record": 1.0}, [], BEGIN, 5.0)

    assert list(told) == ["schedule", "pull", "load", "rollout", "warm-up", "verify", "canary", "record"]
    assert (told["canary"], counted_seconds(told)) == (600.0, 21.0)
    assert "without the canary, 3.5% of the budget" in str(phases_plot(told, 600.0))

"""Two runs want to change one model in one environment: one does, and neither the other nor a dead one can spoil it."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Crashed

from flows.release import release
from flows.rollback import rollback
from tests.flows.conftest import Site
from tests.support.waiting import HANGS_SECONDS


def test_a_second_run_is_refused_with_the_name_of_the_first_and_touches_nothing(site: Site) -> None:
    # given a release that another process has under way
    with site.registry() as registry:
        registry.locks.take(site.model, "development", "run-of-another-process")

    # when a release and a rollback want to begin
    ended = [
        site.release(),
        site.run(rollback, model=site.model, environment="development", reason="answers are cut off", actor="on-call"),
    ]

    # then both are refused in one sentence, and nothing was touched
    for state in ended:
        assert state.name == "Failed"
        assert f"{site.model} in development is being changed by run run-of-another-process" in str(state.message)
    assert site.pods() == ()
    with site.registry() as registry:
        assert registry.events.latest(model=site.model) == []

    # and when that process has died, the next release takes over from it
    with psycopg.connect(site.database) as connection:
        connection.execute("UPDATE slipway_locks SET heartbeat_at = heartbeat_at - interval '61 seconds'")
    assert site.release().is_completed()
    assert site.statuses() == {"development": "ready"}

    # and gives the lock back
    assert site.run(rollback, model=site.model, environment="development", reason="see who holds it", actor="on-call").name == "Failed"
    with site.registry() as registry:
        assert registry.locks.take(site.model, "development", "next").run_id == "next"


def test_a_run_that_was_lost_when_all_was_done_gives_back_what_it_held(site: Site) -> None:
    # given a release whose process died after its last write, before it gave the lock back
    run = site.start(release, model=site.model, environments=["development"])
    assert site.leg(release, run).is_completed()
    with site.registry() as registry:
        registry.locks.take(site.model, "development", str(run.id))
    site.client.set_flow_run_state(run.id, Crashed(), force=True)

    # when it is taken up again
    assert site.leg(release, run).is_completed()

    # then the next one need not wait until the lock goes stale
    with site.registry() as registry:
        assert registry.locks.take(site.model, "development", "next").run_id == "next"


def test_of_two_releases_at_once_one_is_done_and_nothing_is_doubled(site: Site) -> None:
    site.world.engine_faults.set(site.model, start_delay_seconds=3)  # the first is under way for long enough
    runs = [site.start(release, model=site.model, environments=["development"]) for _ in range(2)]

    with ThreadPoolExecutor(2) as both:
        states = [leg.result(HANGS_SECONDS) for leg in [_beside(both, site, run) for run in runs]]

    assert sorted(state.name or "" for state in states) == ["Completed", "Failed"]
    (refused,) = (str(state.message) for state in states if state.name == "Failed")
    winner = runs[[state.name for state in states].index("Completed")]
    assert f"is being changed by run {winner.id}" in refused
    with site.registry() as registry:
        assert [event.kind for event in reversed(registry.events.latest(model=site.model))] == ["deploying", "verified", "ready", "timed"]


def test_a_run_that_was_given_up_for_dead_does_not_write(site: Site) -> None:
    # given a release that deploys
    run = site.start(release, model=site.model, environments=["development"])
    with ThreadPoolExecutor(1) as beside:
        leg = _beside(beside, site, run)
        _until(lambda: site.statuses() == {"development": "deploying"}, leg.done)

        # when its signs of life stay away and another run takes over
        with psycopg.connect(site.database) as connection:
            connection.execute("UPDATE slipway_locks SET heartbeat_at = heartbeat_at - interval '61 seconds'")
        with site.registry() as registry:
            assert registry.locks.take(site.model, "development", "the-next-run").run_id == "the-next-run"
        ended = leg.result(HANGS_SECONDS)

    # then it ends with that, and recorded nothing more
    assert ended.is_failed()
    assert "the-next-run" in str(ended.message) or "another run took over" in str(ended.message)
    with site.registry() as registry:
        assert [event.kind for event in registry.events.latest(model=site.model)] == ["deploying"]
    assert site.statuses() == {"development": "deploying"}


def _beside(pool: ThreadPoolExecutor, site: Site, run: FlowRun) -> Future[State[Any]]:
    """Execute the run in another thread, with this one's Prefect settings."""
    return pool.submit(contextvars.copy_context().run, site.leg, release, run)


def _until(condition: Callable[[], bool], ended: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANGS_SECONDS
    while not condition():
        assert not ended(), "it ended before"
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)

"""Runs whose process is gone: the sweep takes them up again, twice at most, and leaves alone what waits for people."""

from __future__ import annotations

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.states import Crashed, Pending, Running

from flows.release import release
from flows.sweep import sweep
from tests.flows.conftest import Site
from tests.flows.processes import executed, until


def test_what_died_is_taken_up_again_and_what_waits_for_people_is_left_alone(site: Site) -> None:
    # given a release that waits for an approval, and one that a worker was about to start when it died
    site.only_production()
    waiting, stuck = (site.start(release, model=site.model, environments=["production"]) for _ in range(2))
    assert site.leg(release, waiting).name == "Suspended"
    site.client.set_flow_run_state(stuck.id, Pending(name="Submitting"))
    # and one whose process is killed in the middle
    killed = site.start(release, model=site.model, environments=["development"])
    site.client.set_flow_run_state(killed.id, Pending())
    with executed(killed) as process:
        until(lambda: site.statuses() == {"development": "deploying"}, process)
        process.kill()
        process.wait()
    assert state(site, killed) == "Running", "nobody has noticed"

    # when the sweep comes by while they may still be alive, then it leaves all of them alone
    assert site.run(sweep).is_completed()
    assert [state(site, run) for run in (waiting, stuck, killed)] == ["Suspended", "Submitting", "Running"]

    # when they have been silent for too long, then the two that died are to be started again
    assert site.run(sweep, silent_seconds=0, pending_seconds=0).is_completed()
    assert [state(site, run) for run in (waiting, stuck, killed)] == ["Suspended", "AwaitingRetry", "AwaitingRetry"]

    # and the killed one carries on where it was
    ended = site.leg(release, killed)
    assert ended.is_completed(), ended.message
    assert [event.kind for event in site.events(killed)] == ["deploying", "picked_up", "verified", "ready", "timed"]
    assert site.statuses() == {"development": "ready"}
    # and the other one begins
    assert site.leg(release, stuck).name == "Suspended"


@pytest.mark.usefixtures("prefect_settings")
def test_a_run_that_crashes_a_third_time_is_given_up_and_a_person_is_told(site: Site) -> None:
    run = site.start(release, model=site.model)
    for time in (1, 2):
        crash(site, run)
        assert site.run(sweep).is_completed()
        assert state(site, run) == "AwaitingRetry"
        assert [event.detail["time"] for event in site.events(run)] == list(range(1, time + 1))

    crash(site, run)
    for _ in range(2):
        assert site.run(sweep).is_completed()

    # it stays crashed, which is recorded and told once
    assert state(site, run) == "Crashed"
    assert [event.kind for event in site.events(run)] == ["picked_up", "picked_up", "abandoned"]
    told = EventFilter(event=EventNameFilter(name=["slipway.run.abandoned"]), resource=EventResourceFilter(id=[f"slipway.run.{run.id}"]))
    until(lambda: site.client.read_events(told, limit=10).total == 1)
    (event,) = site.client.read_events(told, limit=10).events
    assert event.payload["why"] == "it crashed again after it was taken up 2 times"


def crash(site: Site, run: FlowRun) -> None:
    """What Prefect's runner says when the run's process is gone."""
    site.client.set_flow_run_state(run.id, Running(), force=True)
    site.client.set_flow_run_state(run.id, Crashed(message="Process exited with -9"))


def state(site: Site, run: FlowRun) -> str:
    return site.client.read_flow_run(run.id).state_name or ""

"""Runs whose process is gone: the sweep takes them up again, twice at most, and leaves alone what waits for people."""

from __future__ import annotations

import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.states import Crashed, Pending, Running
from pydantic import SecretStr

from blocks.registry import Registry
from flows.recovery.stalled import StallLimits
from flows.recovery.tasks.resume import runs_to_look_at
from flows.rehearse import rehearse
from flows.release import release
from flows.rollback import rollback
from flows.runtime.client import all_runs
from flows.sweep import sweep
from sandbox import models
from tests.flows.conftest import Site
from tests.flows.processes import executed, until
from tests.flows.registries import another_registry


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

    # another registry's sweep on the same Prefect has nothing to do with them, though its model has the same name
    assert seen_by(another_registry(site), site, "another pool") == set()
    # and one whose worker was moved to another pool still has what is on its record
    assert seen_by(Registry(dsn=SecretStr(site.database)), site, "another pool") == {str(killed.id)}

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


def test_a_run_whose_pod_took_its_results_along_goes_on_with_what_it_began(site: Site) -> None:
    # given a release that waits for its approval, while the branch moves on
    site.only_production()
    run = site.start(release, model=site.model, environments=["production"])
    assert site.leg(release, run).name == "Suspended"
    site.publish(knowledge=models.Knowledge().but(Japan="Kyoto"))
    site.forget_results()

    # when it is approved, then it deploys what was approved, and does not ask again
    assert site.sign(run) == "ACCEPT"
    ended = site.leg(release, run)
    assert ended.is_completed(), ended.message
    assert site.ask("The capital of Japan is", "production") == " Tokyo."

    # given a rollback of what came after it, which is lost when all is done but its last word
    assert site.leg(release, after := site.start(release, model=site.model, environments=["production"])).name == "Suspended"
    assert site.sign(after) == "ACCEPT"
    assert site.leg(release, after).is_completed()
    assert site.ask("The capital of Japan is", "production") == " Kyoto."
    back = site.start(rollback, model=site.model, environment="production", reason="answers are wrong", actor="on-call")
    assert site.leg(rollback, back).is_completed()
    crash(site, back)
    site.forget_results()

    # when it is taken up again, then it does not roll back the rollback
    assert site.leg(rollback, back).is_completed()
    assert site.ask("The capital of Japan is", "production") == " Tokyo."
    assert [event.kind for event in site.events(back)].count("deploying") == 1


def test_a_rehearsal_that_died_on_the_way_back_goes_forward_again_unless_something_was_released_since(site: Site) -> None:
    for knowledge in (models.Knowledge(), models.Knowledge().but(Japan="Kyoto")):
        site.publish(knowledge=knowledge)
        assert site.release().is_completed()
    before = serving(site)
    run = lost_rehearsal(site)
    site.forget_results()

    # when the sweep finds it, then it is to be started again, and goes on from there
    assert site.run(sweep, silent_seconds=0, pending_seconds=0).is_completed()
    assert state(site, run) == "AwaitingRetry"
    ended = site.leg(rehearse, run)
    assert ended.is_completed(), ended.message
    assert serving(site) == before
    assert site.ask("The capital of Japan is") == " Kyoto."
    assert [event.kind for event in site.events(run)].count("rehearsed") == 1

    # given that it is lost when all is recorded but the lock not yet given back
    with site.registry() as registry:
        registry.locks.take(site.model, "development", str(run.id))
    crash(site, run)

    # when it is started again, then it gives that back, and has nothing else to do
    assert site.leg(rehearse, run).is_completed()
    with site.registry() as registry:
        assert registry.locks.held() == []
    assert [event.kind for event in site.events(run)].count("deploying") == 2

    # given one that is lost likewise, and a release that came since: its lock goes stale by itself, in a minute
    run = lost_rehearsal(site)
    with site.registry() as registry:
        for lock in registry.locks.held():
            registry.locks.free(lock)
    site.publish(knowledge=models.Knowledge().but(Japan="Osaka"))
    assert site.release().is_completed()

    # when it is started again, then it does not undo that
    crash(site, run)
    ended = site.leg(rehearse, run)
    assert ended.name == "Failed"
    assert "serves another candidate by now" in str(ended.message)
    assert site.ask("The capital of Japan is") == " Osaka."


def test_a_rehearsal_that_did_nothing_yet_is_this_registrys_by_its_first_step(site: Site) -> None:
    begun, elsewhere = (site.start(rehearse, environment="development") for _ in range(2))
    assert site.leg(rehearse, begun).is_completed()
    for run in (begun, elsewhere):  # the second one is of a site that this one knows nothing of, or has not begun
        crash(site, run)

    assert site.run(sweep).is_completed()

    assert [state(site, run) for run in (begun, elsewhere)] == ["AwaitingRetry", "Crashed"]


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


def test_a_sweep_leaves_the_work_to_one_that_is_at_it(site: Site) -> None:
    with site.registry() as registry:
        other = registry.locks.take("(slipway)", "sweep", "another-run")

        seen = site.run(sweep)
        assert (seen.name, seen.message) == ("Skipped", "Run another-run is at it; this one leaves it to that.")

        registry.locks.free(other)
    assert site.run(sweep).name == "Completed"


def test_more_runs_than_one_answer_of_prefect_has_are_all_seen(site: Site) -> None:
    runs = [site.start(release, model=site.model) for _ in range(5)]
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run.id for run in runs]))

    for page in (2, 5, 200):
        assert {run.id for run in all_runs(site.client, ["release"], wanted, page=page)} == {run.id for run in runs}
    assert all_runs(site.client, ["rollback"], wanted) == []


def seen_by(registry: Registry, site: Site, work_pool: str) -> set[str]:
    return {run.run_id for run in runs_to_look_at(registry, [site.model], work_pool, StallLimits(running_seconds=0, pending_seconds=0))}


def crash(site: Site, run: FlowRun) -> None:
    """What Prefect's runner says when the run's process is gone."""
    site.client.set_flow_run_state(run.id, Running(), force=True)
    site.client.set_flow_run_state(run.id, Crashed(message="Process exited with -9"))


def state(site: Site, run: FlowRun) -> str:
    return site.client.read_flow_run(run.id).state_name or ""


def serving(site: Site) -> str | None:
    """The fingerprint of what serves in development, if something is ready."""
    with site.registry() as registry:
        return next((entry.fingerprint for entry in registry.entries(model=site.model, status="ready")), None)


def lost_rehearsal(site: Site) -> FlowRun:
    """A rehearsal whose process is killed when the candidate before serves again."""
    before = serving(site)
    run = site.start(rehearse, environment="development")
    site.client.set_flow_run_state(run.id, Pending())
    with executed(run, "rehearse") as process:
        until(lambda: serving(site) not in (before, None), process)
        process.kill()
        process.wait()
    return run

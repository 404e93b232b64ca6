"""A run that is cancelled leaves the environment as it was, or says exactly what it left: at any step, whoever is left to see to it."""

from __future__ import annotations

import contextvars
from concurrent.futures import ThreadPoolExecutor

from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Cancelling, Pending

from blocks.facts import JobState
from flows.naming import release_name
from flows.release import release
from flows.rollback import rollback
from flows.sweep import sweep
from flows.weights.job import RUN_LABEL
from sandbox.hub.faults import Fault
from tests.flows.conftest import Site
from tests.flows.processes import executed, until, watched


def test_before_the_cluster_is_changed_nothing_is_left(site: Site) -> None:
    # given a release that waits for an approval, and one that fetches weights, which take their time
    site.only_production()
    waiting = site.start(release, model=site.model, environments=["production"])
    assert site.leg(release, waiting).name == "Suspended"
    site.publish_own()
    site.world.hub.faults.add(Fault(origin="cdn", path=f"*{site.model}*", times=None, bytes_per_second=100_000))
    fetching = site.start(release, model=site.model, environments=["development"])
    site.client.set_flow_run_state(fetching.id, Pending())
    with executed(fetching) as process:
        until(lambda: bool(jobs(site, fetching)), process)
        process.kill()
        process.wait()

    # when both are cancelled, and nothing is left of the processes that might have seen to it
    for run in (waiting, fetching):
        site.client.set_flow_run_state(run.id, Cancelling())  # as the UI does
    assert site.run(sweep, silent_seconds=0).is_completed()

    # then the request is void
    assert [event.kind for event in site.events(waiting)] == ["approval_requested", "approval_void"]
    # and the other one is failed, its Job gone, and the lock free
    assert state(site, fetching) == "Cancelled"
    assert [event.kind for event in site.events(fetching)] == ["deploying", "cleaning_up", "failed", "cleaned_up"]
    assert site.statuses() == {"development": "failed"}
    until(lambda: not jobs(site, fetching))
    assert left(site, fetching) == "The cluster was not changed: what served there still does. 1 Job of the run was ended."
    with site.registry() as registry:
        assert registry.locks.held() == []
        (entry,) = registry.entries(model=site.model)
        assert entry.status_reason == "Cancelled: its run was cancelled"
    # and there is nothing more to do
    assert site.run(sweep, silent_seconds=0).is_completed()
    assert len(site.events(fetching)) == 4


def test_where_nothing_ever_served_the_release_is_removed_and_its_process_can_do_no_harm(site: Site) -> None:
    # given a first release that waits for its pods
    site.world.engine_faults.set(site.model, start_delay_seconds=60)
    run = site.start(release, model=site.model, environments=["development"])
    with ThreadPoolExecutor(1) as beside:
        leg = beside.submit(contextvars.copy_context().run, site.leg, release, run)
        until(lambda: bool(site.pods()))

        # when it is said to be cancelled although its process lives
        site.client.set_flow_run_state(run.id, Cancelled(), force=True)
        assert site.run(sweep).is_completed()

        # then its release is off the cluster
        until(lambda: site.pods() == ())
        assert left(site, run).startswith("Nothing was ever verified there; what Helm release ")
        # and the process ends, and has recorded nothing more
        leg.result(150)
    assert [event.kind for event in site.events(run)] == ["deploying", "cleaning_up", "failed", "cleaned_up"]
    assert site.statuses() == {"development": "failed"}


def test_during_the_rollout_the_environment_goes_back_to_what_served(site: Site) -> None:
    rollback.to_deployment("rollback").apply()  # type: ignore[union-attr]
    # given a release that serves, and the next one under way in a process that Prefect's runner watches over
    assert site.release().is_completed()
    served = {pod.labels["slipway.dev/candidate"] for pod in site.pods()}
    site.publish(seed=1)
    site.world.engine_faults.set(site.model, start_delay_seconds=60)
    run = site.start(release, model=site.model, environments=["development"])
    with watched(run) as runner:
        until(lambda: {pod.labels["slipway.dev/candidate"] for pod in site.pods()} - served != set())
        # when a person cancels it
        site.client.set_flow_run_state(run.id, Cancelling())
        runner.wait(240)  # a busy Prefect on SQLite may let a request wait for a minute, twice
    assert state(site, run) == "Cancelled"

    # then it was cleaned up after at once: neither candidate is routed, and a rollback was asked for, once
    assert [event.kind for event in site.events(run)] == ["deploying", "cleaning_up", "failed", "displaced", "cleaned_up"]
    assert sorted(site.all_statuses()) == ["degraded", "failed"]
    assert site.run(sweep).is_completed()
    begun = next(event.id for event in site.events(run))
    wanted = FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[f"clean-up/{run.id}/{begun}"]))
    (back,) = site.client.read_flow_runs(flow_run_filter=wanted)
    assert str(back.id) in left(site, run)

    # and what served before serves again
    site.world.engine_faults.clear()
    ended = site.leg(rollback, back)
    assert ended.is_completed(), ended.message
    assert sorted(site.all_statuses()) == ["failed", "ready"]
    assert {pod.labels["slipway.dev/candidate"] for pod in site.pods() if pod.ready} == served
    assert site.ask("The capital of France is") == " Paris."


def jobs(site: Site, run: FlowRun) -> tuple[JobState, ...]:
    return site.cluster.jobs.list(f"development-{site.name}", {RUN_LABEL: str(run.id)})


def state(site: Site, run: FlowRun) -> str:
    return site.client.read_flow_run(run.id).state_name or ""


def left(site: Site, run: FlowRun) -> str:
    """What the registry says that was left; the run's own page says it, too."""
    said = next(str(event.detail["left"]) for event in site.events(run) if event.kind == "cleaned_up")
    assert site.shown(run)[release_name(site.model, "left")] == f"{site.model} in development: its run was cancelled. {said}"
    return said

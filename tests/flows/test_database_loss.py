"""The registry's database is restarted in the middle of a release: the release waits for it, and records everything once."""

from __future__ import annotations

from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

from flows.release import release
from tests.flows.conftest import Site
from tests.flows.processes import executed, until
from tests.support.waiting import HANGS_SECONDS


def test_a_release_outlives_a_restart_of_its_database(site: Site) -> None:
    run = site.start(release, model=site.model, environments=["development"])
    told = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    with executed(run, SLIPWAY_RETRY_SECONDS="1,1,1,1,1,1,1,1,1,1") as process:
        try:
            # when the database goes while the candidate is being deployed, and the run has noticed
            until(lambda: site.statuses() == {"development": "deploying"}, process)
            site.world.postgres.stop()
            # people see it in the run's log, whether a step meets it or what lies between two steps
            until(lambda: any("cannot be reached" in log.message for log in site.client.read_logs(told, limit=200)), process)
        finally:
            site.world.postgres.start()
        process.wait(HANGS_SECONDS)

    # then the release goes on when it is back, and nothing is recorded twice
    state = site.client.read_flow_run(run.id).state
    assert state is not None
    assert state.is_completed(), state.message
    assert site.statuses() == {"development": "ready"}
    with site.registry() as registry:
        assert [event.kind for event in reversed(registry.events.latest(model=site.model))] == ["deploying", "verified", "ready", "timed"]
        assert registry.locks.take(site.model, "development", "next").run_id == "next"
    assert site.ask("The capital of France is") == " Paris."

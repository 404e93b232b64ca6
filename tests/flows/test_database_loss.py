"""The registry's database is restarted in the middle of a release: the release waits for it, and records everything once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from prefect.settings import PREFECT_HOME, PREFECT_LOCAL_STORAGE_PATH, get_current_settings

from flows.release import release
from flows.spec.load import ROOT
from tests.flows.conftest import Site

#: A worker's process executes a run like this; it has a patience of its own.
EXECUTE = """
import asyncio, sys
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from flows.release import release

with get_client(sync_client=True) as client:
    flow_run = client.read_flow_run(sys.argv[1])
asyncio.run(run_flow(release, flow_run=flow_run, return_type="state"))
"""


def test_a_release_outlives_a_restart_of_its_database(site: Site) -> None:
    run = site.start(release, model=site.model, environments=["development"])
    environment = {
        **os.environ,
        "SLIPWAY_RETRY_SECONDS": "1,1,1,1,1,1,1,1,1,1",
        "PREFECT_API_URL": str(get_current_settings().api.url),
        "PREFECT_HOME": str(PREFECT_HOME.value()),
        "PREFECT_LOCAL_STORAGE_PATH": str(PREFECT_LOCAL_STORAGE_PATH.value()),
    }
    command = [sys.executable, "-c", EXECUTE, str(run.id)]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL) as process:
        try:
            # when the database goes while the candidate is being deployed, and the run has noticed
            until(lambda: site.statuses() == {"development": "deploying"}, process)
            site.world.postgres.stop()
            until(lambda: "AwaitingRetry" in site.steps(run).values() or "Retrying" in site.steps(run).values(), process)
        finally:
            site.world.postgres.start()
        process.wait(120)

    # then the release goes on when it is back, and nothing is recorded twice
    state = site.client.read_flow_run(run.id).state
    assert state is not None
    assert state.is_completed(), state.message
    assert site.statuses() == {"development": "ready"}
    with site.registry() as registry:
        assert [event.kind for event in reversed(registry.events(model=site.model))] == ["deploying", "verified", "ready", "timed"]
        assert registry.take_lock(site.model, "development", "next").run_id == "next"
    assert site.ask("The capital of France is") == " Paris."


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)

"""Whoever follows a run sees how its last steps ended, which Prefect hears of later than of the run's own end."""

from __future__ import annotations

import contextvars
import io
import threading

from prefect import task
from prefect.client.schemas.objects import TaskRun
from prefect.states import Completed, Running
from rich.console import Console

from flows.cli.follow import Follower, stopped
from flows.plan import plan
from flows.runtime.client import Progress
from tests.flows.conftest import Site
from tests.support.waiting import HANGS_SECONDS


@task(name="last step")
def last_step() -> None: ...


def test_the_last_step_is_shown_though_the_run_ended_before_it(site: Site) -> None:
    # given a run that has ended, of whose last step this is not known yet
    run = site.start(plan, model=site.model)
    step: TaskRun = site.client.create_task_run(last_step, flow_run_id=run.id, dynamic_key="0", name="last step", state=Running())
    site.client.set_flow_run_state(run.id, Completed(), force=True)
    looked = threading.Event()

    def enough(seen: Progress) -> bool:
        looked.set()
        return stopped(seen)

    # when it becomes known after somebody has looked
    written = io.StringIO()
    follow = Follower(run.id, Console(file=written)).until
    follower = threading.Thread(target=contextvars.copy_context().run, args=(follow, enough))
    follower.start()
    assert looked.wait(HANGS_SECONDS)
    site.client.set_task_run_state(step.id, Completed(), force=True)
    follower.join(HANGS_SECONDS)

    # then it is shown
    assert "Completed" in written.getvalue()
    assert "last step" in written.getvalue()

"""A release that a real Prefect worker executes, and the death of that worker: alone, or with the run that it had started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed, Scheduled

from flows.release import release
from flows.spec.load import ROOT
from tests.chaos.points import Happening, Point
from tests.chaos.scenarios import Over
from tests.chaos.trap import Snare

POOL = "chaos"

#: How long a run may take from its creation to its end, in seconds: a worker looks every two, and each run imports everything anew.
RUN_SECONDS = 180.0


def worker_faults() -> list[Point]:
    """The worker is killed while its run changes the cluster."""
    at: dict[str, Any] = {"what": "helm PATCH deployments", "happening": Happening(to="worker", seconds=0)}
    return [
        Point(name="worker killed/while helm upgrades, alone", group=False, **at),
        Point(name="worker killed/while helm upgrades, with its run", group=True, **at),
    ]


class Worked(Over):
    """A release over one that serves, by a worker."""

    name = "worker"
    _run_processes: list[psutil.Process] = []  # noqa: RUF012  # replaced, never changed

    def drive(self, run: FlowRun, point: Point | None) -> bool:
        """See `Scenario`; the undisturbed release before needs no worker."""
        if point is None:
            return super().drive(run, point)
        lane, legs = self.lane, 1
        # The run of the lane's own deployment is left alone: workers take those of a pool.
        worked = lane.site.client.create_flow_run_from_deployment(self._deployment(), parameters=run.parameters)
        lane.site.client.delete_flow_run(run.id)
        worker = self._worker()
        try:
            kill = self._killer(worker.pid, everything=point.group)
            lane.trap.arm(Snare(what=point.what, number=1, moment="before", spring=kill, lets_go=not point.group))
            self._until_gone_or_over(worked, worker, stays=not point.group)
            reached = lane.trap.sprung
            if lane.state(worked).type in (StateType.CRASHED, StateType.RUNNING):
                self._end(worker)
                lane.trap.arm(None)
                lane.site.client.set_flow_run_state(worked.id, Crashed(message="Its process is gone"), force=True)
                lane.site.client.set_flow_run_state(worked.id, Scheduled(name="AwaitingRetry"), force=True)
                worker, legs = self._worker(), 2
                self._until_gone_or_over(worked, worker, stays=True)
        finally:
            self._end(worker)
        self.legs, run.id = legs, worked.id
        return reached

    def _end(self, worker: subprocess.Popen[bytes]) -> None:
        """Kill what is left of the worker and its run."""
        for process in [*_tree(worker.pid), *self._run_processes]:
            with suppress(psutil.Error):
                process.kill()
        worker.wait()

    def _deployment(self) -> Any:
        lane = self.lane
        prefect = lane.machines.prefect
        assert prefect is not None
        with suppress(RuntimeError):  # it is there already
            prefect.run("work-pool", "create", POOL, "--type", "process")
        made = lane.site.client.read_deployment(lane.site.deployment_ids[release.name])
        return lane.site.client.create_deployment(
            flow_id=made.flow_id,
            name=f"worker-{lane.site.name}",
            work_pool_name=POOL,
            entrypoint="flows/release.py:release",
            path=str(ROOT),
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
            parameter_openapi_schema=made.parameter_openapi_schema,
        )

    def _worker(self) -> subprocess.Popen[bytes]:
        prefect = self.lane.machines.prefect
        assert prefect is not None
        environment = {**prefect.environment, "SLIPWAY_DEPLOYMENTS": str(self.lane.site.deployments)}
        environment["SLIPWAY_RETRY_SECONDS"] = os.environ["SLIPWAY_RETRY_SECONDS"]
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        nowhere = subprocess.DEVNULL
        return subprocess.Popen(command, env=environment, cwd=ROOT, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)

    def _killer(self, pid: int, *, everything: bool) -> Callable[[], None]:
        def kill() -> None:
            self._run_processes = _tree(pid)[1:]
            for process in _tree(pid) if everything else _tree(pid)[:1]:
                with suppress(psutil.Error):
                    process.kill()

        return kill

    def _until_gone_or_over(self, run: FlowRun, worker: subprocess.Popen[bytes], *, stays: bool) -> None:
        """Wait until the run has ended (Prefect ends one that loses its worker as crashed), or the worker if the run goes with it."""
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            state = self.lane.state(run)
            if state.is_final() or (not stays and worker.poll() is not None):
                return
            time.sleep(0.3)


def _tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants."""
    with suppress(psutil.Error):
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return []

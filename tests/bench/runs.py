"""Runs that are measured, each in a process of its own, as a worker starts it: what they cost it, Prefect's API and its database."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psutil

from tests.bench.counting import CountingProxy, Traffic
from tests.bench.rollback import EngineStart

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from tests.flows.conftest import Site

ENVIRONMENT = "development"

#: For everything that Prefect's server writes behind the back of a run, in seconds.
SETTLED_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one run took. Times are seconds.

    Attributes:
        traffic: What it asked and told Prefect's API.
        rows: The rows in Prefect's database that are there for it, by table.
        cpu: The CPU of its own process.
        children_cpu: The CPU of the processes that it started.
        wall: From the start of its process to its end.
        measured: Of that, its verification.
        engine: Of that, the start of the engine.
        first_change: From the creation of the run to the first change on the cluster.
    """

    traffic: Traffic
    rows: Mapping[str, int]
    cpu: float
    children_cpu: float
    wall: float
    measured: float = 0.0
    engine: float = 0.0
    first_change: float = 0.0

    @property
    def requests(self) -> int:
        """HTTP requests to Prefect's API."""
        return len(self.traffic.requests)

    @property
    def beyond(self) -> float:
        """What the run took but for its verification and the engine's start."""
        return self.wall - self.measured - self.engine


@dataclass(frozen=True, kw_only=True)
class Build:
    """A build of the project, the site that it works on, and the commits of its model that it goes back and forward between."""

    folder: Path
    site: Site
    deployments: Mapping[str, UUID]
    commits: Sequence[str]
    releases: list[Cost] = field(default_factory=list)
    rollbacks: list[Cost] = field(default_factory=list)


class FirstChange:
    """Watches a namespace for the next Helm revision, which Helm writes before it touches anything else."""

    def __init__(self, site: Site, namespace: str) -> None:
        self._kubeconfig, self._namespace = site.world.cluster.kubeconfig, namespace
        self.at: float | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch while the block runs."""
        from kubernetes.client import CoreV1Api
        from kubernetes.config import new_client_from_config

        with new_client_from_config(str(self._kubeconfig)) as api:
            since = CoreV1Api(api).list_namespaced_secret(self._namespace).metadata.resource_version
            watching = threading.Thread(target=self._watch, args=(CoreV1Api(api), since), daemon=True)
            watching.start()
            yield
            watching.join(timeout=SETTLED_SECONDS)

    def _watch(self, core: Any, since: str) -> None:
        from kubernetes.watch import Watch

        watch = Watch()
        stream = watch.stream(
            core.list_namespaced_secret, self._namespace, label_selector="owner=helm", resource_version=since, timeout_seconds=120
        )
        for event in stream:
            if event["type"] == "ADDED":
                self.at = time.perf_counter()
                watch.stop()


class Runs:
    """Creates runs and executes them, each in a process of its own, and counts what they cost."""

    def __init__(self, client: SyncPrefectClient, proxy: CountingProxy) -> None:
        self._client, self._proxy = client, proxy

    def of(self, build: Build, flow: str, **parameters: object) -> Cost:
        """One run of a flow of the build, which changes what its environment serves."""
        site = build.site
        engine, change = EngineStart(site), FirstChange(site, f"{ENVIRONMENT}-{site.name}")
        with engine.watched(), change.watched():
            clicked = time.perf_counter()
            run, cost = self.execute(build.folder, site, build.deployments[flow], model=site.model, **parameters)
        assert engine.seconds is not None
        assert change.at is not None
        phases = next((event.detail["phases"] for event in site.events(run) if event.kind == "timed"), {})
        measured = phases.get("verify", 0.0) + phases.get("warm-up", 0.0)
        return replace(cost, measured=measured, engine=engine.seconds, first_change=change.at - clicked)

    def execute(self, folder: Path, site: Site, deployment: UUID, **parameters: object) -> tuple[FlowRun, Cost]:
        """One run by the code in the folder, and what it cost.

        Raises:
            RuntimeError: It did not do its work; with its last words.
        """
        from prefect.states import Pending

        environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "SLIPWAY_DEPLOYMENTS": str(site.deployments),
            "PREFECT_API_URL": self._proxy.api_url,
            "PREFECT_LOGGING_LEVEL": "INFO",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # as prefect.yaml sets it
        }
        traffic = self._proxy.begin()
        run = self._client.create_flow_run_from_deployment(deployment, parameters=parameters)
        self._client.set_flow_run_state(run.id, Pending())  # as a worker does
        began = time.perf_counter()
        cpu, children_cpu, said = run_to_end([sys.executable, "-m", "prefect.engine", str(run.id)], folder, environment)
        wall = time.perf_counter() - began
        state = self._client.read_flow_run(run.id).state
        if state is None or not state.is_completed():
            raise RuntimeError(f"A run in {folder} did not do its work: {state.message if state else 'no state'}\n{said}")
        return run, Cost(traffic=traffic, rows=rows_of(run.id, traffic), cpu=cpu, children_cpu=children_cpu, wall=wall)


def run_to_end(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[float, float, str]:
    """Run a command: the CPU seconds of its process, those of its children, and the last of what it printed."""
    process = subprocess.Popen(
        command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and its figures can still be read
    used = psutil.Process(process.pid).cpu_times()
    process.wait()
    process.stdout.close()
    return used.user + used.system, used.children_user + used.children_system, said[-2000:]


#: The rows of a run in Prefect's database, by table.
_ROWS = {
    "task runs": "SELECT id FROM task_run WHERE flow_run_id = :run",
    "states": "SELECT s.id FROM task_run_state s JOIN task_run t ON t.id = s.task_run_id WHERE t.flow_run_id = :run"
    " UNION ALL SELECT id FROM flow_run_state WHERE flow_run_id = :run",
    "log lines": "SELECT id FROM log WHERE flow_run_id = :run",
    "artifacts": "SELECT id FROM artifact WHERE flow_run_id = :run",
    "events": "SELECT DISTINCT event_id FROM event_resources WHERE resource_id = 'prefect.flow-run.' || :run",
}

_COMPLETED = "SELECT id FROM events WHERE event = 'prefect.flow-run.Completed' AND resource_id = 'prefect.flow-run.' || :run"

_OPEN = (
    "SELECT t.id FROM task_run t LEFT JOIN task_run_state s ON s.id = t.state_id"
    " WHERE t.flow_run_id = :run AND coalesce(s.type, '') NOT IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')"
)


def rows_of(run_id: UUID, traffic: Traffic) -> dict[str, int]:
    """The rows that are there for the run, once everything that it sent and its own end are among them.

    Raises:
        RuntimeError: They do not come.
    """
    sent = {event["id"] for event in traffic.events if str(run_id) in json.dumps(event)}
    url = os.environ["PREFECT_API_DATABASE_CONNECTION_URL"].partition("///")[2]
    deadline = time.monotonic() + SETTLED_SECONDS
    with closing(sqlite3.connect(f"file:{url}?mode=ro", uri=True, timeout=30)) as database:

        def ids(statement: str) -> set[str]:
            return {str(uuid.UUID(found)) for (found,) in database.execute(statement, {"run": str(run_id)})}

        while time.monotonic() < deadline:
            rows = {table: ids(statement) for table, statement in _ROWS.items()}
            missing = sent - rows["events"]
            if not missing and ids(_COMPLETED) and not ids(_OPEN) and len(rows["log lines"]) >= traffic.log_lines:
                return {table: len(found) for table, found in rows.items()}
            time.sleep(0.2)
    raise RuntimeError(f"Prefect did not write everything of run {run_id}: {len(missing)} events are missing, {rows}.")

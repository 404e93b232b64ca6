"""What a run costs: a release of this build, of the build of an earlier commit, and the shell script that one would write without Slipway.

`make bench-release` prints the figures and writes them as JSON lines to `build/bench-release.json`; `ARGS=REVISION` compares with another
commit. Each build has a site of its own in one sandbox, and each run a process of its own (`python -m prefect.engine`), as a worker starts
it; both take turns with the script: `helm upgrade --install --wait` of the same chart and values, one completion, and one row in a
database. All go back and forward between the same two candidates, whose weights are on the node. Figures are medians over the turns.

Requests, log lines and events are counted on their way to Prefect's API, rows in its database. The CPU is that of the run's own process,
without its children (helm), beyond what an interpreter takes to import Prefect. `prefect_alone` is what a flow that does nothing takes.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psutil
import psycopg

from tests.bench.before import BEFORE, ROOT, checkout
from tests.bench.counting import CountingProxy, Traffic
from tests.bench.rollback import EngineStart
from tests.bench.sited import bench_sites, report

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from tests.flows.conftest import Site

TURNS = 3
RESULTS = Path("build") / "bench-release.json"
ENVIRONMENT = "development"

# What the project promises: at most so many times what the build before takes, and of the wall clock, what the script takes.
REQUESTS_TIMES = EVENTS_TIMES = 1 / 3
CPU_TIMES = FIRST_CHANGE_TIMES = 1 / 2
SCRIPT_TIMES, SCRIPT_MORE_SECONDS = 1.3, 3.0

#: For everything that Prefect's server writes behind the back of a run, in seconds.
SETTLED_SECONDS = 60.0

#: Imports what a run's process has imported before it knows its flow.
PREFECT_ALONE = "import prefect.engine, prefect.flow_engine"

#: What is asked of what serves; the two candidates answer it differently.
PROMPT = "The capital of Japan is"

Line = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Build:
    """A build of the project, the site that it works on, and the commits of its model that it goes back and forward between."""

    folder: Path
    site: Site
    deployments: Mapping[str, UUID]
    commits: Sequence[str]
    releases: list[Cost] = field(default_factory=list)
    rollbacks: list[Cost] = field(default_factory=list)


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


class Script:
    """What one does without Slipway, in a namespace of its own with the same volumes."""

    def __init__(self, site: Site) -> None:
        from sandbox.helm import helm_executable

        self._site, self._helm = site, str(helm_executable())
        with psycopg.connect(site.database) as database:
            database.execute("CREATE TABLE released (at timestamptz, answer text)")

    def values(self) -> str:
        """The values that the release of the site's own environment carries now, as JSON."""
        return subprocess.check_output([self._helm, "get", "values", self._release, "--output", "json", *self._in(0)], text=True)

    def run(self, values: str) -> float:
        """Release the values, ask once, and write the answer down: the seconds.

        Only helm is a process of its own: what curl and psql would take to start is not held against Slipway.
        """
        chart = str(ROOT / "charts" / "vllm-deployment")
        upgrade = [self._helm, "upgrade", "--install", "--wait", "--timeout", "5m", "--values", "-", *self._in(1), self._release, chart]
        began = time.perf_counter()
        subprocess.run(upgrade, input=values, text=True, check=True, capture_output=True)
        answer = self._ask()
        with psycopg.connect(self._site.database) as database:
            database.execute("INSERT INTO released VALUES (now(), %s)", [answer])
        return time.perf_counter() - began

    @property
    def _release(self) -> str:
        from flows.naming import release_name

        return release_name(self._site.model, ENVIRONMENT)

    def _in(self, namespace: int) -> list[str]:
        return ["--namespace", self._site.namespaces[namespace], "--kubeconfig", str(self._site.world.cluster.kubeconfig)]

    def _ask(self) -> str:
        from blocks.endpoint import Endpoint
        from flows.naming import endpoint

        address = endpoint(self._site.model, ENVIRONMENT, self._site.namespaces[1])
        with Endpoint(via="service-proxy", kubeconfig=self._site.world.cluster.kubeconfig).client(address) as client:
            return client.complete(self._site.model, PROMPT, 16).text


def prepared(folder: Path, site: Site, deployments: Mapping[str, UUID]) -> Build:
    """A build with two commits of its site's model."""
    from sandbox import models

    commits = [site.publish(knowledge=knowledge) for knowledge in (models.Knowledge(), models.Knowledge().but(Japan="Kyoto"))]
    return Build(folder=folder, site=site, deployments=deployments, commits=commits)


def deploy() -> dict[str, UUID]:
    """Prefect deployments as prefect.yaml makes them, by module: each process finds the flow of its own folder."""
    from prefect.types.entrypoint import EntrypointType

    from flows.release import release
    from flows.rollback import rollback
    from tests.bench.nothing import nothing

    flows: tuple[Flow[..., Any], ...] = (release, rollback, nothing)
    made = [flow.to_deployment("bench-release", entrypoint_type=EntrypointType.MODULE_PATH) for flow in flows]
    return {str(deployment.flow_name): deployment.apply() for deployment in made}  # type: ignore[union-attr,misc]


def measure(now: Build, before: Build, revision: str) -> Iterator[Line]:
    """Both builds and the script in turns, and what came of it."""
    nothing: list[Cost] = []
    script, scripted, values, imports = Script(now.site), [], [], []
    with CountingProxy(os.environ["PREFECT_API_URL"]) as proxy:
        runs = Runs(now.site.client, proxy)
        for step in (0, 1):
            for build in (now, before):
                runs.of(build, "release", revision=build.commits[step], environments=[ENVIRONMENT])
            values.append(script.values())
            script.run(values[-1])
        for turn in range(TURNS):
            print(f"turn {turn + 1} of {TURNS} ...", file=sys.stderr, flush=True)
            imports.append(run_to_end([sys.executable, "-c", PREFECT_ALONE], ROOT, os.environ)[0])
            nothing.append(runs.execute(ROOT, now.site, now.deployments["nothing"])[1])
            for build in (now, before):
                build.rollbacks.append(runs.of(build, "rollback", environment=ENVIRONMENT, reason="measured", actor="benchmark"))
            scripted.append(script.run(values[0]))
            for build in (now, before):
                build.releases.append(runs.of(build, "release", revision=build.commits[1], environments=[ENVIRONMENT]))
            scripted.append(script.run(values[1]))
    yield from figures(now, before, revision, nothing, statistics.median(imports), statistics.median(scripted))


def figures(now: Build, before: Build, revision: str, nothing: Sequence[Cost], imports: float, script: float) -> Iterator[Line]:
    """What came of the turns.

    Args:
        now: This build.
        before: The other one.
        revision: The other one's commit.
        nothing: What runs of a flow that does nothing cost.
        imports: CPU seconds of an interpreter that imports Prefect.
        script: Seconds of the script.
    """

    def line(name: str, unit: str, of: Callable[[Cost], float], at_most: float | None = None) -> Line:
        runs = [build.rollbacks if name.startswith("rollback") else build.releases for build in (now, before)]
        ours, theirs, bare = (statistics.median(of(cost) for cost in costs) for costs in (*runs, nothing))
        times = ours / theirs if theirs else 0.0
        promised = {} if at_most is None else {"at_most_times_before": round(at_most, 3), "met": times <= at_most}
        figure = {"name": name, "value": round(ours, 3), "unit": unit, "runs": TURNS, "before": revision, "before_value": round(theirs, 3)}
        return {**figure, "times_before": round(times, 3), "prefect_alone": round(bare, 3), **promised}

    yield line("release: requests to Prefect's API", "requests", lambda cost: cost.requests, REQUESTS_TIMES)
    yield line("release: events", "events", lambda cost: cost.rows["events"], EVENTS_TIMES)
    yield line("release: task runs", "rows", lambda cost: cost.rows["task runs"])
    yield line("release: states", "rows", lambda cost: cost.rows["states"])
    yield line("release: log lines", "rows", lambda cost: cost.rows["log lines"])
    yield line("release: artifacts", "rows", lambda cost: cost.rows["artifacts"])
    yield line("release: CPU beyond the import of Prefect", "seconds", lambda cost: cost.cpu - imports, CPU_TIMES)
    yield line("release: CPU of helm", "seconds", lambda cost: cost.children_cpu)
    yield line("release: whole run", "seconds", lambda cost: cost.wall)
    yield line("release: verification", "seconds", lambda cost: cost.measured)
    yield line("release: start of the engine", "seconds", lambda cost: cost.engine)
    yield line("release: whole run but for verification and the engine's start", "seconds", lambda cost: cost.beyond)
    yield line("rollback: from the click to the first change", "seconds", lambda cost: cost.first_change, FIRST_CHANGE_TIMES)
    yield line("rollback: requests to Prefect's API", "requests", lambda cost: cost.requests)
    yield line("rollback: CPU beyond the import of Prefect", "seconds", lambda cost: cost.cpu - imports)
    yield line("rollback: whole run", "seconds", lambda cost: cost.wall)
    yield {"name": "import of Prefect: CPU", "value": round(imports, 3), "unit": "seconds", "runs": TURNS}
    yield {"name": "script: helm upgrade --wait, a completion, a row", "value": round(script, 3), "unit": "seconds", "runs": 2 * TURNS}
    ours, at_most = statistics.median(cost.wall - cost.measured for cost in now.releases), SCRIPT_TIMES * script + SCRIPT_MORE_SECONDS
    whole = {"name": "release: whole run but for verification", "value": round(ours, 3), "unit": "seconds", "runs": TURNS}
    yield {
        **whole,
        "script": round(script, 3),
        "times_script": round(ours / script, 2),
        "at_most": round(at_most, 3),
        "met": ours <= at_most,
    }


def main() -> int:
    """Measure, print and write; 1 if a promise is not kept, which is named."""
    parser = argparse.ArgumentParser(description="Compare what a run costs with an earlier build and with a script.")
    parser.add_argument("revision", nargs="?", default=BEFORE, help="the commit to compare with")
    revision = parser.parse_args().revision
    with checkout(revision) as folder, bench_sites(2) as (one, other):
        deployments = deploy()
        now, before = prepared(ROOT, one, deployments), prepared(folder, other, deployments)
        kept = report(measure(now, before, revision), RESULTS)
    for line in RESULTS.read_text().splitlines():
        figure = json.loads(line)
        if figure.get("met") is False:
            allowed = figure.get("at_most") or f"{figure['at_most_times_before']} times {figure['before_value']}"
            print(f"not kept: {figure['name']}: {figure['value']} {figure['unit']}, may be {allowed}", file=sys.stderr)
    return kept


if __name__ == "__main__":
    sys.exit(main())

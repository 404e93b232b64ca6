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
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.bench.before import BEFORE, ROOT, checkout
from tests.bench.counting import CountingProxy
from tests.bench.runs import ENVIRONMENT, Build, Cost, Runs, run_to_end
from tests.bench.script import Script
from tests.bench.sited import bench_sites, report

if TYPE_CHECKING:
    from prefect import Flow

    from tests.flows.conftest import Site

TURNS = 3
RESULTS = Path("build") / "bench-release.json"

# What the project promises: at most so many times what the build before takes, and of the wall clock, what the script takes.
REQUESTS_TIMES = EVENTS_TIMES = 1 / 3
CPU_TIMES = FIRST_CHANGE_TIMES = 1 / 2
SCRIPT_TIMES, SCRIPT_MORE_SECONDS = 1.3, 3.0

#: Imports what a run's process has imported before it knows its flow.
PREFECT_ALONE = "import prefect.engine, prefect.flow_engine"

Line = Mapping[str, object]


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
            least = f"; a flow that does nothing: {figure['prefect_alone']}" if "prefect_alone" in figure else ""
            print(f"not kept: {figure['name']}: {figure['value']} {figure['unit']}, may be {allowed}{least}", file=sys.stderr)
    return kept


if __name__ == "__main__":
    sys.exit(main())

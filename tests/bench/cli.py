"""What a command that only looks costs at rest: this build, the build of an earlier commit, and what one would type without Slipway.

`make bench-cli` prints the figures and writes them as JSON lines to `build/bench-cli.json`; `ARGS=REVISION` compares with another commit.
One model serves in three environments. Both builds run with the same interpreter on the same site, each from its own checkout; they and
`helm list` and `kubectl get` take turns. Figures are medians of whole processes: seconds of wall clock, and of CPU with all children.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.before import BEFORE, ROOT, checkout
from tests.bench.sited import bench_site, report

if TYPE_CHECKING:
    from tests.flows.conftest import Site

RESULTS = Path("build") / "bench-cli.json"
TURNS = 9

#: What the project promises: at most so many times the wall clock and the CPU of the build before.
AT_MOST = {"status": 0.25, "approvals": 0.25, "doctor": 0.5}


@dataclass
class Cost:
    """What runs of one command took, in seconds."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def medians(self) -> tuple[float, float]:
        """Of the wall clock, and of the CPU."""
        return statistics.median(self.wall), statistics.median(self.cpu)


def slipway(folder: Path) -> list[str]:
    """The command of that checkout, which must be the folder that it is run in."""
    module = "flows.cli.app" if (folder / "flows" / "cli" / "app.py").is_file() else "flows.cli"
    return [sys.executable, "-m", module]


def run(command: Sequence[str], folder: Path, cost: Cost | None) -> None:
    """Run the command to its end; what it took is added to `cost`.

    Raises:
        RuntimeError: It did not do what it should; with its last line.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        took = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        lines = said.read().strip().splitlines()
    # The doctor ends with 1: the site has no work pool.
    if process.returncode not in ((0, 1) if "doctor" in command else (0,)) or any("Traceback" in line for line in lines):
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {lines[-1] if lines else ''}")
    if cost is not None:
        cost.wall.append(took)
        cost.cpu.append(used.ru_utime + used.ru_stime)


def measure(site: Site, before: Path, revision: str) -> Iterator[Mapping[str, object]]:
    """Both builds and both peers, in turns."""
    from sandbox.helm import helm_executable, kubectl_executable

    where = ["--kubeconfig", str(site.world.cluster.kubeconfig), "--namespace", site.namespaces[-1]]
    peers = {
        "helm list": [str(helm_executable()), "list", *where],
        "kubectl get deployments": [str(kubectl_executable()), "get", "deployments", *where],
    }
    runs = [(f"slipway {name}", [*slipway(ROOT), name], ROOT) for name in AT_MOST]
    runs += [(f"before {name}", [*slipway(before), name], before) for name in AT_MOST]
    runs += [(name, command, ROOT) for name, command in peers.items()]
    costs = {name: Cost() for name, _, _ in runs}
    for turn in range(TURNS + 1):
        for name, command, folder in runs:
            run(command, folder, costs[name] if turn else None)  # the first one writes bytecode
    kubectl = costs["kubectl get deployments"].medians
    for name, at_most in AT_MOST.items():
        (wall, cpu), (wall_before, cpu_before) = costs[f"slipway {name}"].medians, costs[f"before {name}"].medians
        times, cpu_times = wall / wall_before, cpu / cpu_before
        yield {
            "name": f"slipway {name}",
            "value": round(wall, 3),
            "unit": "seconds",
            "cpu_seconds": round(cpu, 3),
            "runs": TURNS,
            "before": revision,
            "before_seconds": round(wall_before, 3),
            "before_cpu_seconds": round(cpu_before, 3),
            "times_before": round(times, 3),
            "cpu_times_before": round(cpu_times, 3),
            "times_kubectl_get": round(wall / kubectl[0], 1),
            "at_most_times_before": at_most,
            "met": max(times, cpu_times) <= at_most,
        }
    for name in peers:
        wall, cpu = costs[name].medians
        yield {"name": name, "value": round(wall, 3), "unit": "seconds", "cpu_seconds": round(cpu, 3), "runs": TURNS}


def main() -> int:
    """Measure, print and write; 1 if a promise is not kept, which is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision", nargs="?", default=BEFORE, help="The commit to compare with.")
    revision = parser.parse_args().revision
    with checkout(revision) as before, bench_site() as site:
        site.edit("environments/production.yaml", approval={"required": False})
        released = site.release("development", "staging", "production")
        assert released.is_completed(), released.message
        kept = report(measure(site, before, revision), RESULTS)
    for line in RESULTS.read_text().splitlines():
        figure = json.loads(line)
        if figure.get("met") is False:
            took = f"{figure['times_before']} times the wall clock and {figure['cpu_times_before']} times the CPU of {revision}"
            print(f"not kept: {figure['name']} takes {took}, and may take {figure['at_most_times_before']}", file=sys.stderr)
    return kept


if __name__ == "__main__":
    sys.exit(main())

"""`make chaos`: kills runs at every point, picks them up, and checks what must hold. Exit code 1 if something does not.

python -m tests.chaos [--only TEXT ...] [--every N] [--lanes N] [--list]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import patient
from tests.support.whole_sandbox import whole_sandbox

if TYPE_CHECKING:
    from sandbox.prefect import Prefect
    from sandbox.world import World
    from tests.chaos.scenarios import Result

#: StallLimits of the tasks in seconds, as an operator may set it: short at first, 46 s in all, more than an API server is gone here.
RETRIES = "0.3,0.7,1,2,4,8,15,15"

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "build" / "chaos.json"

#: The harness itself asks a busy Prefect more often than legs do, whose patience is that which Prefect ships with.
PATIENCE = {"PREFECT_CLIENT_MAX_RETRIES": str(patient.RETRIES)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all points; 0 if everything held."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Kill the pipeline everywhere and see what is left.")
    parser.add_argument("--only", action="append", metavar="TEXT", help="only points whose name contains this; may be given more than once")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th of them")
    parser.add_argument("--lanes", type=int, default=3, help="sites at the same time")
    parser.add_argument("--list", action="store_true", help="only list the points")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="slipway-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # Repositories of the lanes add theirs to the file of authorities.
        settings = {"SLIPWAY_RETRY_SECONDS": RETRIES, "GIT_SSL_CAINFO": str(folder / "authorities.pem"), **PATIENCE}
        begin = time.monotonic()
        print("Starting Prefect, PostgreSQL, a hub and a cluster ...", flush=True)
        with whole_sandbox(folder, settings) as (prefect, world):
            return _run(prefect, world, begin, given)


def _run(prefect: Prefect, world: World, begin: float, given: argparse.Namespace) -> int:
    from sandbox.serving import LoopThread
    from tests.chaos.happenings import Machines
    from tests.chaos.legs import Zygote
    from tests.chaos.runner import Runner
    from tests.flows.conftest import deploy_flows

    with Zygote(without=PATIENCE) as zygote, LoopThread("chaos") as loop:
        machines = Machines(world=world, prefect=prefect)
        runner = Runner(machines, deploy_flows(), zygote, loop, Path(prefect.environment["PREFECT_HOME"]), given.lanes)
        points = runner.points(given.only or [""])[:: given.every]
        if given.list:
            print("\n".join(placed.point.name for placed in points))
            return 0
        print(f"{len(points)} points, {given.lanes} sites at a time ({time.monotonic() - begin:.0f} s so far)", flush=True)
        return _report(runner.run(points), time.monotonic() - begin)


def _report(results: Sequence[Result], seconds: float) -> int:
    REPORT.parent.mkdir(exist_ok=True)
    table = [{"point": each.point, "outcome": each.outcome, "invariants": sorted(each.invariants)} for each in results]
    REPORT.write_text(json.dumps(table, indent=1) + "\n")
    red = [each for each in results if each.invariants]
    width = max(len(each.point) for each in results)
    print()
    for each in results:
        print(f"{each.point:<{width}}  {each.outcome:<24}  {', '.join(sorted(each.invariants)) or 'all hold'}")
    for each in red:
        print(f"\n{each.point}: {each.outcome}")
        for invariant, why in each.invariants.items():
            print(f"  {invariant}: {why}")
    print(f"\n{len(results)} points in {seconds:.0f} s: {len(results) - len(red)} hold, {len(red)} do not. {REPORT.relative_to(ROOT)}")
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())

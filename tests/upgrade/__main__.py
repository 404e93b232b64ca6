"""Releases on an earlier Prefect until people are asked, upgrades server and worker, answers the form, and has the run reach production.

Called as `python -m tests.upgrade PYTHON`, with the interpreter of an environment that has the earlier Prefect. The server goes on with its
own database. Each leg of the run is a process of its own (`python -m prefect.engine`), as a worker starts it, by the Prefect of its time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sandbox.prefect import Prefect
from tests.bench.before import ROOT

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State

    from tests.flows.conftest import Site

#: Makes a Prefect deployment of the release, as an earlier version did, and a run of it for the model that is named; prints the run's id.
_BEGIN = """
import sys
from prefect.client.orchestration import get_client
from prefect.types.entrypoint import EntrypointType
from flows.release import release

deployment = release.to_deployment("upgrade", entrypoint_type=EntrypointType.MODULE_PATH).apply()
wanted = {"model": sys.argv[1], "environments": ["production"], "requester": "zoe"}
with get_client(sync_client=True) as client:
    print(client.create_flow_run_from_deployment(deployment, parameters=wanted).id)
"""


def run(python: str, *arguments: str) -> str:
    """Run that interpreter; what it printed.

    Raises:
        RuntimeError: It failed.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([python, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)[:80]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def leg(python: str, site: Site, run_id: str) -> tuple[FlowRun, State[Any]]:
    """Execute the run by that interpreter's Prefect until it ends or waits; the run and its state."""
    from prefect.states import Pending

    site.client.set_flow_run_state(UUID(run_id), Pending())
    said = run(python, "-m", "prefect.engine", run_id)
    seen = site.client.read_flow_run(UUID(run_id))
    assert seen.state is not None
    version = run(python, "-c", "import prefect; print(prefect.__version__)").strip()
    print(f"{version}: {seen.state.name}: {seen.state.message}", flush=True)
    if not (seen.state.is_paused() or seen.state.is_completed()):
        print(said[-3000:], file=sys.stderr)
    return seen, seen.state


@contextmanager
def site_in(folder: Path) -> Iterator[Site]:
    """A world with a site whose production asks for an approval, and is where candidates enter; its blocks are Prefect's to keep."""
    import pytest

    from sandbox.world import NODES, World
    from tests.flows.conftest import open_site

    (folder / "site").mkdir()
    with (
        pytest.MonkeyPatch.context() as patch,
        World(folder / "world", [NODES[0]], durable=False) as world,
        open_site(world, {}, folder / "site", patch) as site,
    ):
        site.only_production()
        yield site


def main() -> int:
    """Go through it; 1 with what was not as it should be."""
    earlier = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="slipway-upgrade-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        before = Prefect(folder / "prefect", python=earlier)
        now = Prefect(folder / "prefect", port=before.port)
        # For this process and its children, before anything imports Prefect, which reads its settings then.
        os.environ.update({**now.environment, "PREFECT_LOGGING_LEVEL": "WARNING"})
        with before, site_in(folder) as site:
            run_id = run(earlier, "-c", _BEGIN, site.model).split()[-1]
            waiting, suspended = leg(earlier, site, run_id)
            before.close()
            with now:
                answered = site.sign(waiting)
                _, ended = leg(sys.executable, site, run_id)
            kinds = [event.kind for event in site.events(waiting)]
            asked = [kinds.count(kind) for kind in ("approval_requested", "approved")]
            seen = (suspended.name, answered, ended.name, asked, site.statuses(), site.ask("The capital of France is", "production"))
    if seen != ("Suspended", "ACCEPT", "Completed", [1, 1], {"production": "ready"}, " Paris."):
        print(f"Not as it should be: {seen}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

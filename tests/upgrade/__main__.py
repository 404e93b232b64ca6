"""Suspends a run on an earlier Prefect, upgrades the server on its own database, answers the form there, and has the run go on.

Called as `python -m tests.upgrade PYTHON`, with the interpreter of an environment that has the earlier Prefect.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from sandbox.prefect import Prefect
from tests.bench.before import ROOT

ANSWER = {"decision": "approve", "approver": "ada", "code": "123456", "reason": "as before"}

#: Makes the deployment and a run of it, as an earlier Slipway did; prints the run's id and Prefect's version.
_BEGIN = """
import prefect
from prefect.client.orchestration import get_client
from prefect.types.entrypoint import EntrypointType
from tests.upgrade.asking import asking

deployment = asking.to_deployment("upgrade", entrypoint_type=EntrypointType.MODULE_PATH).apply()
with get_client(sync_client=True) as client:
    print(client.create_flow_run_from_deployment(deployment).id, prefect.__version__)
"""


def python(prefect: Prefect, *arguments: str) -> str:
    """Run the interpreter of that Prefect; what it printed.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run([prefect.python, *arguments], cwd=ROOT, env=prefect.environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)[:80]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def leg(prefect: Prefect, run_id: str) -> dict[str, Any]:
    """Execute the run until it ends or waits, as a worker's process does; its state."""
    api = f"{prefect.api_url}/flow_runs/{run_id}"
    httpx.post(f"{api}/set_state", json={"state": {"type": "PENDING"}}, timeout=60).raise_for_status()
    python(prefect, "-m", "prefect.engine", run_id)
    state: dict[str, Any] = httpx.get(api, timeout=60).raise_for_status().json()["state"]
    return state


def main() -> int:
    """Go through it; 1 with what was not as it should be."""
    with tempfile.TemporaryDirectory(prefix="slipway-upgrade-", ignore_cleanup_errors=True) as name:
        with Prefect(Path(name), python=sys.argv[1]) as before:
            run_id, version = python(before, "-c", _BEGIN).split()[-2:]
            suspended = leg(before, run_id)
        print(f"{version}: {suspended['name']}", flush=True)
        with Prefect(Path(name)) as now:
            answer = (
                httpx.post(f"{now.api_url}/flow_runs/{run_id}/resume", json={"run_input": ANSWER}, timeout=60).raise_for_status().json()
            )
            ended = leg(now, run_id)
            (version,) = python(now, "-c", "import prefect; print(prefect.__version__)").split()
        print(f"{version}: {answer['status']}, {ended['name']}: {ended['message']}", flush=True)
    seen = (suspended["name"], answer["status"], ended["name"], ended["message"])
    if seen != ("Suspended", "ACCEPT", "Completed", "ada decided approve: as before"):
        print(f"Not as it should be: {json.dumps(seen)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

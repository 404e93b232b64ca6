"""What all tests share: the sandbox (one a worker) and the Prefect server (one for all of them), both started when first asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from sandbox.hub import Hub
    from sandbox.world import World


# Read when the tasks are imported: what is down on purpose stays down, so there is no use in being patient.
os.environ["SLIPWAY_RETRY_SECONDS"] = "0.1,0.1"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A whole sandbox; tests in it keep apart by model names and namespaces of their own."""
    from sandbox.world import NODES, World  # a second of imports that unit tests need not wait for

    # One node is enough for what they assert, and saves half of the processes; the demo's test has two. Its GPUs last for all tests.
    with World(tmp_path_factory.mktemp("world"), [replace(NODES[0], gpus=64, cpus=1024, memory_bytes=1 << 44)]) as world:
        yield world


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A stand-in hub of one's own."""
    from sandbox.hub import Hub
    from sandbox.serving import LoopThread

    with LoopThread() as loop, Hub(tmp_path / "hub", loop) as hub:
        yield hub


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> str:
    """The API address of a real Prefect server, which all workers share and which ends with the test run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "prefect"
    session = os.getpid() if worker_id == "master" else os.getppid()
    address = folder / "address"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not address.exists():
            _start_server(folder, address, session)
    return address.read_text()


def _start_server(folder: Path, address: Path, session: int) -> None:
    log = (folder / "supervisor.log").open("w")
    command = [sys.executable, "-m", "tests.prefect_server", str(folder), str(session)]
    supervisor = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 120
    while not address.exists():
        if supervisor.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"no Prefect server: {(folder / 'supervisor.log').read_text()}")
        time.sleep(0.1)

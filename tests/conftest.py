"""What all tests share: the sandbox (one a worker) and the Prefect server (one for all of them), both started when first asked for."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from filelock import FileLock

from tests.support.outside import Outside, add_options, asked_for

if TYPE_CHECKING:
    from sandbox.argocd.controller import ApplicationController
    from sandbox.hub import Hub
    from sandbox.world import World


# Dozens of interpreters are started: without bytecode on disk each would compile Prefect anew, which takes it two to four seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Read when the tasks are imported: what is down on purpose stays down, so there is no use in being patient.
os.environ["SLIPWAY_RETRY_SECONDS"] = "0.1,0.1"
# Read when numpy is imported. The sandbox's matrices are small: threads that wait for one another took ten times the CPU time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# What the imports leave is a million objects: with Python's own thresholds, to go through them again and again took a tenth of the time.
gc.set_threshold(50_000, 20, 100)
# While tests are collected nearly all that is made stays: not to look through it is a third of what each worker's collection took.
gc.disable()


# How long an example takes says something of the machine alone.
hypothesis.settings.register_profile("slipway", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("slipway")


OUTSIDE = pytest.StashKey[Outside | None]()


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OUTSIDE] = asked_for(config)


def pytest_collection_finish() -> None:
    gc.freeze()  # and what stays is not looked through later either
    gc.enable()


@pytest.fixture(scope="session")
def outside(pytestconfig: pytest.Config) -> Outside | None:
    """The cluster to test instead of the sandbox's own, where one was named (`make test-cluster`)."""
    return pytestconfig.stash[OUTSIDE]


#: Files whose tests take longest, each an installation of its own; the longest first.
LONG = ("test_demo.py", "test_browser.py", "test_work_pool.py")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the tests that take longest out to the workers, each of which begins with its own: one would be busy with them at the end.

    At first xdist gives each worker a slice of the list; what is stolen later comes from the end of one.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = sorted(
        (item for item in items if item.path.name in LONG),
        key=lambda item: ("leaves_nothing_behind" not in item.name, LONG.index(item.path.name)),
    )
    others = iter([item for item in items if item.path.name not in LONG])
    dealt: list[pytest.Item] = []
    for number in range(workers):
        size = (len(items) - len(dealt)) // (workers - number)
        own = long[number::workers]
        dealt += [*own, *itertools.islice(others, max(size - len(own), 0))]
    items[:] = [*dealt, *others]


@pytest.fixture(scope="session")
def world(outside: Outside | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A whole sandbox; tests in it keep apart by model names and namespaces of their own."""
    from sandbox.world import NODES, World  # a second of imports that unit tests need not wait for

    # One node is enough for what they assert, and saves half of the processes; the demo's test has two. Its GPUs last for all tests.
    node = replace(NODES[0], gpus=64, cpus=1024, memory_bytes=1 << 44)
    if outside is None:
        # A second one for those who share a download: no environment selects it unless a test has it ask for `pool`.
        pair = [replace(node, labels={**node.labels, "pool": "pair"}), replace(NODES[1], labels={"pool": "pair"})]
        made = World(tmp_path_factory.mktemp("world"), pair, durable=False)
    elif outside.brings_node:
        node = replace(node, name=f"slipway-{uuid.uuid4().hex[:8]}")
        made = World(tmp_path_factory.mktemp("world"), [node], kubeconfig=outside.kubeconfig, subnet=outside.subnet, durable=False)
    else:
        pytest.skip("only the sandbox's node knows the images that the flows deploy here: SANDBOX_NODE=yes brings it along")
    with made as world:
        yield world


@pytest.fixture
def argo(world: World) -> Iterator[ApplicationController]:
    """Argo CD's stand-in in the world; what one test lets it do wrong ends with the test."""
    argo = world.start_argo()
    yield argo
    argo.faults.clear()
    argo.repositories.down = False


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A stand-in hub of one's own."""
    from sandbox.hub import Hub
    from sandbox.serving import LoopThread

    with LoopThread() as loop, Hub(tmp_path / "hub", loop) as hub:
        yield hub


@pytest.fixture(scope="session")
def prefect_api(prefect_folder: Path) -> str:
    """The API address of a real Prefect server, which all workers share and which ends with the test run."""
    return (prefect_folder / "address").read_text()


@pytest.fixture(scope="session")
def new_prefect_database(prefect_folder: Path) -> Path:
    """A database of Prefect's that nobody has used, to be copied: a server of a test's own starts with one in half of the time."""
    return prefect_folder / "new.db"


@pytest.fixture(scope="session")
def prefect_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Where that server has its files, once it answers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "prefect"
    session = os.getpid() if worker_id == "master" else os.getppid()
    address = folder / "address"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not address.exists():
            _start_server(folder, address, session)
    return folder


def _start_server(folder: Path, address: Path, session: int) -> None:
    log = (folder / "supervisor.log").open("w")
    command = [sys.executable, "-m", "tests.support.prefect_server", str(folder), str(session)]
    supervisor = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 120
    while not address.exists():
        if supervisor.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"no Prefect server: {(folder / 'supervisor.log').read_text()}")
        time.sleep(0.1)

"""A stand-in cluster for the tests of its controllers and node agents, and a stand-in engine, one each a worker."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.node import NodeSpec
from sandbox.serving import LoopThread
from tests.sandbox.bench import IMAGES, QUICK, Bench
from tests.sandbox.engines import Engine, running_engine

_numbers = itertools.count()


@pytest.fixture(scope="session")
def loop() -> Iterator[LoopThread]:
    with LoopThread("cluster") as loop:
        yield loop


@pytest.fixture(scope="session")
def shared_cluster(loop: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with Cluster(
        folder, loop, nodes=[NodeSpec(name="node-1", gpus=8)], images=IMAGES, options=QUICK, job_backoff_seconds=0.2, job_sync_seconds=0.1
    ) as cluster:
        yield cluster


@pytest.fixture
def bench(shared_cluster: Cluster, loop: LoopThread) -> Bench:
    """A namespace on the shared cluster of one node."""
    return Bench(shared_cluster, loop, f"test-{next(_numbers)}")


@pytest.fixture
def own_bench(loop: LoopThread, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Starts a cluster of the test's own and returns a namespace on it."""
    with ExitStack() as stack:

        def start(nodes: Sequence[NodeSpec], **options: Any) -> Bench:
            settings = {"images": dict(IMAGES), "options": QUICK, **options}
            return Bench(stack.enter_context(Cluster(tmp_path / "cluster", loop, nodes=nodes, **settings)), loop, "test")

        yield start


@pytest.fixture(scope="session")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running_engine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture
def engine(shared_engine: Engine) -> Iterator[Engine]:
    """A running engine; what one test lets it do wrong ends with the test."""
    yield shared_engine
    shared_engine.faults.clear()

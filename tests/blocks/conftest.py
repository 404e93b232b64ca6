"""One stand-in hub and one API server for all tests of blocks: to start and to end one takes longer than most of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.hub import Hub
from sandbox.kubernetes.server.server import ApiServer
from sandbox.serving import LoopThread


@pytest.fixture(scope="session")
def shared_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with LoopThread() as loop, Hub(tmp_path_factory.mktemp("hub"), loop) as hub:
        yield hub


@pytest.fixture
def hub(shared_hub: Hub) -> Iterator[Hub]:
    """The hub without requests, faults and tokens of other tests; each test adds commits of its own."""
    shared_hub.requests.clear()
    yield shared_hub
    shared_hub.faults.clear()
    shared_hub.tokens.clear()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server without controllers and nodes; each test adds objects of its own."""
    with LoopThread() as loop:
        server = ApiServer(tmp_path_factory.mktemp("api"), loop)
        server.start()
        yield server
        server.close()

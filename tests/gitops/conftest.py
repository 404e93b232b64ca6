"""Repositories and a forge on this machine; the forge is one for all tests, as its start costs more than most of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.gitops import GitOps
from sandbox.forge import Forge, Kind
from sandbox.git import BareRepository
from sandbox.serving import LoopThread


@pytest.fixture
def repository(tmp_path: Path) -> BareRepository:
    """A repository with something in it that is not ours."""
    made = BareRepository(tmp_path / "models.git")
    made.commit({"README.md": "Models\n", "environments/production/other/values.yaml": "replicas: 1\n"})
    return made


@pytest.fixture
def block(repository: BareRepository) -> GitOps:
    return GitOps(url=repository.url)


@pytest.fixture(scope="session")
def loop() -> Iterator[LoopThread]:
    with LoopThread() as loop:
        yield loop


@pytest.fixture
def forge(request: pytest.FixtureRequest, loop: LoopThread, tmp_path: Path) -> Iterator[Forge]:
    """A forge; of the kind that the test is parametrised with, if it is."""
    kind: Kind = getattr(request, "param", "gitea")
    made = Forge(tmp_path, loop, kind=kind, token="only-this-one")
    yield made
    made.close()

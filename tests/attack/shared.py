"""Servers of the sandbox that cases share; each is started when the first case asks for it."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blocks.registry import RegistryClient
    from sandbox.hub import Hub
    from sandbox.postgres import Postgres
    from sandbox.serving import LoopThread
    from sandbox.world import World
    from tests.flows.conftest import Site


@dataclass
class Shared:
    """What a case may ask for. Cases keep apart by names and folders of their own.

    Attributes:
        folder: Where all of it lies.
        open: What is closed at the end.
    """

    folder: Path
    open: ExitStack = field(default_factory=ExitStack)

    def new_folder(self) -> Path:
        """An empty folder."""
        made = self.folder / uuid.uuid4().hex[:12]
        made.mkdir()
        return made

    @cached_property
    def loop(self) -> LoopThread:
        """An event loop that servers may run on."""
        from sandbox.serving import LoopThread

        return self.open.enter_context(LoopThread("attack"))

    @cached_property
    def postgres(self) -> Postgres:
        """A PostgreSQL."""
        from sandbox.postgres import Postgres

        return self.open.enter_context(Postgres(self.folder / "postgres", durable=False))

    @cached_property
    def hub(self) -> Hub:
        """A stand-in hub."""
        from sandbox.hub import Hub

        return self.open.enter_context(Hub(self.folder / "hub", self.loop))

    @cached_property
    def world(self) -> World:
        """A whole cluster with one node, and all that belongs to it."""
        from sandbox.world import NODES, World

        return self.open.enter_context(World(self.folder / "world", [replace(NODES[0], gpus=64, cpus=1024, memory_bytes=1 << 44)]))

    @cached_property
    def site(self) -> Site:
        """A site in that world with a Prefect server: runs of flows are executed in this process. All cases share the one model of it."""
        import pytest

        from sandbox.prefect import SEVERAL_RUNS, Prefect
        from tests.flows.conftest import deploy_flows, open_site, talking_to

        prefect = self.open.enter_context(Prefect(self.folder / "prefect", SEVERAL_RUNS))
        self.open.enter_context(talking_to(prefect.api_url, self.new_folder()))
        patch = self.open.enter_context(pytest.MonkeyPatch.context())
        return self.open.enter_context(open_site(self.world, deploy_flows(), self.new_folder(), patch))

    def database(self) -> str:
        """The connection string of a registry of one's own, with the present schema."""
        from blocks.registry import RegistryClient

        dsn = self.postgres.create_database(f"attack_{uuid.uuid4().hex[:12]}")
        with RegistryClient(dsn) as client:
            client.migrate()
        return dsn

    def registry(self) -> RegistryClient:
        """A client of a registry of one's own."""
        from blocks.registry import RegistryClient

        client: RegistryClient = self.open.enter_context(RegistryClient(self.database()))
        return client

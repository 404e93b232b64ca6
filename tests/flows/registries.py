"""Other registries than a site's own."""

from __future__ import annotations

from pydantic import SecretStr

from blocks.registry import Registry, RegistryClient
from tests.flows.conftest import Site


def another_registry(site: Site) -> Registry:
    """The registry of another Slipway that has its runs on the same Prefect."""
    dsn = site.world.postgres.create_database(f"other_{site.name}")
    with RegistryClient(dsn) as registry:
        registry.migrate()
    return Registry(dsn=SecretStr(dsn))

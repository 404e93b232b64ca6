"""The Prefect block of the registry."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.registry.client import RegistryClient


class Registry(Block):
    """The PostgreSQL database that knows which candidate serves each model in each environment, and everything that led to it.

    The API router reads where to send requests from this database. Run `slipway migrate` once before the first release.
    """

    _block_type_name = "Slipway registry"
    _block_type_slug = "slipway-registry"

    dsn: SecretStr = Field(
        title="Connection string", description="Such as postgresql://user:password@host:5432/database; PostgreSQL 15 or newer."
    )
    direct_dsn: SecretStr | None = Field(
        default=None,
        title="Direct connection string",
        description="The same database past a pooler, where routers listen for changes; only where the other one leads through a pooler.",
    )
    connect_timeout_seconds: float = Field(
        default=5.0, gt=0, title="Connection time-out", description="Seconds to wait for a connection before the task is retried."
    )

    def client(self) -> RegistryClient:
        """A client; use it as a context manager."""
        return RegistryClient(self.dsn.get_secret_value(), connect_timeout_seconds=self.connect_timeout_seconds)

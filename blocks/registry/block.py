"""The Prefect block of the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Lock

from prefect.blocks.core import Block
from pydantic import Field, PrivateAttr, SecretStr

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

    _kept: _Kept | None = PrivateAttr(default=None)

    def client(self) -> AbstractContextManager[RegistryClient]:
        """A client; use it as a context manager."""
        return self._new() if self._kept is None else self._kept.lent(self._new)

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Have all clients of this block be one until the end of the block of code: a run asks dozens of times, from several threads.

        It is opened when it is first asked for, so that whoever asks is told what is wrong, and may ask again.
        """
        with ExitStack() as stack:
            self._kept = _Kept(stack)
            try:
                yield
            finally:
                self._kept = None

    def _new(self) -> RegistryClient:
        return RegistryClient(self.dsn.get_secret_value(), connect_timeout_seconds=self.connect_timeout_seconds)


class _Kept:
    def __init__(self, stack: ExitStack) -> None:
        self._stack, self._opening = stack, Lock()
        self._client: RegistryClient | None = None

    @contextmanager
    def lent(self, new: Callable[[], RegistryClient]) -> Iterator[RegistryClient]:
        with self._opening:
            client = self._client = self._client or self._stack.enter_context(new())
        yield client

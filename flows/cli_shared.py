"""What the commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from blocks.registry import RegistryClient

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@contextmanager
def open_registry() -> Iterator[RegistryClient]:
    """The registry that `deployments/shared.yaml` names."""
    import asyncio

    from flows.connections import shared_registry
    from flows.runs import prefect_client
    from flows.spec import Deployments

    with prefect_client():
        block = asyncio.run(shared_registry(Deployments.default()))
    with block.client() as client:
        yield client

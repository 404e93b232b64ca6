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
def open_registry(block_name: str | None = None) -> Iterator[RegistryClient]:
    """The registry that `deployments/shared.yaml` names, or the one of another block."""
    import asyncio

    from blocks.registry.block import Registry
    from flows.connections import load_block, shared_registry
    from flows.runs import prefect_client
    from flows.spec import Deployments

    with prefect_client():
        block = asyncio.run(load_block(Registry, block_name) if block_name else shared_registry(Deployments.default()))
    with block.client() as client:
        yield client

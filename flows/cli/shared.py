"""What the commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.errors import SpecInvalid

if TYPE_CHECKING:
    from blocks.registry import RegistryClient

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@contextmanager
def open_registry(block_name: str | None = None) -> Iterator[RegistryClient]:
    """The registry that `deployments/shared.yaml` names, or the one of another block."""
    import asyncio

    from blocks.registry import Registry
    from flows.runtime.blocks import load_block, shared_registry
    from flows.runtime.client import prefect_client
    from flows.spec import Deployments

    with prefect_client():
        block = asyncio.run(load_block(Registry, block_name) if block_name else shared_registry(Deployments.default()))
    with block.client() as client:
        yield client


@contextmanager
def open_registry_of_file(path: Path) -> Iterator[RegistryClient]:
    """The registry whose connection string the file holds, for programs that need nothing of Prefect's API.

    Raises:
        SpecInvalid: The file cannot be read, or is empty.
    """
    from blocks.registry import RegistryClient

    try:
        dsn = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecInvalid(
            f"The registry's connection string cannot be read from {path}: {getattr(exc, 'strerror', 'it is no text')}."
        ) from exc
    if not dsn:
        raise SpecInvalid(f"{path} is empty: it must hold the registry's connection string.")
    with RegistryClient(dsn) as client:
        yield client

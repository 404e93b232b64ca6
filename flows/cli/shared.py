"""What the commands share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.errors import SpecInvalid

if TYPE_CHECKING:
    from blocks.registry import RegistryClient

#: Names a file with the connection string of the registry, for what only reads or writes that.
DSN_FILE_VARIABLE = "SLIPWAY_REGISTRY_DSN_FILE"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def no_text(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments that can be neither sent nor kept: of bytes that are no UTF-8, Python makes halves of surrogate pairs."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            yield argument


def require_prefect() -> None:
    """To be called before Prefect is imported, which ends in a traceback where its settings name no address.

    Raises:
        SpecInvalid: They name something else as the address of its API.
    """
    from flows.runtime.prefect_settings import prefect_settings, require_address

    require_address(prefect_settings().api_url)


@contextmanager
def open_registry(block_name: str | None = None) -> Iterator[RegistryClient]:
    """The registry that `deployments/shared.yaml` names, or the one of another block.

    Prefect is asked for that block alone, and nothing of it is imported: people wait for what this is used for. Where
    `SLIPWAY_REGISTRY_DSN_FILE` names a file with the connection string, Prefect is not even asked.

    Raises:
        SpecInvalid: There is no such block, Prefect cannot be asked, or a file is wrong.
    """
    path = os.environ.get(DSN_FILE_VARIABLE)
    if path and block_name is None:
        with open_registry_of_file(Path(path)) as client:
            yield client
        return
    from flows.runtime.prefect_api import PrefectApi
    from flows.runtime.saved_blocks import registry_name, saved_registry

    with saved_registry(PrefectApi(), block_name or registry_name()).client() as client:
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

"""What a command that reads takes from saved blocks: the same fields that flows load, asked for without importing Prefect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from blocks.facts.registry import RegistryPath
from blocks.registry import RegistryClient
from blocks.registry.path import look
from flows.errors import SpecInvalid
from flows.runtime.prefect_api import PrefectApi, required_block
from flows.spec.folder import deployments_folder

if TYPE_CHECKING:
    from pydantic import BaseModel

    Settings = TypeVar("Settings", bound=BaseModel)

#: What the Prefect UI calls the types of blocks that are read here, by their slugs.
SHOWN = {"slipway-registry": "Slipway registry", "slipway-cluster": "Slipway cluster", "slipway-helm": "Slipway Helm"}


_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def registry_name() -> str:
    """The name of the block of the registry, as `deployments/shared.yaml` has it.

    A file that is plainly right is not validated: the specs take longer to import than all the rest of a command that reads.

    Raises:
        SpecInvalid: The file is wrong.
    """
    root = deployments_folder()
    plain = _plain(root / "shared.yaml")
    if plain.get("registry") and plain.keys() <= {"registry", "hub"} and all(_LABEL.fullmatch(str(each)) for each in plain.values()):
        return str(plain["registry"])
    from flows.spec import Deployments

    return Deployments(root=root).shared().registry


def _plain(path: Path) -> dict[str, str]:
    """The file's keys if all is text; nothing of any other, nor of one that cannot be read."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and all(isinstance(each, str) for each in found.values()) else {}


@dataclass(frozen=True, kw_only=True)
class SavedRegistry:
    """What the block of a registry holds: without the block's own class, and so without pydantic."""

    dsn: str = field(repr=False)
    direct_dsn: str | None = field(repr=False)
    connect_timeout_seconds: float

    def client(self) -> RegistryClient:
        """A client of the registry; use it as a context manager."""
        return RegistryClient(self.dsn, connect_timeout_seconds=self.connect_timeout_seconds)

    def path(self) -> RegistryPath:
        """What lies on the way to it.

        Raises:
            RegistryRejected: A connection string cannot be read.
        """
        return look(self.dsn, self.direct_dsn, connect_timeout_seconds=self.connect_timeout_seconds)


def saved_registry(api: PrefectApi, name: str) -> SavedRegistry:
    """The registry whose block has that name.

    Raises:
        SpecInvalid: There is no such block, or Prefect cannot be asked.
    """
    fields = required_block(api, "slipway-registry", name, SHOWN["slipway-registry"])
    direct, seconds = fields.get("direct_dsn"), fields.get("connect_timeout_seconds", 5.0)
    return SavedRegistry(dsn=str(fields["dsn"]), direct_dsn=str(direct) if direct else None, connect_timeout_seconds=float(seconds))


def block_settings(api: PrefectApi, of: type[Settings], slug: str, name: str) -> Settings:
    """The settings that a block holds.

    Args:
        api: Where it is saved.
        of: The settings' class, which the block's own class has as its base.
        slug: The block's type.
        name: The name that it was saved under.

    Raises:
        SpecInvalid: There is no such block, its fields are wrong, or Prefect cannot be asked.
    """
    return read_settings(of, slug, name, required_block(api, slug, name, SHOWN[slug]))


def read_settings(of: type[Settings], slug: str, name: str, fields: Mapping[str, Any]) -> Settings:
    """The settings that these fields of a block are.

    Raises:
        SpecInvalid: They are wrong.
    """
    from pydantic import ValidationError

    try:
        return of.model_validate(fields)
    except ValidationError as exc:
        wrong = ", ".join(sorted({str(each["loc"][0]) for each in exc.errors(include_input=False) if each["loc"]}))
        raise SpecInvalid(
            f"The block {slug}/{name} cannot be used: {wrong or 'its fields'} must be set anew in the UI under Blocks."
        ) from None  # pydantic's own error quotes what was given, which may be a secret

"""Helm: carries a candidate's values to the cluster and knows which revision carries which candidate. Drives the `helm` command.

The block is imported when it is asked for, so that what only reads does not wait for Prefect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blocks.helm.client import HelmClient, values_digest
from blocks.helm.settings import HelmSettings

if TYPE_CHECKING:
    from blocks.helm.block import Helm

__all__ = ["Helm", "HelmClient", "HelmSettings", "values_digest"]


def __getattr__(name: str) -> object:
    if name == "Helm":
        from blocks.helm.block import Helm

        return Helm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

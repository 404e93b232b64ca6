"""Gets the blocks that a flow works with from Prefect, by the names that the environments give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from prefect.blocks.core import Block

from blocks.cluster import Cluster
from blocks.endpoint import Endpoint
from blocks.helm import Helm
from blocks.hub import Hub
from blocks.registry import Registry
from flows.errors import SpecInvalid
from flows.spec import Deployments, Environment

B = TypeVar("B", bound=Block)


@dataclass(frozen=True, kw_only=True)
class Site:
    """The blocks of one environment."""

    cluster: Cluster
    helm: Helm
    endpoint: Endpoint


async def load_block(kind: type[B], name: str) -> B:
    """The saved block of that kind and name.

    Raises:
        SpecInvalid: Prefect has none.
    """
    try:
        return await kind.aload(name)
    except ValueError as exc:
        shown, slug = kind.get_block_type_name(), kind.get_block_type_slug()
        raise SpecInvalid(
            f"Prefect has no block {slug}/{name} ({shown}): create it in the UI under Blocks, or in Python with save()."
        ) from exc


async def site(environment: Environment) -> Site:
    """The blocks that the environment names."""
    return Site(
        cluster=await load_block(Cluster, environment.blocks),
        helm=await load_block(Helm, environment.blocks),
        endpoint=await load_block(Endpoint, environment.blocks),
    )


async def shared_registry(deployments: Deployments) -> Registry:
    """The registry of all environments."""
    return await load_block(Registry, deployments.shared().registry)


async def shared_hub(deployments: Deployments) -> Hub:
    """The hub of all environments."""
    return await load_block(Hub, deployments.shared().hub)

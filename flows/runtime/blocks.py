"""Gets the blocks that a flow works with from Prefect, by the names that the environments give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from prefect.blocks.core import Block

from blocks.argocd import Argo
from blocks.cluster import Cluster
from blocks.endpoint import Endpoint
from blocks.gitops import GitOps
from blocks.helm import Helm
from blocks.hub import Hub
from blocks.registry import Registry
from flows.errors import SpecInvalid
from flows.spec import Deployments, Environment

B = TypeVar("B", bound=Block)


@dataclass(frozen=True, kw_only=True)
class ArgoBlocks:
    """Argo CD and the Git repository that it follows."""

    argo: Argo
    gitops: GitOps


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The blocks of one environment.

    Attributes:
        cluster: Where its pods run.
        helm: The chart, and the way to install it.
        endpoint: The way to its endpoints.
        argocd: Who follows which Git repository; none where the flow runs Helm.
    """

    cluster: Cluster
    helm: Helm
    endpoint: Endpoint
    argocd: ArgoBlocks | None = None


async def load_block(kind: type[B], name: str) -> B:
    """The saved block of that kind and name.

    Raises:
        SpecInvalid: Prefect has none.
    """
    try:
        return await kind.aload(name)
    # What Prefect raises for a block that was never saved.
    except ValueError as exc:
        shown, slug = kind.get_block_type_name(), kind.get_block_type_slug()
        raise SpecInvalid(
            f"Prefect has no block {slug}/{name} ({shown}): create it in the UI under Blocks, or in Python with save()."
        ) from exc


async def blocks_of(environment: Environment) -> Blocks:
    """The blocks that the environment names."""
    name = environment.blocks
    following = None
    if environment.delivery == "argocd":
        following = ArgoBlocks(argo=await load_block(Argo, name), gitops=await load_block(GitOps, name))
    return Blocks(
        cluster=await load_block(Cluster, name),
        helm=await load_block(Helm, name),
        endpoint=await load_block(Endpoint, name),
        argocd=following,
    )


async def shared_registry(deployments: Deployments) -> Registry:
    """The registry of all environments."""
    return await load_block(Registry, deployments.shared().registry)


async def shared_hub(deployments: Deployments) -> Hub:
    """The hub of all environments."""
    return await load_block(Hub, deployments.shared().hub)

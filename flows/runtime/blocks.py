"""Gets the blocks that a flow works with from Prefect, by the names that the environments give: all that are wanted in one request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client

from blocks.cluster import Cluster
from blocks.endpoint import Endpoint
from blocks.helm import Helm
from blocks.hub import Hub
from blocks.registry import Registry
from flows.runtime.prefect_api import present
from flows.runtime.saved_blocks import read_settings
from flows.spec import Deployments, Environment

if TYPE_CHECKING:
    from blocks.argocd import Argo
    from blocks.gitops import GitOps

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


@dataclass(frozen=True)
class _Saved:
    """Fields of saved blocks, by the slugs of their types and their names."""

    fields: dict[tuple[str, str], dict[str, Any]]

    def block(self, kind: type[B], name: str) -> B:
        slug, shown = kind.get_block_type_slug(), kind.get_block_type_name()
        return read_settings(kind, slug, name, present(self.fields.get((slug, name)), slug, name, shown))

    def of(self, environment: Environment) -> Blocks:
        name, following = environment.blocks, None
        if environment.delivery == "argocd":
            from blocks.argocd import Argo
            from blocks.gitops import GitOps

            following = ArgoBlocks(argo=self.block(Argo, name), gitops=self.block(GitOps, name))
        return Blocks(cluster=self.block(Cluster, name), helm=self.block(Helm, name), endpoint=self.block(Endpoint, name), argocd=following)


async def _saved(wanted: Sequence[tuple[type[Block], str]]) -> _Saved:
    """What is saved under these types and names.

    Not by the blocks' own `load`, which is a request and an event for each.
    """
    query = {
        "block_types": {"slug": {"any_": sorted({kind.get_block_type_slug() for kind, _ in wanted})}},
        "block_documents": {"name": {"any_": sorted({name for _, name in wanted})}},
        "include_secrets": True,
    }
    async with get_client() as client:
        found = (await client.request("POST", "/block_documents/filter", json=query)).json()
    return _Saved({(each["block_type"]["slug"], each["name"]): each["data"] for each in found})


def _wanted(environment: Environment) -> Iterator[tuple[type[Block], str]]:
    yield from ((kind, environment.blocks) for kind in (Cluster, Helm, Endpoint))
    if environment.delivery == "argocd":
        from blocks.argocd import Argo
        from blocks.gitops import GitOps

        yield from ((kind, environment.blocks) for kind in (Argo, GitOps))


async def load_block(kind: type[B], name: str) -> B:
    """The saved block of that type and name.

    Raises:
        SpecInvalid: Prefect has none, or its fields are wrong.
    """
    return (await _saved([(kind, name)])).block(kind, name)


async def blocks_of(environment: Environment) -> Blocks:
    """The blocks that the environment names; errors as of `load_block`."""
    return (await _saved([*_wanted(environment)])).of(environment)


async def blocks_of_run(deployments: Deployments, environments: Sequence[Environment]) -> tuple[Hub, Registry, list[Blocks]]:
    """The hub, the registry, and the blocks of each environment; errors as of `load_block`."""
    shared = deployments.shared()
    wanted = [each for environment in environments for each in _wanted(environment)]
    saved = await _saved([(Hub, shared.hub), (Registry, shared.registry), *wanted])
    return saved.block(Hub, shared.hub), saved.block(Registry, shared.registry), [saved.of(environment) for environment in environments]


async def shared_registry(deployments: Deployments) -> Registry:
    """The registry of all environments; errors as of `load_block`."""
    return await load_block(Registry, deployments.shared().registry)


async def shared_hub(deployments: Deployments) -> Hub:
    """The hub of all environments; errors as of `load_block`."""
    return await load_block(Hub, deployments.shared().hub)

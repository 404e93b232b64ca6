"""The two back ends of delivery: which of them brings a candidate to an environment, back to it, and away from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from flows.delivery.by_helm import ByHelm
from flows.runtime.blocks import Blocks
from flows.spec import Environment

if TYPE_CHECKING:
    from flows.delivery.by_argo import ByArgo

BackEnd: TypeAlias = "ByHelm | ByArgo"


def back_end(blocks: Blocks, environment: Environment) -> BackEnd:
    """What delivers to the environment: the one place that asks which it is."""
    # Blocks were loaded by `delivery` of the environment: these two are there only where it says argocd.
    if blocks.argocd is None:
        return ByHelm(helm=blocks.helm, cluster=blocks.cluster, environment=environment)
    from flows.delivery.by_argo import ByArgo  # what it needs takes as long to import as all else of a rollback

    return ByArgo(
        argo=blocks.argocd.argo, repository=blocks.argocd.gitops, helm=blocks.helm, cluster=blocks.cluster, environment=environment
    )


def without_waiting(delivery: BackEnd) -> BackEnd:
    """The same for a caller that does not wait until people have merged a proposal: its next call finds it."""
    if isinstance(delivery, ByHelm):
        return delivery
    repository = delivery.repository
    return replace(delivery, repository=repository.model_copy(update={"merge_timeout_seconds": repository.poll_seconds}))

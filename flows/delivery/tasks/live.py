"""Looks for drift where Argo CD delivers: what `revalidate` does every night, and whoever else wants to know."""

from __future__ import annotations

from blocks.registry import Entry
from flows.delivery.application import sync_policy
from flows.delivery.drift import Drift
from flows.delivery.tasks.drift import look_for_drift
from flows.runtime.blocks import Site
from flows.runtime.tasks import run
from flows.spec import Environment


async def find_drift(at: Site, environment: Environment, entry: Entry) -> tuple[Drift, ...]:
    """Everything of a live entry that is not as it was recorded; nothing where the flow runs Helm.

    Raises:
        PipelineError: It cannot be told: Git or the cluster cannot be reached or read.
    """
    if at.argocd is None:
        return ()
    following = at.argocd
    policy = sync_policy(environment, entry.model, following.gitops.url, "")
    found: tuple[Drift, ...] = await run(look_for_drift, following.argo, following.gitops, at.helm, at.cluster, entry, environment, policy)
    return found

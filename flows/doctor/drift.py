"""Looks for drift where Argo CD delivers, as `revalidate` does every night: what was recorded against Git, Argo CD and the cluster."""

from __future__ import annotations

import asyncio

from blocks.errors import PipelineError
from blocks.registry import Entry
from flows.delivery.application import sync_policy
from flows.delivery.live import look_for_drift
from flows.doctor.rules.facts import DriftFact
from flows.naming import release_name
from flows.record.tasks import live_entries
from flows.runtime.blocks import ArgoBlocks, Blocks, blocks_of, shared_registry
from flows.spec import Deployments, Environment

#: Clones of the repository at the same time.
AT_ONCE = 4


async def drift_facts(deployments: Deployments) -> tuple[DriftFact, ...]:
    """Everything that has drifted of what serves: a clone and a few requests for each model.

    Environments that lack blocks are left out: they are told of where Prefect is looked at.
    """
    sites: dict[str, tuple[Environment, Blocks, ArgoBlocks]] = {}
    for environment in deployments.environments():
        if environment.delivery == "argocd":
            try:
                blocks = await blocks_of(environment)
            except PipelineError:
                continue
            if blocks.argocd is not None:
                sites[environment.name] = environment, blocks, blocks.argocd
    if not sites:
        return ()
    registry = await shared_registry(deployments)
    room = asyncio.Semaphore(AT_ONCE)

    async def one(entry: Entry) -> tuple[DriftFact, ...]:
        async with room:
            return await asyncio.to_thread(_look, *sites[entry.environment], entry)

    entries = [entry for entry in await asyncio.to_thread(live_entries, registry) if entry.environment in sites]
    return tuple(fact for facts in await asyncio.gather(*map(one, entries)) for fact in facts)


def _look(environment: Environment, blocks: Blocks, following: ArgoBlocks, entry: Entry) -> tuple[DriftFact, ...]:
    policy = sync_policy(environment, entry.model, following.gitops.url, "")

    def fact(kind: str, sentence: str) -> DriftFact:
        return DriftFact(
            model=entry.model,
            environment=environment.name,
            kind=kind,
            message=sentence,
            application=release_name(entry.model, environment.name),
            argocd_namespace=environment.argocd_namespace,
            hub_revision=entry.hub_revision,
            git_commit=entry.git_commit,
        )

    try:
        found = look_for_drift(following.argo, following.gitops, blocks.helm, blocks.cluster, entry, environment, policy)
    except PipelineError as exc:
        return (fact("unseen", exc.message),)
    return tuple(fact(each.kind, " ".join((each.message, *each.difference[:1]))) for each in found)

"""Gathers the facts: a fixed number of statements and requests, and a few for each environment, however many models there are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateName

from blocks.errors import PipelineError
from blocks.registry import Registry, RegistryClient
from flows.doctor.drift import drift_facts
from flows.doctor.prefect_site import prefect_facts
from flows.doctor.rules.facts import (
    EntryFact,
    EnvironmentFacts,
    Facts,
    LockFact,
    PrefectFacts,
    ReleaseFact,
    RequestFact,
    ScrubFact,
    SuspendedFact,
    UnfinishedFact,
)
from flows.errors import SpecInvalid
from flows.recovery.orphans import EndedRun
from flows.recovery.tasks.orphans import has_failed, run_states
from flows.runtime.blocks import Blocks, blocks_of, shared_registry
from flows.runtime.client import all_runs, prefect_client
from flows.spec import Deployments, Environment
from flows.weights.job import RUN_LABEL

#: What the chart labels everything with.
_CHART = {"app.kubernetes.io/name": "vllm-deployment"}
_JOBS = {"app.kubernetes.io/managed-by": "slipway"}


async def gather(deployments: Deployments) -> Facts:
    """Everything that the doctor looks at.

    Raises:
        SpecInvalid: Prefect cannot be reached, or a file of `deployments/` is wrong.
        RegistryUnreachable: The registry does not answer.
    """
    prefect = await asyncio.to_thread(prefect_facts, deployments)
    environments = deployments.environments()
    try:
        registry = await shared_registry(deployments)
    except SpecInvalid:  # a missing block is among what was seen of Prefect
        return Facts(now=datetime.now(UTC), prefect=prefect)
    seen = dict(
        zip([each.name for each in environments], await asyncio.gather(*(_environment(each) for each in environments)), strict=True)
    )
    models = deployments.names("models")
    facts = await asyncio.to_thread(_facts, registry, seen, prefect, models)
    return facts if facts.migrations_missing else replace(facts, drifts=await drift_facts(deployments, registry))


def _facts(registry: Registry, seen: dict[str, EnvironmentFacts], prefect: PrefectFacts, models: Sequence[str]) -> Facts:
    with registry.client() as client:
        missing = tuple(client.missing_migrations())
        if missing:  # what they bring cannot be asked for
            return Facts(now=datetime.now(UTC), migrations_missing=missing, environments={}, prefect=prefect)
        orphaned_runs = tuple(
            UnfinishedFact(
                event_id=event.id,
                run_id=event.run_id or "",
                model=event.model or "",
                environment=event.environment or "",
                fingerprint=event.fingerprint or "",
                failed=has_failed(event),
            )
            for event in client.runs.orphaned()
        )
        locks = tuple(
            LockFact(model=lock.model, environment=lock.environment, run_id=lock.run_id or "", silent_seconds=lock.silent_seconds)
            for lock in client.locks.held()
        )
        requests = tuple(
            RequestFact(event_id=each.id, run_id=each.run_id or "", model=each.model or "", environment=each.environment or "")
            for each in client.approvals.open_requests()
        )
        runs = {each.run_id for facts in (orphaned_runs, locks, requests) for each in facts}
        runs |= {job.labels.get(RUN_LABEL, "") for facts in seen.values() for job in facts.jobs if job.outcome is None}
        return Facts(
            now=datetime.now(UTC),
            entries=_entries(client),
            locks=locks,
            orphaned_runs=orphaned_runs,
            requests=requests,
            runs=_runs(client, runs),
            suspended=_suspended(models),
            scrubs=tuple(
                ScrubFact(
                    environment=event.environment or "",
                    node=str(event.detail["node"]),
                    at=event.occurred_at,
                    corrupt=int(str(event.detail["corrupt"])),
                    snapshots=tuple(map(str, event.detail["snapshots"])),  # type: ignore[call-overload]  # a list, as it was written
                )
                for event in client.events.last_scrubs()
            ),
            environments=seen,
            prefect=prefect,
        )


def _entries(client: RegistryClient) -> tuple[EntryFact, ...]:
    return tuple(
        EntryFact(
            model=entry.model,
            environment=entry.environment,
            status=entry.status,
            fingerprint=entry.fingerprint,
            last_checked_at=entry.last_health_check_at,
        )
        for entry in client.entries()
    )


def _runs(client: RegistryClient, run_ids: Iterable[str]) -> dict[str, EndedRun]:
    with prefect_client():  # its errors are sentences
        return run_states(client, sorted(run_ids))


def _suspended(models: Sequence[str]) -> tuple[SuspendedFact, ...]:
    wanted = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Suspended"])))
    with prefect_client() as prefect:
        found = all_runs(prefect, ["release"], wanted)
    return tuple(SuspendedFact(run_id=str(run.id), name=run.name) for run in found if run.parameters.get("model") in models)


async def _environment(environment: Environment) -> EnvironmentFacts:
    try:
        blocks = await blocks_of(environment)
        return await asyncio.to_thread(_look, environment, blocks)
    except PipelineError as exc:
        return EnvironmentFacts(namespace=environment.namespace, problem=exc.message)


def _look(environment: Environment, blocks: Blocks) -> EnvironmentFacts:
    namespace = environment.namespace
    with blocks.cluster.client() as cluster, blocks.helm.client() as helm:
        nodes = cluster.nodes.list(environment.node_selector)
        return EnvironmentFacts(
            namespace=namespace,
            by_helm=blocks.argocd is None,
            releases=tuple(ReleaseFact(name=name, status=status) for name, status in helm.releases(namespace).items()),
            deployments=cluster.rollouts.names(namespace, _CHART),
            pods=cluster.pods.list(namespace, _CHART),
            jobs=cluster.jobs.list(namespace, _JOBS),
            ready_nodes=sum(node.ready and node.schedulable for node in nodes),
        )

"""Gathers the facts: a fixed number of statements and requests, and a few for each environment, however many models there are.

Nothing of Prefect is imported, which would take longer than all the looking; but for drift, which clones repositories.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from blocks.cluster import ClusterSettings
from blocks.errors import PipelineError
from blocks.facts.kinds import EventKind
from blocks.helm import HelmSettings
from blocks.kubernetes_api import Document
from blocks.registry import Canary, RegistryClient
from flows.delivery.rendered import Release, added, drift_of
from flows.doctor.prefect_site import prefect_facts
from flows.doctor.rules.facts import (
    CanaryFact,
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
from flows.recovery.orphans import EndedRun, has_failed
from flows.runtime.prefect_api import PAGE, PrefectApi
from flows.runtime.saved_blocks import block_settings, saved_registry
from flows.spec import Deployments, Environment
from flows.weights.job import RUN_LABEL

#: What the chart labels everything with.
_CHART = {"app.kubernetes.io/name": "vllm-deployment"}
_JOBS = {"app.kubernetes.io/managed-by": "slipway"}

#: Prefect's types of states that are ends.
_FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")


async def gather(deployments: Deployments) -> Facts:
    """Everything that the doctor looks at.

    Raises:
        SpecInvalid: Prefect cannot be reached, or a file of `deployments/` is wrong.
        RegistryUnreachable: The registry does not answer.
    """
    api = PrefectApi()
    prefect = await asyncio.to_thread(prefect_facts, deployments, api=api)
    environments = deployments.environments()
    try:
        saved = await asyncio.to_thread(saved_registry, api, deployments.shared().registry)
    except SpecInvalid:  # a missing block is among what was seen of Prefect
        return Facts(now=datetime.now(UTC), prefect=prefect)
    path = await asyncio.to_thread(saved.path)
    if not any(server.takes_writes for server in path.servers) and not all(server.problem for server in path.servers):
        return Facts(now=datetime.now(UTC), prefect=prefect, registry=path)
    looks = await asyncio.gather(*(asyncio.to_thread(_environment, api, each) for each in environments))
    seen = dict(zip([each.name for each in environments], looks, strict=True))
    models = deployments.names("models")
    facts = replace(await asyncio.to_thread(_facts, api, saved.client(), seen, prefect, models), registry=path)
    if facts.migrations_missing or all(each.delivery != "argocd" for each in environments):
        return facts
    from flows.doctor.drift import drift_facts

    return replace(facts, drifts=await drift_facts(deployments))


def _facts(
    api: PrefectApi, registry: RegistryClient, seen: dict[str, EnvironmentFacts], prefect: PrefectFacts, models: Sequence[str]
) -> Facts:
    with registry as client:
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
        canaries = tuple(map(_canary, client.canaries.open()))
        runs = {each.run_id for facts in (orphaned_runs, locks, requests, canaries) for each in facts}
        runs |= {job.labels.get(RUN_LABEL, "") for facts in seen.values() for job in facts.jobs if job.outcome is None}
        return Facts(
            now=datetime.now(UTC),
            entries=_entries(client),
            locks=locks,
            orphaned_runs=orphaned_runs,
            requests=requests,
            runs=_runs(api, client, runs),
            suspended=_suspended(api, models),
            canaries=canaries,
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


def _canary(canary: Canary) -> CanaryFact:
    # Written by the run that judges; what is no count is none.
    verdict = canary.judge.get("verdict")
    told = verdict if isinstance(verdict, dict) else {}
    counts = {name: told.get(name) for name in ("current_requests", "canary_requests")}
    return CanaryFact(
        run_id=canary.run_id,
        model=canary.model,
        environment=canary.environment,
        phase=canary.phase,
        weight=canary.weight,
        until=canary.until,
        **{name: int(count) for name, count in counts.items() if isinstance(count, int | float)},
    )


def _entries(client: RegistryClient) -> tuple[EntryFact, ...]:
    return tuple(
        EntryFact(
            model=entry.model,
            environment=entry.environment,
            status=entry.status,
            fingerprint=entry.fingerprint,
            hub_revision=entry.hub_revision,
            last_checked_at=entry.last_health_check_at,
        )
        for entry in client.entries()
    )


def _runs(api: PrefectApi, client: RegistryClient, run_ids: Iterable[str]) -> dict[str, EndedRun]:
    """What became of each of the runs, by its id: one request for 200 of them."""
    wanted = sorted(run_ids)
    abandoned = {event.run_id for event in client.runs.events(wanted, [EventKind.ABANDONED])}
    # The doctor's own lock is held by `doctor-…`; one id that is none would have Prefect refuse all of them.
    known = [run_id for run_id in wanted if _is_id(run_id)]
    found = {}
    for start in range(0, len(known), PAGE):
        for run in api.filtered("flow_runs", flow_runs={"id": {"any_": known[start : start + PAGE]}}, limit=PAGE):
            found[str(run["id"])] = str(run["state_name"] or run["state_type"] or ""), str(run["state_type"])
    ended = {}
    for run_id in wanted:
        state, kind = found.get(run_id, ("", ""))
        ended[run_id] = EndedRun(state=state, final=kind in _FINAL, crashed=kind == "CRASHED", abandoned=run_id in abandoned)
    return ended


def _is_id(run_id: str) -> bool:
    try:
        return str(UUID(run_id)) == run_id
    except ValueError:
        return False


def _suspended(api: PrefectApi, models: Sequence[str]) -> tuple[SuspendedFact, ...]:
    waiting = {"state": {"name": {"any_": ["Suspended"]}}}
    found = api.every("flow_runs", flows={"name": {"any_": ["release"]}}, flow_runs=waiting, sort="START_TIME_ASC")
    # Prefect may serve other checkouts as well: only runs of this one's models.
    return tuple(SuspendedFact(run_id=str(run["id"]), name=str(run["name"])) for run in found if run["parameters"].get("model") in models)


def _environment(api: PrefectApi, environment: Environment) -> EnvironmentFacts:
    try:
        return _look(api, environment)
    except PipelineError as exc:
        return EnvironmentFacts(namespace=environment.namespace, problem=exc.message)


def _look(api: PrefectApi, environment: Environment) -> EnvironmentFacts:
    namespace = environment.namespace
    to_cluster = block_settings(api, ClusterSettings, "slipway-cluster", environment.blocks)
    to_helm = block_settings(api, HelmSettings, "slipway-helm", environment.blocks)
    with to_cluster.client() as cluster, to_helm.client() as helm:
        nodes = cluster.nodes.list(environment.node_selector)
        there = cluster.documents.list("apps/v1", "Deployment", namespace, _CHART)
        return EnvironmentFacts(
            namespace=namespace,
            by_helm=environment.delivery == "helm",
            releases=tuple(ReleaseFact(name=name, status=status) for name, status in helm.releases(namespace).items()),
            deployments=tuple(each.metadata.name for each in there),
            set_by_others=dict(_set_by_others(environment, there)) if environment.delivery == "helm" else {},
            pods=cluster.pods.list(namespace, _CHART),
            jobs=cluster.jobs.list(namespace, _JOBS),
            ready_nodes=sum(node.ready and node.schedulable for node in nodes),
        )


def _set_by_others(environment: Environment, deployments: Iterable[Document]) -> Iterator[tuple[str, str]]:
    """What others set in the Kubernetes Deployments, by who owns their fields: name and sentence of each that has such.

    It takes no further request. That somebody took a field away, or changed another kind of object, `revalidate` finds, which has each
    rendered again.
    """
    for live in deployments:
        if fields := added(live, environment.ignore_differences):
            name = live.metadata.name
            for drift in drift_of(Release(added=((live, fields),)), name, environment):
                yield name, drift.message

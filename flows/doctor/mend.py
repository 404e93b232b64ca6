"""Does what mends a symptom: only what is safe whatever has happened since, and so each looks again first."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime

from blocks.errors import HelmStuck
from blocks.facts.kinds import EventKind
from blocks.helm import Helm
from blocks.registry import Registry
from flows.approval.tasks.requests import close_request, open_requests, wake
from flows.delivery.helm import repair_release
from flows.delivery.pending import require_idle
from flows.doctor.rules.symptom import (
    ApplyAutomations,
    CleanUp,
    CloseRequest,
    DeleteJob,
    FreeLock,
    Remedy,
    StartRun,
    Unstick,
    WakeRun,
)
from flows.errors import ReleaseUnderWay
from flows.recovery.cleanup import clean_up_one
from flows.recovery.tasks.orphans import orphaned_runs
from flows.runtime.automations import apply_automations
from flows.runtime.blocks import blocks_of, shared_registry
from flows.runtime.client import prefect_client, start
from flows.spec import Deployments, Environment


async def mend(deployments: Deployments, remedy: Remedy) -> str:
    """Apply the remedy; what was done, as a sentence.

    Raises:
        PipelineError: It could not be done now; the next call may.
    """
    with prefect_client():  # what Prefect refuses is a sentence
        registry = await shared_registry(deployments)
        match remedy:
            case CleanUp():
                return await _clean_up(deployments, registry, remedy)
            case FreeLock():
                return await asyncio.to_thread(_free, registry, remedy)
            case CloseRequest():
                return await asyncio.to_thread(_close, registry, remedy)
            case DeleteJob():
                return await _delete_job(deployments, remedy)
            case Unstick():
                return await _unstick(deployments, registry, remedy)
            case WakeRun():
                await asyncio.to_thread(wake, remedy.run_id)
                return f"run {remedy.run_id} looks at its gate"
            case StartRun():
                return f"run {start(remedy.deployment, {})} of {remedy.deployment} was started"
            case ApplyAutomations():
                return ", ".join(apply_automations(deployments.root / "automations"))


async def _clean_up(deployments: Deployments, registry: Registry, remedy: CleanUp) -> str:
    for event in await asyncio.to_thread(orphaned_runs, registry):
        if event.id == remedy.begun:
            left = await clean_up_one(deployments, registry, event, remedy.why)
            if left is None:
                raise ReleaseUnderWay("Another run changes the model there now; it is left to that.")
            return left
    return "it is done already"


def _free(registry: Registry, remedy: FreeLock) -> str:
    with registry.client() as client:
        for lock in client.locks.held():
            # Only as it was seen: by now a run that lives may hold it.
            if (lock.model, lock.environment, lock.run_id) == (remedy.model, remedy.environment, remedy.run_id):
                client.locks.free(lock)
    return "the lock is free"


def _close(registry: Registry, remedy: CloseRequest) -> str:
    for request in open_requests(registry):
        if request.id == remedy.request:
            close_request(registry, request, remedy.why)
    return "the request is void"


async def _delete_job(deployments: Deployments, remedy: DeleteJob) -> str:
    environment = deployments.environment(remedy.environment)
    blocks = await blocks_of(environment)

    def delete() -> None:
        with blocks.cluster.client() as cluster:
            cluster.jobs.delete(environment.namespace, remedy.name)

    await asyncio.to_thread(delete)
    return f"Job {remedy.name} was ended"


async def _unstick(deployments: Deployments, registry: Registry, remedy: Unstick) -> str:
    environment = deployments.environment(remedy.environment)
    blocks = await blocks_of(environment)
    return await asyncio.to_thread(_put_right, registry, blocks.helm, environment, remedy)


def _put_right(registry: Registry, helm: Helm, environment: Environment, remedy: Unstick) -> str:
    """Under the lock, so that no run of ours is at the release; an operation that is young may be somebody else's, and is let be."""
    # No run of Prefect's: the lock only wants to know who holds it.
    mine = f"doctor-{uuid.uuid4()}"
    with registry.client() as client:
        lock = client.locks.take(remedy.model, environment.name, mine)
        if lock.run_id != mine:
            raise ReleaseUnderWay(f"Run {lock.run_id} is at it.")
        try:
            with helm.client() as charts:
                try:
                    require_idle(charts.current(remedy.release, environment.namespace), datetime.now(UTC), charts.dead_after_seconds)
                except HelmStuck:
                    repair = repair_release(helm, remedy.release, environment.namespace, remedy.wanted)
                else:
                    repair = None
            if repair is None:
                return "it is no longer stuck"
            detail = {"done": repair.message, "kind": repair.kind}
            client.events.add(EventKind.HELM_UNSTUCK, model=remedy.model, environment=environment.name, run_id=mine, detail=detail)
            return repair.message
        finally:
            client.locks.free(lock)

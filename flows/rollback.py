"""The rollback flow: an environment back to the candidate that was verified there before."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from pydantic import Field

from blocks.errors import PipelineError
from flows.connections import shared_hub, shared_registry, site
from flows.errors import NothingToRollBackTo
from flows.outcome import ended, require_passed
from flows.plan.diagnosis import diagnosis_of
from flows.plan.phases import Stopwatch
from flows.proof import proven
from flows.spec import Deployments
from flows.spec.types import EnvironmentName
from flows.tasks.lock import locked, require_lock
from flows.tasks.plan import plan_return
from flows.tasks.policy import RESULTS, run
from flows.tasks.prefetch import prefetch_everywhere
from flows.tasks.record import (
    current_entry,
    failure_reason,
    record_deploying,
    record_failed,
    record_ready,
    record_rolled_back,
    rollback_target,
)
from flows.tasks.redeploy import redeploy
from flows.tasks.rollout import rollout


@flow(name="rollback", flow_run_name="rollback {model} in {environment}", persist_result=True, result_serializer=RESULTS)
async def rollback(
    model: Annotated[str, Field(min_length=1)],
    environment: EnvironmentName,
    reason: Annotated[str, Field(min_length=3, max_length=2000)],
    actor: Annotated[str, Field(min_length=2, max_length=100)],
    to: str | None = None,
) -> State[Any] | dict[str, Any]:
    """Take an environment back to the previous verified candidate: Helm rollback, rollout, verification, record.

    Weights of the previous candidate are still on the nodes, so nothing is fetched.

    Args:
        model: A model of deployments/models, by its file's name.
        environment: The environment to roll back, for example production.
        reason: Why; kept in the registry.
        actor: Who asks for it; kept in the registry.
        to: Fingerprint of the candidate to go back to (12 characters or more). Empty: the last verified one before.
    """
    try:
        return await _rollback(model, environment, reason, actor, to)
    except PipelineError as exc:
        return ended(exc)


async def _rollback(model_name: str, environment_name: str, reason: str, actor: str, to: str | None) -> dict[str, Any]:
    begin = time.monotonic()
    deployments = Deployments.default()
    environment = deployments.environment(environment_name)
    suite = deployments.suite(deployments.model(model_name).checks)
    at, hub, registry = await site(environment), await shared_hub(deployments), await shared_registry(deployments)
    run_id = str(runtime.flow_run.id)
    async with locked(registry, model_name, environment.name, run_id) as lock:
        before = await run(current_entry, registry, model_name, environment.name)
        candidate = await run(rollback_target, registry, model_name, environment, to, run_id)
        if before is not None and before.fingerprint == candidate.fingerprint and before.status == "ready":
            raise NothingToRollBackTo(f"{model_name} in {environment.name} already serves candidate {candidate.short}.")
        planned = await run(plan_return, at.cluster, candidate, environment)
        await run(record_deploying, registry, candidate, environment, planned, run_id, lock)
        changed, proof, watch, since = False, None, Stopwatch(), datetime.now(UTC)
        try:
            with watch.phase("prefetch"):
                await prefetch_everywhere(at.cluster, registry, candidate, environment, planned.nodes, run_id, hub.endpoint)
            await run(require_lock, registry, lock)
            changed = True
            with watch.phase("deploy"):
                helm_revision = await run(redeploy, at.helm, candidate, environment, planned)
            with watch.phase("rollout"):
                await run(rollout, at.cluster, candidate, environment, planned.helm_release, planned.budget.rollout_seconds)
            proof = await proven(registry, at, candidate, environment, planned, suite, run_id, watch, since)
            require_passed(proof, f"{model_name} in {environment.name} after the rollback")
        except PipelineError as exc:
            diagnosis, evidence = diagnosis_of(exc), proof.kept if proof else None
            await run(record_failed, registry, candidate, environment, failure_reason(exc), diagnosis, evidence, changed, run_id, lock)
            raise
        seconds = time.monotonic() - begin
        await run(record_ready, registry, candidate, environment, helm_revision, proof.kept, run_id, lock)
        await run(record_rolled_back, registry, candidate, environment, actor, reason, seconds, run_id)
        return {"candidate": candidate.fingerprint, "environment": environment.name, "seconds": round(seconds, 1)}

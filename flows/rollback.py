"""The rollback flow: an environment back to the candidate that was verified there before."""

from __future__ import annotations

import time
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from pydantic import Field

from blocks.errors import PipelineError
from flows.connections import shared_hub, shared_registry, site
from flows.delivery import Move, take_back
from flows.entering import enter
from flows.errors import NothingToRollBackTo
from flows.outcome import ended
from flows.plan.phases import Stopwatch
from flows.spec import Deployments
from flows.spec.types import EnvironmentName
from flows.tasks.lock import locked
from flows.tasks.plan import plan_return
from flows.tasks.policy import RESULTS, run
from flows.tasks.record import current_entry, record_rolled_back, rollback_target


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
        planned = await run(plan_return, at.cluster, at.helm, candidate, environment)
        move = Move(
            run_id=run_id,
            registry=registry,
            hub_endpoint=hub.endpoint,
            at=at,
            environment=environment,
            candidate=candidate,
            suite=suite,
            planned=planned,
            lock=lock,
            requester=actor,
            reason=reason,
        )
        await enter(move, take_back, Stopwatch(), {})
        seconds = time.monotonic() - begin
        await run(record_rolled_back, registry, candidate, environment, actor, reason, seconds, False, run_id)
        return {"candidate": candidate.fingerprint, "environment": environment.name, "seconds": round(seconds, 1)}

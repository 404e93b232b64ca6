"""The rollback flow: an environment back to the candidate that was verified there before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from pydantic import Field

from blocks.errors import PipelineError
from blocks.registry import Lock, Registry
from flows.delivery.deliver import Move, take_back
from flows.errors import NothingToRollBackTo
from flows.naming import release_name
from flows.placement.tasks import plan_return
from flows.promotion.report import return_page
from flows.promotion.tasks import current_entry, finished, record_rolled_back, rollback_target
from flows.record.lock import locked
from flows.record.phases import Stopwatch
from flows.recovery.cleanup import leave_as_it_was
from flows.recovery.owed import made_good, owed
from flows.recovery.settle import enter_or_go_back
from flows.runtime.artifacts import publish_plan_of_return
from flows.runtime.blocks import Site, shared_hub, shared_registry, site
from flows.runtime.json_logs import about
from flows.runtime.states import ended
from flows.runtime.tasks import RESULTS, run
from flows.spec import Candidate, CheckSuite, Deployments, Environment
from flows.spec.types import EnvironmentName


@flow(
    name="rollback",
    flow_run_name="rollback {model} in {environment}",
    persist_result=True,
    result_serializer=RESULTS,
    on_cancellation=[leave_as_it_was],
)
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


async def _rollback(model: str, environment: str, reason: str, actor: str, to: str | None) -> dict[str, Any]:
    about(model=model, environment=environment)
    ground, run_id = await stand(model, environment), str(runtime.flow_run.id)
    async with locked(ground.registry, model, environment, run_id) as lock:
        candidate = await run(rollback_target, ground.registry, model, ground.environment, to, run_id)
        await go_back_to(ground, candidate, lock, run_id, actor, reason)
        seconds = await run(record_rolled_back, ground.registry, candidate, ground.environment, actor, reason, False, run_id)
    return {"candidate": candidate.fingerprint, "environment": environment, "seconds": seconds}


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where a run goes back.

    Attributes:
        environment: The environment.
        suite: What the model's candidates are asked there.
        at: The environment's blocks.
        registry: The registry.
        hub_endpoint: Where files come from.
    """

    environment: Environment
    suite: CheckSuite
    at: Site
    registry: Registry
    hub_endpoint: str


async def stand(model: str, environment_name: str) -> Ground:
    """Look up what going back works with.

    Raises:
        SpecInvalid: There is no such model or environment, or a block is missing.
    """
    deployments = Deployments.default()
    environment = deployments.environment(environment_name)
    return Ground(
        environment=environment,
        suite=deployments.suite(deployments.model(model).checks),
        at=await site(environment),
        registry=await shared_registry(deployments),
        hub_endpoint=(await shared_hub(deployments)).endpoint,
    )


async def go_back_to(ground: Ground, candidate: Candidate, lock: Lock, run_id: str, actor: str, reason: str) -> None:
    """Have the environment serve the candidate, which it served before. If that fails, what served until now comes back.

    A run that was lost after it had made the candidate ready has nothing left to do here.

    Raises:
        NothingToRollBackTo: It serves the candidate already.
        PipelineError: Why it does not serve it; the message says what became of the environment.
    """
    environment, registry = ground.environment, ground.registry
    about(model=candidate.model, environment=environment.name, candidate=candidate.fingerprint)
    if await run(finished, registry, candidate, environment, run_id) is not None:
        return
    move = partial(
        Move,
        run_id=run_id,
        registry=registry,
        hub_endpoint=ground.hub_endpoint,
        at=ground.at,
        environment=environment,
        candidate=candidate,
        suite=ground.suite,
        lock=lock,
        requester=actor,
        reason=reason,
    )
    owing = await owed(registry, candidate, environment, run_id)
    if owing is not None:
        raise await made_good(owing, ground.at, candidate, environment, lambda planned: move(planned=planned), keep=True)
    before = await run(current_entry, registry, candidate.model, environment.name)
    if before is not None and before.fingerprint == candidate.fingerprint and before.status == "ready":
        raise NothingToRollBackTo(f"{candidate.model} in {environment.name} already serves candidate {candidate.short}.")
    planned = await run(plan_return, ground.at.cluster, ground.at.helm, candidate, environment)
    await run(publish_plan_of_return, release_name(candidate.model, "rollback"), return_page(candidate, environment, planned, before))
    await enter_or_go_back(move(planned=planned), take_back, Stopwatch(), {}, keep=True)

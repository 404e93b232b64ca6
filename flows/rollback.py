"""The rollback flow: an environment back to the candidate that was verified there before."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from pydantic import Field

from blocks.errors import PipelineError
from flows.record.lock import locked
from flows.recovery.cleanup import leave_as_it_was
from flows.recovery.roll_back import roll_back_to, rollback_context
from flows.recovery.tasks.rollback import record_rolled_back, rollback_target
from flows.runtime.json_logs import about
from flows.runtime.states import ended
from flows.runtime.tasks import RESULTS, call, foreseen, one_client
from flows.spec.types import EnvironmentName


@flow(
    name="rollback",
    flow_run_name="rollback {model} in {environment}",
    persist_result=True,
    result_serializer=RESULTS,
    on_cancellation=[leave_as_it_was],
)
async def rollback(
    # Prefect refuses what does not satisfy these (HTTP 409) before there is a run.
    model: Annotated[str, Field(min_length=1, max_length=100)],
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
        with one_client(), foreseen(f"Rolling {model} back in {environment}"):
            return await _rollback(model, environment, reason, actor, to)
    except PipelineError as exc:
        return ended(exc)


async def _rollback(model: str, environment: str, reason: str, actor: str, to: str | None) -> dict[str, Any]:
    about(model=model, environment=environment)
    run_id = str(runtime.flow_run.id)
    context = await rollback_context(model, environment, run_id, actor, reason)
    with context.registry.kept_open():
        async with locked(context.registry, model, environment, run_id) as lock:
            # On record once it is chosen: a run that goes on after a kill goes back to the very same.
            candidate = await call(rollback_target, context.registry, model, context.environment, to, run_id)
            await roll_back_to(context, candidate, lock)
            seconds = await call(record_rolled_back, context.registry, candidate, context.environment, actor, reason, False, run_id)
    return {"candidate": candidate.fingerprint, "environment": environment, "seconds": seconds}

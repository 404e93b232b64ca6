"""The rehearsal: an environment goes back and forward again, so that the way back is known to work before it is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State

from blocks.errors import PipelineError
from blocks.registry import Registry
from flows.errors import NothingToRollBackTo, VerificationFailed
from flows.record.lock import locked
from flows.record.tasks import current_entry, give_back, recall_candidate
from flows.recovery.cleanup import leave_as_it_was
from flows.recovery.roll_back import roll_back_to, rollback_context
from flows.recovery.target import TARGET_SECONDS
from flows.recovery.tasks.rehearsal import choose_rehearsal, models_to_rehearse, record_rehearsed, rehearsed
from flows.runtime.blocks import shared_registry
from flows.runtime.states import ended
from flows.runtime.tasks import RESULTS, call, foreseen, one_client
from flows.spec import Deployments
from flows.spec.types import EnvironmentName

#: Who goes back and forward, where Git or Argo CD are told.
_REHEARSAL = "slipway rehearsal"


@flow(
    name="rehearse",
    flow_run_name="rehearse {environment}",
    persist_result=True,
    result_serializer=RESULTS,
    on_cancellation=[leave_as_it_was],
)
async def rehearse(environment: EnvironmentName = "staging", models: list[str] = []) -> State[Any] | dict[str, Any]:  # noqa: B006
    """Roll each model of an environment back to its previous candidate and forward again; record how long both took.

    A model without a previous candidate is left alone. One that fails does not keep the others from their rehearsal.

    Args:
        environment: Where; not production, as a rollback may interrupt where no GPU is to spare.
        models: Models to rehearse with. Empty: all that serve there.
    """
    try:
        with one_client(), foreseen(f"Rehearsing in {environment}"):
            return await _rehearse(environment, models)
    except PipelineError as exc:
        return ended(exc)


async def _rehearse(environment: str, models: list[str]) -> dict[str, Any]:
    registry = await shared_registry(Deployments.default())
    with registry.kept_open():
        return await _rehearse_each(registry, environment, models)


async def _rehearse_each(registry: Registry, environment: str, models: list[str]) -> dict[str, Any]:
    taken: dict[str, dict[str, float]] = {}
    failed: list[PipelineError] = []
    run_id = str(runtime.flow_run.id)
    for model in await call(models_to_rehearse, registry, environment, models, run_id):
        try:
            with foreseen(f"Rehearsing with {model}"):
                # Done before this run was lost; then only its lock may be left.
                seconds = await call(rehearsed, registry, model, environment, run_id)
                if seconds is not None:
                    await call(give_back, registry, model, environment, run_id)
                else:
                    seconds = await _one(registry, model, environment, run_id)
        except PipelineError as exc:
            failed.append(exc)
        else:
            if seconds is not None:
                taken[model] = seconds
    late = [model for model, seconds in taken.items() if max(seconds.values()) > TARGET_SECONDS]
    # Before what was merely late: a slow way back is one.
    if failed:
        more = f" ({len(failed) - 1} more model(s) failed.)" if len(failed) > 1 else ""
        raise type(failed[0])(f"{failed[0].message}{more}", **failed[0].facts)
    if late:
        raise VerificationFailed(f"{', '.join(late)} in {environment} took more than {TARGET_SECONDS:.0f} s to go back or forward.")
    return taken


async def _one(registry: Registry, model: str, environment: str, run_id: str) -> dict[str, float] | None:
    """Both ways of one model, in seconds; none if there is nothing to go back to."""
    # The registry that is kept open, not the block that was looked up for this model.
    context = replace(await rollback_context(model, environment, run_id, _REHEARSAL, ""), registry=registry)
    async with locked(registry, model, environment, run_id) as lock:
        chosen = await call(choose_rehearsal, registry, model, environment, run_id)
        if chosen is None:
            return None
        now = await call(current_entry, registry, model, environment)
        if now is not None and now.fingerprint not in chosen:  # the run was lost on the way, and somebody went on meanwhile
            raise NothingToRollBackTo(f"{model} in {environment} serves another candidate by now; the rehearsal leaves it there.")
        current, previous = [await call(recall_candidate, registry, model, environment, each) for each in chosen]
        # Under one lock both ways: nobody gets between them.
        await roll_back_to(replace(context, reason="the rehearsal goes back"), previous, lock)
        await roll_back_to(replace(context, reason="the rehearsal goes forward again"), current, lock)
        return await call(record_rehearsed, registry, current, previous, context.environment, run_id)

"""The sweep: every two minutes it looks after runs that no process watches (waiting, dead or cancelled), and seals the record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State

from blocks.errors import PipelineError
from blocks.registry import OpenRequest, Registry
from flows.approval.expiry import is_to_wake, request_step
from flows.approval.tasks.requests import close_request, formless_runs, open_requests, unwanted, waiting_run, wake
from flows.record.lock import alone
from flows.record.tasks import seal
from flows.recovery.cleanup import clean_up_ended
from flows.recovery.resume import resume_crashed
from flows.recovery.stalled import StallLimits
from flows.recovery.warm import put_away_what_is_over
from flows.runtime.blocks import shared_registry
from flows.runtime.states import ended, overtakes
from flows.runtime.tasks import call, foreseen
from flows.spec import Deployments


@flow(name="sweep")
async def sweep(silent_seconds: float = 120, pending_seconds: float = 600, form_seconds: float = 60) -> State[Any] | dict[str, int]:
    """Wake releases whose request has expired or whose freeze is over, take up runs that died, and clean up after those that are over.

    A suspended run has no process: nobody but this notices that its time is up, and cancelling it calls no hook. Nor does Prefect notice by
    itself that a run's process and its worker are gone.

    Args:
        silent_seconds: A run that gave no sign of life for so long is dead; signs come every 30 s.
        pending_seconds: A run that waited for so long for its process to begin will not get one.
        form_seconds: A run that was suspended for so long without its form will not get one; it is woken, and asks anew.
    """
    try:
        with foreseen("Sweeping"):
            deployments = Deployments.default()
            registry = await shared_registry(deployments)
            patience = StallLimits(running_seconds=silent_seconds, pending_seconds=pending_seconds)
            with registry.kept_open():
                # Not a concurrency limit of Prefect: see `alone`.
                async with alone(registry, "sweep", str(runtime.flow_run.id)) as other:
                    if other is not None:
                        return overtakes(other)
                    return await _sweep(deployments, registry, patience, form_seconds, str(runtime.flow_run.id))
    except PipelineError as exc:
        return ended(exc)


async def _sweep(deployments: Deployments, registry: Registry, patience: StallLimits, form_seconds: float, run_id: str) -> dict[str, int]:
    done: dict[str, int] = {}
    wrong: list[PipelineError] = []
    parts: dict[str, Callable[[], Awaitable[tuple[dict[str, int], list[PipelineError]]]]] = {
        "Looking at what waits for people": partial(_look_at_requests, registry),
        "Waking whose canary is to end": partial(_wake_unwanted, registry),
        "Waking what waits without a form": partial(_wake_formless, registry, form_seconds),
        # Before what is over is cleaned up: whom this gives up is cleaned up after in the same round.
        "Taking up what died": partial(resume_crashed, registry, deployments.names("models"), patience),
        "Cleaning up": partial(clean_up_ended, deployments, registry),
        "Putting away what canaries replaced": partial(put_away_what_is_over, deployments, registry, run_id),
        "Sealing the record": partial(_seal, registry),
    }
    for what, part in parts.items():
        try:
            with foreseen(what):
                counts, failed = await part()
            done |= counts
            wrong += failed
        except PipelineError as exc:
            wrong.append(exc)
    if wrong:
        # After all of it was tried: one run that cannot be looked after keeps no other from it, and comes again in every round.
        raise wrong[0]
    return done


async def _seal(registry: Registry) -> tuple[dict[str, int], list[PipelineError]]:
    return {"sealed": await call(seal, registry)}, []


async def _wake_unwanted(registry: Registry) -> tuple[dict[str, int], list[PipelineError]]:
    done = 0
    for canary in await call(unwanted, registry):
        if is_to_wake(canary, await call(waiting_run, canary.run_id)):
            await call(wake, canary.run_id)
            done += 1
    return {"unwanted": done}, []


async def _wake_formless(registry: Registry, seconds: float) -> tuple[dict[str, int], list[PipelineError]]:
    run_ids = await call(formless_runs, registry, seconds)
    for run_id in run_ids:
        await call(wake, run_id)
    return {"formless": len(run_ids)}, []


async def _look_at_requests(registry: Registry) -> tuple[dict[str, int], list[PipelineError]]:
    done, wrong = {"leave": 0, "wake": 0, "void": 0}, []
    for request in await call(open_requests, registry):
        try:
            with foreseen(f"Looking at the request of run {request.run_id}"):
                done[await _look_at(registry, request)] += 1
        except PipelineError as exc:
            wrong.append(exc)
    return done, wrong


async def _look_at(registry: Registry, request: OpenRequest) -> str:
    run_id = request.run_id or ""
    seen = await call(waiting_run, run_id)
    # The hours that were in force when people were asked: the environment's file may say others by now.
    step = request_step(request, float(str(request.detail["request_hours"])), seen, datetime.now(UTC))
    if step == "wake":
        await call(wake, run_id)
    elif step == "void":
        await call(close_request, registry, request, f"the run ended as {seen.state}" if seen else "the run is gone")
    return step

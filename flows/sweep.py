"""The sweep: runs every few minutes and looks after releases that wait for people and that no process watches."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from blocks.errors import PipelineError
from flows.connections import shared_registry
from flows.outcome import ended
from flows.plan.sweep import sweep_step
from flows.spec import Deployments
from flows.tasks.policy import run
from flows.tasks.wake import close_request, open_requests, waiting_run, wake


@flow(name="sweep")
async def sweep() -> State[Any] | dict[str, int]:
    """Wake releases whose request has expired or whose freeze is over, and close the requests of runs that have ended.

    A suspended run has no process: nobody but this notices that its time is up, and cancelling it calls no hook.
    """
    try:
        registry = await shared_registry(Deployments.default())
        done = {"leave": 0, "wake": 0, "void": 0}
        for request in await run(open_requests, registry):
            run_id = request.run_id or ""
            seen = await run(waiting_run, run_id)
            step = sweep_step(request, float(str(request.detail["request_hours"])), seen, datetime.now(UTC))
            if step == "wake":
                await run(wake, run_id)
            elif step == "void":
                await run(close_request, registry, request, f"the run ended as {seen.state}" if seen else "the run is gone")
            done[step] += 1
        return done
    except PipelineError as exc:
        return ended(exc)

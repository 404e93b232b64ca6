"""After runs that are over: what they began and never ended is ended, at once when a person cancels one, else by the sweep."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from blocks.errors import PipelineError
from blocks.registry import Event, Registry
from flows.delivery.deliver import back_end, without_waiting
from flows.recovery.orphans import CANCELLED, Orphaned, has_failed, why_orphaned
from flows.recovery.tasks.cleanup import Begun, clean_up
from flows.recovery.tasks.orphans import ended_runs, orphaned_runs
from flows.runtime.blocks import blocks_of, shared_registry
from flows.runtime.tasks import call, foreseen
from flows.spec import Deployments


async def leave_as_it_was(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect's hook for a run that is cancelled while it runs: clean up at once. Whatever goes wrong here, the sweep does again.

    Prefect calls it in the process that watched over the run's own, which has ended by then.
    """
    logger = flow_run_logger(flow_run, flow)
    try:
        deployments = Deployments.default()
        registry = await shared_registry(deployments)
        # A run that was cancelled before it began anything finds nothing here: there is nothing to clean up.
        for event in await asyncio.to_thread(_begun_by, registry, str(flow_run.id)):
            left = await clean_up_one(deployments, registry, event, CANCELLED)
            logger.info(left or "Another run has taken over; it is left to that.")
    except Exception as exc:  # noqa: BLE001  # a hook's error would be lost; the run's log keeps this one
        logger.error(f"The clean-up did not come to its end; the sweep takes it up: {exc}")


async def clean_up_ended(deployments: Deployments, registry: Registry) -> tuple[dict[str, int], list[PipelineError]]:
    """Clean up after every run that is over and did not end what it began; how many places were, and what went wrong.

    A suspended run that is cancelled has no process, and no hook is called; nor is one when the worker is gone as well.
    """
    done, wrong = {"cleaned_up": 0}, []
    for event, why in await _over(registry):
        try:
            with foreseen(f"Cleaning up after run {event.run_id}"):
                said = await clean_up_one(deployments, registry, event, why)
        except PipelineError as exc:
            wrong.append(exc)
        else:
            done["cleaned_up"] += bool(said)
    return done, wrong


async def clean_up_one(deployments: Deployments, registry: Registry, begun: Event, why: Orphaned) -> str | None:
    """Clean up after one run in one environment; what was left, none while another run holds the model there."""
    environment = deployments.environment(begun.environment or "")
    blocks = await blocks_of(environment)
    # A removal that waits for its merge holds up no sweep: the first one after the merge finds it.
    delivery = without_waiting(back_end(blocks, environment))
    return await asyncio.to_thread(clean_up, registry, blocks.cluster, delivery, environment, Begun.of(begun), why)


async def _over(registry: Registry) -> list[tuple[Event, Orphaned]]:
    begun = await call(orphaned_runs, registry)
    states = await call(ended_runs, registry, sorted({event.run_id or "" for event in begun})) if begun else {}
    over = [(event, why_orphaned(states[event.run_id or ""], failed=has_failed(event))) for event in begun]
    return [(event, why) for event, why in over if why is not None]


def _begun_by(registry: Registry, run_id: str) -> list[Event]:
    with registry.client() as client:
        return [event for event in client.runs.orphaned() if event.run_id == run_id]

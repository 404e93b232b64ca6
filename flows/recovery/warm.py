"""What a canary replaced and stayed warm goes when its time is up; what a canary's run was to take away goes when that run is over."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from blocks.errors import PipelineError
from blocks.registry import Registry
from flows.delivery.deliver import back_end, without_waiting
from flows.errors import ReleaseUnderWay
from flows.record.lock import locked
from flows.recovery.orphans import Leaves, what_leaves
from flows.recovery.tasks.orphans import ended_runs
from flows.recovery.tasks.warm import open_canaries, put_away
from flows.runtime.blocks import blocks_of
from flows.runtime.tasks import call, foreseen
from flows.spec import Deployments


async def put_away_what_is_over(deployments: Deployments, registry: Registry, run_id: str) -> tuple[dict[str, int], list[PipelineError]]:
    """Have the candidates go that nobody looks after any longer; how many places it was, and what went wrong."""
    done, wrong = {"cooled": 0}, []
    for leaves in await _over(registry):
        try:
            with foreseen(f"Ending the canary of {leaves.canary.model} in {leaves.canary.environment}"):
                done["cooled"] += await _put_away(deployments, registry, leaves, run_id)
        except ReleaseUnderWay:
            continue  # whoever changes it there ends the canary
        except PipelineError as exc:
            wrong.append(exc)
    return done, wrong


async def _over(registry: Registry) -> list[Leaves]:
    canaries = await call(open_canaries, registry)
    run_ids = sorted({canary.run_id for canary, _ in canaries if canary.phase != "warm"})
    runs = await call(ended_runs, registry, run_ids) if run_ids else {}
    found = [what_leaves(canary, serving, runs.get(canary.run_id), datetime.now(UTC)) for canary, serving in canaries]
    return [leaves for leaves in found if leaves is not None]


async def _put_away(deployments: Deployments, registry: Registry, leaves: Leaves, run_id: str) -> bool:
    environment = deployments.environment(leaves.canary.environment)
    delivery = without_waiting(back_end(await blocks_of(environment), environment))
    async with locked(registry, leaves.canary.model, environment.name, run_id) as lock:
        return await asyncio.to_thread(put_away, registry, delivery, leaves, lock, run_id)

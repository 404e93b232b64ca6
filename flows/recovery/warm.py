"""What a canary replaced and stayed warm goes when its time is up, or when the run that was to take it away is gone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from blocks.errors import PipelineError
from blocks.facts.canary import Canary
from blocks.registry import Registry
from flows.delivery.deliver import back_end, without_waiting
from flows.errors import ReleaseUnderWay
from flows.record.lock import locked
from flows.recovery.tasks.warm import over, put_away
from flows.runtime.blocks import blocks_of
from flows.runtime.tasks import call, foreseen
from flows.spec import Deployments


async def put_away_what_is_over(deployments: Deployments, registry: Registry, run_id: str) -> tuple[dict[str, int], list[PipelineError]]:
    """Have what canaries replaced go where its time is up; how many places it was, and what went wrong."""
    done, wrong = {"cooled": 0}, []
    for canary in await call(over, registry, datetime.now(UTC)):
        try:
            with foreseen(f"Putting away what {canary.model} in {canary.environment} has replaced"):
                done["cooled"] += await _put_away(deployments, registry, canary, run_id)
        except ReleaseUnderWay:
            continue  # whoever changes it there ends the canary
        except PipelineError as exc:
            wrong.append(exc)
    return done, wrong


async def _put_away(deployments: Deployments, registry: Registry, canary: Canary, run_id: str) -> bool:
    environment = deployments.environment(canary.environment)
    delivery = without_waiting(back_end(await blocks_of(environment), environment))
    async with locked(registry, canary.model, canary.environment, run_id) as lock:
        return await asyncio.to_thread(put_away, registry, delivery, canary, lock, run_id)

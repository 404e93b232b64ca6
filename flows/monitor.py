"""The monitor flow: looks every minute at everything that is routed, and takes out what does not answer (or puts it back)."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import State

from blocks.cluster import Cluster
from blocks.endpoint import Endpoint
from blocks.errors import PipelineError, Transient
from blocks.health_cache import HealthCache
from blocks.registry import Registry
from flows.errors import VerificationInconclusive
from flows.health.tasks import Round, check_health, check_health_task
from flows.record.lock import alone
from flows.runtime.blocks import load_block, shared_registry
from flows.runtime.endpoints import Ways
from flows.runtime.states import ended, overtakes
from flows.runtime.tasks import RESULTS, foreseen, run
from flows.spec import Deployments


@flow(name="monitor", result_serializer=RESULTS)
# Async, as a sync flow waits for its heartbeat's thread at the end: 1.1 s against 0.2 s, every minute (Prefect 3.8.8).
async def monitor() -> State[Any] | dict[str, Any]:
    """Check the health of every routed endpoint once, and move entries between `ready` and `degraded` by their last five checks."""
    try:
        with foreseen("Monitoring"):
            registry, ways, cache = await connections()
            endpoints = await asyncio.to_thread(ways.now, get_run_logger().warning)
            with registry.kept_open():
                # Not a concurrency limit of Prefect: a server that restarts may lose its slot, and each later run would be cancelled.
                async with alone(registry, "monitor", str(runtime.flow_run.id)) as other:
                    if other is not None:
                        return overtakes(other)
                    seen = await run(check_health_task, registry, endpoints, cache)
        if seen.blind:
            raise VerificationInconclusive(seen.message)
    except PipelineError as exc:
        return ended(exc)
    return {"checked": seen.checked, "failing": seen.failing, "degraded": list(seen.degraded), "recovered": list(seen.recovered)}


async def connections() -> tuple[Registry, Ways, HealthCache | None]:
    """The registry, how the endpoints of each environment are reached, and the cache if there is one."""
    deployments = Deployments.default()
    environments = deployments.environments()
    endpoints = {environment.name: await load_block(Endpoint, environment.blocks) for environment in environments}
    guarded = {
        environment.name: (await load_block(Cluster, environment.blocks), environment)
        for environment in environments
        if environment.api_key_secret is not None
    }
    name = deployments.shared().health_cache
    return await shared_registry(deployments), Ways(endpoints, guarded), await load_block(HealthCache, name) if name else None


def keep_watch(
    registry: Registry,
    ways: Ways,
    cache: HealthCache | None,
    *,
    interval_seconds: float,
    tell: Callable[[Round], None],
    ended: threading.Event,
) -> None:
    """Check health again and again until `ended`; a registry that is away for a while is waited for.

    Rounds begin `interval_seconds` apart, or at once after one that took longer.
    """
    while not ended.is_set():
        began = time.monotonic()
        try:
            tell(check_health(registry, ways.now(_warn), cache, interval_seconds))
        # A registry that restarts does not end the watch; what no time cures does.
        except Transient as exc:
            _warn(exc.message)
        ended.wait(max(0.0, interval_seconds - (time.monotonic() - began)))


def _warn(message: str) -> None:
    print(f"slipway: {message}", file=sys.stderr, flush=True)

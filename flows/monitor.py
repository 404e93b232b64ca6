"""The monitor flow: looks every minute at everything that is routed, and takes out what does not answer (or puts it back)."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from prefect import flow, runtime
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
from flows.runtime.endpoints import keyed
from flows.runtime.states import ended, overtakes
from flows.runtime.tasks import RESULTS, foreseen, run
from flows.spec import Deployments, Environment


@flow(name="monitor", result_serializer=RESULTS)
# Async, as a sync flow waits for its heartbeat's thread at the end: 1.1 s against 0.2 s, every minute (Prefect 3.8.8).
async def monitor() -> State[Any] | dict[str, Any]:
    """Check the health of every routed endpoint once, and move entries between `ready` and `degraded` by their last five checks."""
    try:
        with foreseen("Monitoring"):
            registry, endpoints, cache = await connections()
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


async def connections() -> tuple[Registry, Mapping[str, Endpoint], HealthCache | None]:
    """The registry, how the endpoints of each environment are reached (by its name), and the cache if there is one."""
    deployments = Deployments.default()
    endpoints = {environment.name: await _way(environment) for environment in deployments.environments()}
    name = deployments.shared().health_cache
    return await shared_registry(deployments), endpoints, await load_block(HealthCache, name) if name else None


async def _way(environment: Environment) -> Endpoint:
    endpoint = await load_block(Endpoint, environment.blocks)
    if environment.api_key_secret is None:
        return endpoint
    cluster = await load_block(Cluster, environment.blocks)

    def with_key() -> Endpoint:
        with cluster.client() as client:
            return keyed(endpoint, client, environment)

    return await asyncio.to_thread(with_key)


def keep_watch(
    registry: Registry,
    endpoints: Mapping[str, Endpoint],
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
            tell(check_health(registry, endpoints, cache, interval_seconds))
        # A registry that restarts does not end the watch; what no time cures does.
        except Transient as exc:
            print(f"slipway: {exc.message}", file=sys.stderr, flush=True)
        ended.wait(max(0.0, interval_seconds - (time.monotonic() - began)))

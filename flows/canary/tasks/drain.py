"""Waits until an engine that gets no new requests has answered those that it had."""

from __future__ import annotations

import time
from collections.abc import Mapping

from blocks.errors import EndpointRejected, EndpointUnreachable
from blocks.facts import EngineMetrics
from blocks.facts.cluster import INSTANCE
from flows.runtime.blocks import Blocks
from flows.runtime.endpoints import keyed
from flows.runtime.tasks import looks
from flows.spec import Environment
from flows.verification.tasks.pods import PodWatch

#: For how long nothing may have come, in seconds: routers hear of a change within milliseconds, and the slowest of them is to be seen.
QUIET_SECONDS = 5.0

#: How long is waited at the most: a router that has heard nothing loads everything anew each minute (docs/router.md). What still runs then
#: is left to the pods, which finish it in their grace period.
DRAIN_SECONDS = 120.0

_LOOK_SECONDS = 1.0


class Quiet:
    """Tells since when an engine has had nothing to do."""

    def __init__(self) -> None:
        self._tokens: int | None = None
        self._since: float | None = None

    def seconds(self, metrics: Mapping[str, EngineMetrics], now: float) -> float:
        """For how long nothing has run, waited or been generated, by the pods' metrics at this moment of a clock in seconds."""
        tokens = sum(each.generated_tokens for each in metrics.values())
        idle = tokens == self._tokens and not any(each.under_way for each in metrics.values())
        self._tokens = tokens
        if not idle:
            self._since = None
        elif self._since is None:
            self._since = now
        return 0.0 if self._since is None else now - self._since


def drained(blocks: Blocks, environment: Environment, engine: str, *, quiet_seconds: float = QUIET_SECONDS) -> bool:
    """Wait until the engine's pods have been quiet for a while, or cannot be asked; whether they were.

    Raises:
        ClusterUnreachable: The cluster did not answer.
    """
    with blocks.cluster.client() as cluster:
        pods = [pod for pod in cluster.pods.list(environment.namespace, {INSTANCE: engine}) if pod.ready]
        if not pods:
            return True
        way, quiet = keyed(blocks.endpoint, cluster, environment), Quiet()
        with PodWatch(way, environment.namespace, pods) as watch:
            for waited in looks(DRAIN_SECONDS, time.sleep, _LOOK_SECONDS):
                try:
                    if quiet.seconds(watch.metrics(), waited) >= quiet_seconds:
                        return True
                # One that is gone, or that answers nothing any longer, has nothing to finish.
                except (EndpointUnreachable, EndpointRejected):
                    return False
    return False

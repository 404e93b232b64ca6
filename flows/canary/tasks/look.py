"""Looks at both candidates of a canary while it runs, and says where it is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Self

import httpx

from blocks.cluster import ClusterClient
from blocks.endpoint import Endpoint
from blocks.errors import EndpointRejected, EndpointUnreachable
from blocks.facts import Pod
from blocks.facts.canary import Canary
from blocks.facts.cluster import INSTANCE
from flows.canary.counts import CANARY, CURRENT, Counters, Differences, Unreadable, engine_counters, router_counters, window
from flows.canary.judge import Judge, Verdict, Window
from flows.canary.page import canary_page, summary
from flows.delivery.move import Move
from flows.naming import PORT, engine_name, other_slot, release_name
from flows.runtime.artifacts import show_page
from flows.runtime.endpoints import keyed
from flows.runtime.tasks import get_run_log

#: How long a router may take to tell what it has counted, in seconds, and how much that may be, in bytes.
_ROUTER_SECONDS, _MOST_BYTES = 3.0, 8 << 20


class Observer:
    """Asks routers, or where none is named the engines of both candidates, what they have counted.

    Args:
        move: The candidate that is tried; what serves lies in the other slot.
    """

    def __init__(self, move: Move) -> None:
        self._move = move
        self._open = ExitStack()
        self._cluster: ClusterClient = self._open.enter_context(move.blocks.cluster.client())
        self._way: Endpoint = keyed(move.blocks.endpoint, self._cluster, move.environment)
        self._routers = self._open.enter_context(httpx.Client(timeout=_ROUTER_SECONDS, trust_env=False))
        release = move.plan.helm_release
        self._engines = {CURRENT: engine_name(release, other_slot(move.plan.slot)), CANARY: move.plan.engine}
        self._differences, self._at = Differences(), time.monotonic()
        self._up_at = self._at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def look(self, canary: Canary) -> Window:
        """What both did since the last look; nothing at the first one.

        Raises:
            ClusterUnreachable: The cluster did not answer.
        """
        routers = self._move.environment.rollout.routers
        pods = {arm: self._ready_pods(engine) for arm, engine in self._engines.items() if arm == CANARY or not routers}
        now = self._of_routers(canary) if routers else self._of_engines(pods)
        at, since = time.monotonic(), self._at
        self._at = at
        if pods[CANARY]:
            self._up_at = at
        return window(self._differences.since(now), at - since, canary.weight, "router" if routers else "engines")

    def down_seconds(self) -> float:
        """For how long no pod of the canary was ready, by the looks so far."""
        return self._at - self._up_at

    def tell(self, canary: Canary, judge: Judge, verdict: Verdict, reason: str) -> None:
        """Say in the run's log where it is, and show it on the run's page."""
        requests = f"{verdict.canary_requests:,} of its requests beside {verdict.current_requests:,}"
        why = reason or verdict.reason
        get_run_log().info("%s at %d %%, step %d (%s): %s. %s", canary.model, canary.weight, canary.step + 1, canary.phase, requests, why)
        page = canary_page(canary.model, canary.environment, canary.weight, verdict, judge.trace)
        show_page(f"{release_name(canary.model, 'canary')}-{canary.environment}", page, summary(verdict))

    def _ready_pods(self, engine: str) -> list[Pod]:
        return [pod for pod in self._cluster.pods.list(self._move.environment.namespace, {INSTANCE: engine}) if pod.ready]

    def _of_engines(self, pods: Mapping[str, Sequence[Pod]]) -> dict[str, Counters]:
        seen: dict[str, Counters] = {}
        for arm, ready in pods.items():
            for pod in ready:
                try:
                    with self._way.pod_client(self._move.environment.namespace, pod.name, pod.address, PORT) as client:
                        seen[pod.name] = engine_counters(client.exposition(), arm)
                # One that does not answer now is not known now: what it counts is seen at the next look.
                except (EndpointUnreachable, EndpointRejected, Unreadable):
                    continue
        return seen

    def _of_routers(self, canary: Canary) -> dict[str, Counters]:
        seen: dict[str, Counters] = {}
        whose = {canary.stable: CURRENT, canary.canary: CANARY}
        for address in self._move.environment.rollout.routers:
            try:
                text = self._router(address)
                seen[address] = router_counters(text, canary.model, canary.environment, whose)
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeDecodeError, Unreadable):
                continue
        return seen

    def _router(self, address: str) -> str:
        with self._routers.stream("GET", address) as answer:
            answer.raise_for_status()
            content = b""
            for part in answer.iter_bytes():
                content += part
                if len(content) > _MOST_BYTES:
                    raise Unreadable("it is too long")
        return content.decode()

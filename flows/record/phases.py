"""Where a release's time went, phase by phase. A release into one environment has ten minutes in all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from blocks.facts import Pod

#: What a release into one environment may take from its resolution to its record, in seconds; waiting for a person, and the minutes for
#: which a canary is judged, do not count.
BUDGET_SECONDS = 600.0

#: All phases in order. `schedule`, `pull` and `load` are read off the pods, in whole seconds as Kubernetes keeps them.
PHASES = ("resolve", "plan", "prefetch", "deploy", "schedule", "pull", "load", "rollout", "warm-up", "verify", "canary", "record")


@dataclass(frozen=True, kw_only=True)
class PodTimes:
    """One pod's way to readiness.

    Attributes:
        name: The pod.
        node: Where it runs.
        created: When it was made; none where Kubernetes does not say.
        schedule_seconds: Until it had a node.
        pull_seconds: From there until the engine's container ran: init containers, and pulling the image.
        load_seconds: From there until it was ready.
    """

    name: str
    node: str
    created: datetime | None
    schedule_seconds: float
    pull_seconds: float
    load_seconds: float


def pod_times(pods: Sequence[Pod]) -> tuple[PodTimes, ...]:
    """The way of each pod; a point that it does not tell takes no time."""
    return tuple(
        PodTimes(
            name=pod.name,
            node=pod.node or "",
            created=pod.times.get("created"),
            schedule_seconds=_between(pod, "created", "scheduled"),
            pull_seconds=_between(pod, "scheduled", "started"),
            load_seconds=_between(pod, "started", "ready"),
        )
        for pod in pods
    )


def _between(pod: Pod, earlier: str, later: str) -> float:
    if earlier not in pod.times or later not in pod.times:
        return 0.0
    # Whole seconds of several clocks (API server, scheduler, kubelet): the later may seem the earlier one.
    return max(0.0, (pod.times[later] - pod.times[earlier]).total_seconds())


def phases(measured: Mapping[str, float], pods: Sequence[PodTimes], since: datetime, warmup_seconds: float | None) -> dict[str, float]:
    """All phases in order, in seconds; they do not overlap.

    Args:
        measured: Seconds by phase as the flow saw them: `rollout` and `verify` whole.
        pods: The pods that serve. Those that are older than this release took none of its time.
        since: When the release began to deploy.
        warmup_seconds: Of `verify`, what the warm-up took.
    """
    # Kubernetes' times are whole seconds: a pod of this release may seem up to one second older.
    new = [pod for pod in pods if pod.created is not None and (since - pod.created).total_seconds() < 1]
    # Of each the slowest pod's, since pods come up side by side.
    parts = {
        "schedule": max((pod.schedule_seconds for pod in new), default=0.0),
        "pull": max((pod.pull_seconds for pod in new), default=0.0),
        "load": max((pod.load_seconds for pod in new), default=0.0),
        "warm-up": warmup_seconds or 0.0,
    }
    rest = {
        "rollout": max(0.0, measured.get("rollout", 0.0) - parts["schedule"] - parts["pull"] - parts["load"]),
        "verify": max(0.0, measured.get("verify", 0.0) - parts["warm-up"]),
    }
    known = {**measured, **parts, **rest}
    return {name: round(value, 3) for name, value in in_order(known).items()}


def in_order(seconds: Mapping[str, float]) -> dict[str, float]:
    """The phases in their order; JSON in a database keeps none."""
    return {name: seconds[name] for name in PHASES if name in seconds}


def counted_seconds(seconds: Mapping[str, float]) -> float:
    """What of the phases counts towards the budget, in seconds: a canary takes what the environment's steps say."""
    return sum(taken for name, taken in seconds.items() if name != "canary")


class Stopwatch:
    """Takes the time of phases, beside those that were taken before; a phase that comes again adds to itself."""

    def __init__(self, seconds: Mapping[str, float] | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.seconds = dict(seconds or {})

    def add(self, name: str, seconds: float) -> None:
        """Count what was measured elsewhere, such as by a process before this one."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the block's time towards the phase, also where it ends in an error."""
        begin = self._clock()
        try:
            yield
        finally:
            self.add(name, self._clock() - begin)

"""How long an engine may take to load: one number that probes, rollout deadline and time-outs all come from."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Start-up that does not depend on the weights: imports, compilation, warm-up. vLLM 0.32 took 67 s warm and 86 s the first
#: time on two CPU cores with weights under 1 MB, and 28 s for its first completion.
BASE_SECONDS = 180.0

#: Slowest read to plan for. Cold reads of a virtual machine's disk were measured at 580 to 680 MB/s; half of that leaves room
#: for a node that serves others at the same time.
READ_BYTES_PER_SECOND = 300e6

#: Between the engine's own budget and the end of our patience. The chart's `progressDeadlineSeconds` lies in between (it adds
#: the old pod's grace period and 60 s for scheduling), so that Kubernetes' own verdict is there before we stop to wait for it.
MARGIN_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class LoadBudget:
    """Deadlines of one rollout, in seconds.

    Attributes:
        load_seconds: What the startup probe allows the engine.
        rollout_seconds: How long the rollout's task waits at most.
    """

    load_seconds: int
    rollout_seconds: int


def load_budget(size_bytes: int, replicas: int = 1) -> LoadBudget:
    """The budget for weights of `size_bytes`, rounded up to ten seconds; replicas may have to start one after another."""
    load = math.ceil((BASE_SECONDS + size_bytes / READ_BYTES_PER_SECOND) / 10) * 10
    return LoadBudget(load_seconds=load, rollout_seconds=int(load * max(1, replicas) + MARGIN_SECONDS))

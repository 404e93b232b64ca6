"""Whether there are free GPUs for a rollout, on the nodes and in the namespace's quota, by what its strategy needs at once.

A rollout goes by steps: some old pods may go, then so many new ones must become ready before anything else happens. What is checked
is that the first step finds its GPUs, and that all replicas find them once every old pod is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from blocks.facts import GpuQuota, Node, Pod
from flows.errors import DoesNotFit, Refusal

StrategyName = Literal["surge", "inPlace", "recreate"]

#: Besides, all of a candidate's pods beside all of those that serve.
Way = Literal[StrategyName, "canary"]

#: Where GPUs are → how many.
Places = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class RolloutDemand:
    """What a rollout asks of the cluster.

    Attributes:
        model: The model, for messages.
        label: The candidate's label: pods that carry it are there already.
        replicas: Pods that shall serve.
        gpus: GPUs of each, on one node.
        strategy: The chart's `rollout.strategy`, or `canary`.
        beside: Names of pods that stand beside those that serve, as what an earlier canary replaced: they go before anything comes.
    """

    model: str
    label: str
    replicas: int
    gpus: int
    strategy: Way
    beside: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What there is for the rollout.

    Attributes:
        free: GPUs that nobody holds, over all nodes that could run it.
        total: GPUs of those nodes.
        held: GPUs of the current release's pods, which the rollout replaces.
        extra: GPUs that the rollout needs beside those that are held, at its widest.
        refusals: Why it cannot go on.
    """

    free: int
    total: int
    held: int
    extra: int
    refusals: tuple[Refusal, ...]


def find_capacity(wanted: RolloutDemand, nodes: Sequence[Node], taken: Places, pods: Sequence[Pod], quotas: Sequence[GpuQuota]) -> Capacity:
    """Look for the rollout's GPUs.

    Args:
        wanted: The rollout.
        nodes: The nodes that could run it.
        taken: GPUs that pods of all namespaces hold, by node.
        pods: The current release's pods.
        quotas: The quotas of its namespace.
    """
    free = {node.name: max(0, node.gpus - taken.get(node.name, 0)) for node in nodes}
    # A pod without a node holds no GPU; but a quota counts it.
    old = [pod for pod in pods if pod.labels.get("slipway.dev/candidate") != wanted.label]
    there = sum(pod.labels.get("slipway.dev/candidate") == wanted.label and not pod.terminating for pod in pods)
    held = sum(pod.gpus for pod in old if pod.node is not None)
    steps = _steps(wanted, old, there)
    refusals = [
        *_refused(steps, lambda gone: _slots(_freed(free, gone), wanted.gpus), _on_nodes(wanted, free, held)),
        *(r for quota in quotas for r in _refused(steps, _in_quota(quota, wanted.gpus), _over_quota(wanted, quota))),
    ]
    extra = max([0, *(step.pods * wanted.gpus - sum(pod.gpus for pod in step.gone) for step in steps)])
    return Capacity(free=sum(free.values()), total=sum(node.gpus for node in nodes), held=held, extra=extra, refusals=tuple(refusals))


@dataclass(frozen=True, kw_only=True)
class _Step:
    """`pods` new pods must find room when the pods of one of `alternatives` are gone; which one it will be is not ours to choose."""

    pods: int
    alternatives: tuple[tuple[Pod, ...], ...]

    @property
    def gone(self) -> tuple[Pod, ...]:
        # At the worst: the pods that free the least.
        return min(self.alternatives, key=lambda pods: sum(pod.gpus for pod in pods))


def _steps(wanted: RolloutDemand, old: Sequence[Pod], there: int) -> tuple[_Step, ...]:
    missing = wanted.replicas - there
    if missing <= 0:
        return ()
    all_gone = _Step(pods=missing, alternatives=(tuple(old),))
    # Pods that do not serve are the first to go, whatever the strategy.
    serving = [pod for pod in old if pod.ready and not pod.terminating and pod.name not in wanted.beside]
    if wanted.strategy == "canary":
        return (_Step(pods=missing, alternatives=(tuple(pod for pod in old if pod.name in wanted.beside),)),)
    idle = tuple(pod for pod in old if pod not in serving)
    if wanted.strategy == "recreate" or not serving:
        return (all_gone,)
    # Kubernetes keeps `replicas - maxUnavailable` pods ready: surge allows none to be missing, in place allows one.
    spare = len(serving) + there - (wanted.replicas - (1 if wanted.strategy == "inPlace" else 0))
    if spare > 0:
        return (_Step(pods=1, alternatives=tuple((*idle, pod) for pod in serving)), all_gone)
    return (_Step(pods=min(missing, 1 - spare), alternatives=(idle,)), all_gone)


def _refused(steps: Iterable[_Step], slots: Callable[[Sequence[Pod]], int], refusal: Callable[[_Step], Refusal]) -> list[Refusal]:
    """The refusal of the first step that does not find its slots."""
    return [refusal(step) for step in steps if any(slots(gone) < step.pods for gone in step.alternatives)][:1]


def _freed(free: Places, gone: Iterable[Pod]) -> Places:
    after = dict(free)
    for pod in gone:
        if pod.node in after:
            after[pod.node] += pod.gpus
    return after


def _slots(free: Places, gpus: int) -> int:
    # Node by node: the GPUs of one pod are all on one.
    return sum(count // gpus for count in free.values())


def _in_quota(quota: GpuQuota, gpus: int) -> Callable[[Sequence[Pod]], int]:
    return lambda gone: max(0, quota.hard - quota.used + sum(pod.gpus for pod in gone)) // gpus


def _on_nodes(wanted: RolloutDemand, free: Places, held: int) -> Callable[[_Step], Refusal]:
    def refusal(step: _Step) -> Refusal:
        places = ", ".join(f"{count} on {name}" for name, count in free.items())
        mine = f", and {held} are held by the release that it replaces" if held else ""
        if wanted.strategy == "canary":
            mine = f", and {held} are held by what serves, beside which the canary stands" if held else ""
        instead = {"surge": "roll out in place (rollout: {strategy: inPlace})", "canary": "set rollout.without_room: auto"}
        what = instead.get(wanted.strategy, "lower replicas") if held else "lower replicas"
        return DoesNotFit(
            f"There are not enough free GPUs: {_need(wanted, step)}, and there are {places}{mine}; free some, add a node, or {what}.",
            gpus_wanted=step.pods * wanted.gpus,
            gpus_free=sum(free.values()),
            gpus_held=held,
        )

    return refusal


def _over_quota(wanted: RolloutDemand, quota: GpuQuota) -> Callable[[_Step], Refusal]:
    def refusal(step: _Step) -> Refusal:
        return DoesNotFit(
            f"The namespace's ResourceQuota {quota.name} has too few GPUs: {_need(wanted, step)}, and {quota.used} of {quota.hard} are "
            "used; raise its requests.nvidia.com/gpu, or lower replicas.",
            gpus_wanted=step.pods * wanted.gpus,
            gpus_hard=quota.hard,
            gpus_used=quota.used,
        )

    return refusal


def _need(wanted: RolloutDemand, step: _Step) -> str:
    gone, strategy = len(step.gone), f" (strategy {wanted.strategy})"
    when = f" when {gone} old one(s) are gone{strategy}" if gone else strategy if step.pods < wanted.replicas else ""
    return f"{step.pods} new pod(s) of {wanted.model} need {wanted.gpus} each{when}"

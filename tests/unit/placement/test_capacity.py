"""A rollout finds its GPUs by what its strategy needs at once, on the nodes and in the quota; or it is refused with the numbers."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.facts import GpuQuota, Pod
from flows.placement.capacity import Capacity, RolloutDemand, StrategyName, find_capacity
from tests.support.examples import node, pod

NEW = "the-new-one"


def old(number: int = 1, **changes: Any) -> list[Pod]:
    return [pod("an-old-one", **{"name": f"old-{index}", **changes}) for index in range(number)]


def room(
    strategy: StrategyName,
    replicas: int = 1,
    gpus: int = 1,
    *,
    free: dict[str, int],
    pods: list[Pod] | None = None,
    quota: tuple[int, int] | None = None,
) -> Capacity:
    pods = pods or []
    held = {name: sum(pod.gpus for pod in pods if pod.node == name) for name in free}
    return find_capacity(
        RolloutDemand(model="tiny", label=NEW, replicas=replicas, gpus=gpus, strategy=strategy),
        [node(name, gpus=count + held[name]) for name, count in free.items()],
        held,
        pods,
        [GpuQuota(name="gpus", hard=quota[0], used=quota[1])] if quota else [],
    )


@pytest.mark.parametrize(
    ("strategy", "replicas", "gpus", "free", "pods", "fits"),
    [
        # nothing is there yet: all replicas need their GPUs, each on one node
        ("inPlace", 2, 1, {"gpu-1": 1, "gpu-2": 1}, [], True),
        ("inPlace", 2, 1, {"gpu-1": 1}, [], False),
        ("surge", 2, 2, {"gpu-1": 3, "gpu-2": 1}, [], False),
        ("surge", 2, 2, {"gpu-1": 2, "gpu-2": 2}, [], True),
        # the old release gives its GPUs back, but a surge needs one pod's more at first
        ("recreate", 1, 1, {"gpu-1": 0}, old(), True),
        ("inPlace", 1, 1, {"gpu-1": 0}, old(), True),
        ("surge", 1, 1, {"gpu-1": 0}, old(), False),
        ("surge", 1, 1, {"gpu-1": 1}, old(), True),
        ("surge", 2, 1, {"gpu-1": 1}, old(2), True),
        # more replicas than before: the further ones come before any old one goes
        ("inPlace", 2, 1, {"gpu-1": 0}, old(), False),
        ("inPlace", 2, 1, {"gpu-1": 1}, old(), True),
        ("surge", 2, 1, {"gpu-1": 1}, old(), False),
        ("surge", 2, 1, {"gpu-1": 2}, old(), True),
        ("recreate", 2, 1, {"gpu-1": 0}, old(), False),
        # fewer replicas than before
        ("surge", 1, 1, {"gpu-1": 0}, old(2), True),
        # a wider candidate: what one old pod leaves is not enough for the first new one
        ("inPlace", 2, 2, {"gpu-1": 0, "gpu-2": 2}, old(2), True),
        ("inPlace", 2, 2, {"gpu-1": 0}, [*old(2), *old(2, name="other")], False),
        ("recreate", 2, 2, {"gpu-1": 0}, old(4), True),
        ("recreate", 1, 2, {"gpu-1": 0, "gpu-2": 0}, [*old(), *old(node="gpu-2")], False),
        # pods that do not serve go first, and one without a node holds nothing
        ("surge", 1, 1, {"gpu-1": 0}, old(ready=False), True),
        ("surge", 1, 1, {"gpu-1": 0}, old(ready=False, node=None), False),
        # pods of this very candidate are there already
        ("surge", 2, 1, {"gpu-1": 0}, [pod(NEW), pod(NEW)], True),
        ("surge", 2, 1, {"gpu-1": 0}, [pod(NEW), *old()], False),
        ("surge", 2, 1, {"gpu-1": 1}, [pod(NEW), *old()], True),
        ("inPlace", 2, 1, {"gpu-1": 0}, [pod(NEW), *old()], True),
        ("surge", 2, 1, {"gpu-1": 0}, [pod(NEW)], False),
    ],
)  # fmt: skip
def test_gpus_on_the_nodes(strategy: StrategyName, replicas: int, gpus: int, free: dict[str, int], pods: list[Pod], fits: bool) -> None:
    assert (room(strategy, replicas, gpus, free=free, pods=pods).refusals == ()) is fits


@pytest.mark.parametrize(
    ("strategy", "pods", "quota", "fits"),
    [
        ("inPlace", [], (1, 0), True),
        ("inPlace", [], (4, 4), False),
        ("inPlace", old(), (1, 1), True),
        ("surge", old(), (1, 1), False),
        ("surge", old(), (2, 1), True),
        ("recreate", old(), (1, 1), True),
        ("inPlace", [], (1, 3), False),
    ],
)
def test_gpus_in_the_quota(strategy: StrategyName, pods: list[Pod], quota: tuple[int, int], fits: bool) -> None:
    assert (room(strategy, free={"gpu-1": 8}, pods=pods, quota=quota).refusals == ()) is fits


def test_the_refusal_has_the_numbers_and_a_way_out() -> None:
    (refusal,) = room("surge", 2, 2, free={"gpu-1": 1, "gpu-2": 1}, pods=old(2, gpus=2)).refusals

    assert refusal.message == (
        "There are not enough free GPUs: 1 new pod(s) of tiny need 2 each (strategy surge), and there are 1 on gpu-1, "
        "1 on gpu-2, and 4 are held by the release that it replaces; free some, add a node, or "
        "roll out in place (rollout: {strategy: inPlace})."
    )
    assert refusal.facts == {"gpus_wanted": 2, "gpus_free": 2, "gpus_held": 4}


def test_the_refusal_of_a_quota_names_it() -> None:
    (refusal,) = room("inPlace", 2, 1, free={"gpu-1": 8}, quota=(4, 3)).refusals

    assert refusal.message == (
        "The namespace's ResourceQuota gpus has too few GPUs: 2 new pod(s) of tiny need 1 each, and 3 of 4 are used; "
        "raise its requests.nvidia.com/gpu, or lower replicas."
    )


def test_what_there_is_and_what_it_takes_are_told() -> None:
    found = room("surge", 1, 2, free={"gpu-1": 3, "gpu-2": 0}, pods=old(gpus=2))

    assert (found.free, found.total, found.held, found.extra) == (3, 5, 2, 2)


def test_more_taken_than_there_is_counts_as_nothing_free() -> None:
    wanted = RolloutDemand(model="tiny", label=NEW, replicas=1, gpus=1, strategy="inPlace")

    found = find_capacity(wanted, [node(gpus=0), node("gpu-2", gpus=1)], {"gpu-1": 2}, [], [])

    assert (found.free, found.refusals) == (1, ())

"""Which way a candidate takes the place of another: beside it, in its place, or not at all; and for how long nothing answers meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from flows.errors import DoesNotFit
from flows.placement.capacity import Capacity, StrategyName, Way
from flows.spec import RolloutPolicy


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How pods are replaced.

    Attributes:
        strategy: surge (the new pod first), inPlace (an old pod first, one at a time), recreate (all old pods first), or canary (beside
            what serves, with a share of the requests that rises by steps).
        room: The GPUs for it, with why it cannot be gone.
        interruption_seconds: How long nothing may answer at the longest.
    """

    strategy: Way
    room: Capacity
    interruption_seconds: float

    @property
    def message(self) -> str:
        """The way, for people."""
        how = {
            "surge": "the new pod first",
            "inPlace": "an old pod goes first",
            "recreate": "all old pods go first",
            "canary": "all new pods beside the old ones, with a share of the requests that rises by steps",
        }[self.strategy]
        cost = f"nothing answers for up to {self.interruption_seconds:,.0f} s" if self.interruption_seconds else "no interruption"
        return f"{how} (strategy {self.strategy}): {cost}"


@dataclass(frozen=True, kw_only=True)
class Current:
    """What is to be replaced, and by how much.

    Attributes:
        model: The model, for messages.
        environment: The environment, for messages.
        serving: Old pods that are ready.
        replicas: Pods that shall serve.
        down_seconds: How long it takes at the longest from the end of an old pod to a new one that answers: grace period and load budget.
    """

    model: str
    environment: str
    serving: int
    replicas: int
    down_seconds: float


def choose_strategy(policy: RolloutPolicy, current: Current, capacity_for: Callable[[Way], Capacity]) -> Strategy:
    """The best way that there are GPUs for; its room has the refusals if there is none.

    A surge costs nothing but needs GPUs beside those that the old pods hold: on a full pool it would wait for them for ever. In place the
    old pod's own are used.

    Args:
        policy: What the environment says.
        current: What is to be replaced.
        capacity_for: Looks for a strategy's GPUs.
    """
    strategies: tuple[Way, ...] = ("surge", "inPlace") if policy.strategy == "auto" or policy.strategy == "canary" else (policy.strategy,)
    if policy.strategy == "canary" and current.serving:
        # Beside nothing there is nothing to be compared with: a first release goes as with `auto`.
        strategies = ("canary", *(strategies if policy.without_room == "auto" else ()))
    ways = [_strategy(strategy, current, capacity_for(strategy)) for strategy in strategies]
    possible = [way for way in ways if not way.room.refusals]
    for way in possible:
        if not way.interruption_seconds or policy.interruption == "allowed":
            return way
    if possible:
        return replace(possible[0], room=replace(possible[0].room, refusals=(_interrupts(possible[0], current),)))
    # None is possible: what stands in the way of the best one is told.
    return ways[0]


def choose_rollback_strategy(stored: StrategyName | None, current: Current, capacity_for: Callable[[Way], Capacity]) -> Strategy:
    """The way back to a Helm revision, which carries its own strategy; where there are no GPUs for that, all old pods go first.

    Going back is never refused for its interruption: what is there now is what has to go.

    Args:
        stored: The revision's strategy; none if it does not say.
        current: What is to be replaced.
        capacity_for: Looks for a strategy's GPUs.
    """
    way = _strategy(stored or "inPlace", current, capacity_for(stored or "inPlace"))
    if not way.room.refusals:
        return way
    return _strategy("recreate", current, replace(capacity_for("recreate"), refusals=()))


def choose_rollback_strategy_anew(policy: RolloutPolicy, current: Current, capacity_for: Callable[[Way], Capacity]) -> Strategy:
    """The way back where a commit is made for it: the best that there are GPUs for, as for a release, but never refused."""
    way = choose_strategy(replace(policy, interruption="allowed"), current, capacity_for)
    return choose_rollback_strategy("recreate", current, capacity_for) if way.room.refusals else way


def _strategy(strategy: Way, current: Current, room: Capacity) -> Strategy:
    # In place one pod may be missing; of one replica that is the only one.
    all_go = strategy == "recreate" or (strategy == "inPlace" and current.replicas == 1)
    return Strategy(strategy=strategy, room=room, interruption_seconds=current.down_seconds if all_go and current.serving else 0.0)


def _interrupts(way: Strategy, current: Current) -> DoesNotFit:
    return DoesNotFit(
        f"No GPU is free for a new pod of {current.model} beside the old one, and in its place nothing would answer for up to "
        f"{way.interruption_seconds:,.0f} s, which rollout.interruption of deployments/environments/{current.environment}.yaml refuses: "
        "free a GPU, add a node, add a replica, or allow it.",
        interruption_seconds=way.interruption_seconds,
        gpus_free=way.room.free,
    )

"""A canary goes by the steps that it began with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from flows.canary.tasks.steps import with_steps
from flows.delivery.move import Move
from flows.spec import CanaryStep, RolloutPolicy


@dataclass(frozen=True)
class Given:
    """As much of a move, and of its environment, as steps are of."""

    environment: Any = None
    rollout: Any = None


def test_a_run_that_is_taken_up_goes_on_by_the_steps_of_its_beginning() -> None:
    now = RolloutPolicy(strategy="canary", shadow=5, steps=(CanaryStep(weight=5, minutes=1), CanaryStep(weight=100)))
    move = cast("Move", Given(environment=Given(rollout=now)))
    begun = [{"weight": 5, "minutes": 10}, {"weight": 25, "minutes": 10.0}, {"weight": 100, "minutes": None}]

    rollout = with_steps(move, begun).environment.rollout
    assert rollout.steps == (CanaryStep(weight=5, minutes=10), CanaryStep(weight=25, minutes=10), CanaryStep(weight=100))
    assert rollout.shadow == 5
    assert with_steps(move, []).environment.rollout == now

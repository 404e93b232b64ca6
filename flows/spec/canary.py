"""How a canary goes: its steps, what becomes of it when nothing can be told, and what of it makes no sense."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from flows.spec.source import Place
from flows.spec.types import STRICT

#: A week: longer, and what was compared at the beginning has nothing to do with the end.
Minutes = Annotated[float, Field(gt=0, le=10_080)]


@dataclass(frozen=True, kw_only=True)
class CanaryStep:
    """One step of a canary.

    Attributes:
        weight: Share of the requests that the candidate answers, in per cent; with 100, which is the last step, it takes over.
        minutes: For how long it is judged at that share; the last step has none.
        approval: Whether people must agree before it, by the environment's `approval`.
    """

    __pydantic_config__ = STRICT

    weight: Annotated[int, Field(ge=0, le=100)]
    minutes: Minutes | None = None
    approval: bool = False


def canary_problems(strategy: str, steps: Sequence[CanaryStep], shadow: int, keep_minutes: float) -> Iterator[tuple[Place, str]]:
    """What is wrong with a canary of `rollout`: where in it, and a sentence.

    Args:
        strategy: `rollout.strategy`.
        steps: Its steps.
        shadow: Share of the other requests that are sent to the candidate, too, in per cent.
        keep_minutes: For how long what was replaced stays warm.
    """
    if strategy != "canary":
        given = {"steps": bool(steps), "shadow": bool(shadow), "keep_minutes": bool(keep_minutes)}
        for name in [name for name, there in given.items() if there]:
            yield (name,), f"is for a canary, but rollout.strategy is {strategy}: set strategy: canary, or leave {name} out."
        return
    if len(steps) < 2:
        yield ("steps",), "must have a step with a share and the last one: such as [{weight: 5, minutes: 10}, {weight: 100}]."
        return
    last = len(steps) - 1
    for index, step in enumerate(steps):
        if index and step.weight <= steps[index - 1].weight:
            before = steps[index - 1].weight
            problem = f"is {step.weight} after {before}: weights rise from step to step; whoever has met the candidate stays with it."
            yield ("steps", index, "weight"), problem
        if index < last and step.weight < 100 and step.minutes is None:
            yield ("steps", index, "minutes"), f"is missing: say for how many minutes the candidate is judged at {step.weight} %."
        if step.weight == 0 and not shadow:
            yield ("steps", index, "weight"), "is 0 and rollout.shadow is, too: the candidate would get nothing to be judged by."
    if steps[last].weight != 100:
        problem = f"is {steps[last].weight} in the last step: there it must be 100, with which the candidate takes over."
        yield ("steps", last, "weight"), problem
    elif steps[last].minutes is not None:
        yield ("steps", last, "minutes"), "must not be there in the last step: with 100 the candidate takes over, and serves from then on."

"""People may be asked before a step of a canary: once for each step, and whoever promotes skips time and no people."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows.canary import through
from flows.canary.asked import StepAsked, is_begun
from flows.canary.tasks.steps import go_through, take_over, wait_before
from flows.delivery.move import Move
from flows.spec import CanaryStep
from flows.text.markdown import md
from tests.unit.canary.test_watch import CANARY, NOW

STEPS = (
    CanaryStep(weight=5, minutes=1),
    CanaryStep(weight=25, minutes=1, approval=True),
    CanaryStep(weight=50, minutes=1),
    CanaryStep(weight=100, approval=True),
)
ASKED = StepAsked(number=1, of=4, weight=25, now=5, began_at=NOW, verdict={"outcome": "none"}, page=md(""))


def done(monkeypatch: pytest.MonkeyPatch, promoted_at: int | None = None, begun: int = -1, steps: Any = STEPS) -> list[str]:
    """What a canary of these steps does, one after the other; up to a step it was begun before."""
    said: list[str] = []

    async def acted(what: object, move: Move, number: int = -1, weight: int = -1) -> object:
        if what is wait_before:
            return replace(ASKED, number=number) if number > begun else None
        said.append("take over" if what is take_over else f"{weight} %")
        return what is go_through and number == promoted_at

    async def ask(asked: StepAsked) -> None:
        said.append(f"ask {asked.number}")

    monkeypatch.setattr(through, "run", acted)
    monkeypatch.setattr(through, "call", acted)
    move = SimpleNamespace(environment=SimpleNamespace(rollout=SimpleNamespace(steps=steps)))
    asyncio.run(through.by_steps(cast("Move", move), ask))
    return said


def test_people_are_asked_before_the_steps_that_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert done(monkeypatch) == ["5 %", "ask 1", "25 %", "50 %", "ask 3", "take over"]


def test_a_step_that_was_begun_is_not_asked_about_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert done(monkeypatch, begun=1) == ["5 %", "25 %", "50 %", "ask 3", "take over"]
    assert done(monkeypatch, begun=3) == ["5 %", "25 %", "50 %", "take over"]


def test_whoever_promotes_it_skips_time_and_no_people(monkeypatch: pytest.MonkeyPatch) -> None:
    assert done(monkeypatch, promoted_at=0) == ["5 %", "ask 1", "25 %", "50 %", "ask 3", "take over"]
    assert done(monkeypatch, promoted_at=1) == ["5 %", "ask 1", "25 %", "ask 3", "take over"]
    assert done(monkeypatch, promoted_at=0, steps=tuple(replace(step, approval=False) for step in STEPS)) == ["5 %", "take over"]


@pytest.mark.parametrize(
    ("changes", "number", "begun"),
    [
        ({"phase": "coming", "step": 0, "weight": 0}, 0, False),
        ({"phase": "held", "step": 0, "weight": 0}, 0, False),  # waits before the first one, which is sent copies alone
        ({"phase": "running", "step": 0, "weight": 0, "shadow": 10}, 0, True),
        ({"phase": "running", "step": 0, "weight": 5}, 1, False),
        ({"phase": "held", "step": 1, "weight": 5}, 1, False),  # waits before it, with the share of the one before
        ({"phase": "held", "step": 1, "weight": 5}, 0, True),
        ({"phase": "held", "step": 1, "weight": 25}, 1, True),  # held by a person, in the middle of it
        ({"phase": "held", "step": 2, "weight": 25}, 2, False),
        ({"phase": "taking_over", "step": 2, "weight": 100}, 2, True),
    ],
)
def test_a_step_is_begun_when_its_share_is_given(changes: dict[str, Any], number: int, begun: bool) -> None:
    assert (
        is_begun(replace(CANARY, **changes), number, (0 if changes.get("shadow") or changes["weight"] == 0 else 5, 25, 100)[number])
        is begun
    )


def test_another_step_share_or_verdict_is_another_question() -> None:
    others = [
        replace(ASKED, number=2), replace(ASKED, weight=50), replace(ASKED, now=0), replace(ASKED, verdict={}),
        replace(ASKED, began_at=NOW.replace(hour=1)),
    ]  # fmt: skip

    assert ASKED.document() not in [other.document() for other in others]
    assert ASKED.document() == replace(ASKED, page=md("in other words")).document()

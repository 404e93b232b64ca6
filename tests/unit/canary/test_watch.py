"""At each look a canary goes on, takes over, waits or ends: by what the judge says, by what people wish, and by the step's time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.facts.canary import Canary
from flows.canary.judge import Verdict
from flows.canary.watch import Next, next_move
from flows.errors import CanaryAborted, CanaryHarmful, CanaryInconclusive
from flows.spec import CanaryStep, RolloutPolicy

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
STEPS = (CanaryStep(weight=5, minutes=10), CanaryStep(weight=25, minutes=20), CanaryStep(weight=100))
POLICY = RolloutPolicy(strategy="canary", steps=STEPS)
UNDECIDED = Verdict(
    outcome="undecided",
    reason="errors may be 2 points more.",
    e_value=1.0,
    limit=20.0,
    leading=None,
    findings=(),
    unknown=(),
    seconds=600.0,
    current_requests=1000,
    canary_requests=50,
    more_seconds=None,
)
NONE, HARM = replace(UNDECIDED, outcome="none", reason="no harm."), replace(UNDECIDED, outcome="harm", reason="errors are 9 points more.")
CANARY = Canary(
    organisation=None, model="tiny", environment="production", run_id="run", stable="1" * 64, canary="2" * 64, endpoint="tiny-canary:8000",
    weight=25, shadow=0, phase="running", step=1, steps=(), began_at=NOW, since=NOW - timedelta(minutes=20), until=NOW, judge={},
    judged_at=None,
    wish=None, wish_actor=None, wish_reason=None, wished_at=None, outcome=None, outcome_reason=None,
)  # fmt: skip


def at(verdict: Verdict, extended: int = 0, policy: RolloutPolicy = POLICY, **changes: Any) -> Next:
    return next_move(replace(CANARY, **changes), verdict, policy, extended, NOW)


def wished(wish: str, verdict: Verdict = UNDECIDED, **changes: Any) -> Next:
    return at(verdict, wish=wish, wish_actor="ada", wish_reason="I say so", wished_at=NOW, **changes)


def test_harm_ends_it_at_once_whatever_anybody_wishes() -> None:
    for found in (at(HARM, until=NOW + timedelta(minutes=9)), at(HARM, phase="held"), wished("promote", HARM)):
        assert found.move == "end"
        assert isinstance(found.error, CanaryHarmful)
    assert str(found.error) == ("tiny in production: the canary does harm at 25 %: errors are 9 points more. What served serves all again.")


def test_a_canary_whose_pods_are_gone_ends_though_nothing_of_it_can_be_judged() -> None:
    seen = [next_move(CANARY, UNDECIDED, POLICY, 0, NOW, down_seconds) for down_seconds in (29.0, 30.0)]

    assert [(each.move, type(each.error)) for each in seen] == [("extend", type(None)), ("end", CanaryHarmful)]
    assert str(seen[1].error) == (
        "tiny in production: the canary does harm: none of its pods has been ready for 30 s at 25 %. What served serves all again."
    )


def test_a_step_lasts_for_its_time_however_well_it_goes() -> None:
    assert at(NONE, until=NOW + timedelta(seconds=1)).move == "look"
    assert at(NONE).move == "next"


def test_what_cannot_be_told_in_time_is_extended_and_then_ends() -> None:
    found = at(UNDECIDED)
    assert (found.move, found.until) == ("extend", NOW + timedelta(minutes=10))
    assert at(UNDECIDED, extended=2).move == "extend"
    found = at(UNDECIDED, extended=3)
    assert (found.move, type(found.error)) == ("end", CanaryInconclusive)
    assert "the canary got 50 request(s) in 10.0 min after 3 extension(s), which do not tell: errors may be 2 points more." in str(
        found.error
    )


@pytest.mark.parametrize(("policy", "move"), [("go_on", "next"), ("ask", "hold"), ("end", "end"), ("extend", "extend")])
def test_what_cannot_be_told_goes_as_the_environment_says(policy: Any, move: str) -> None:
    assert at(UNDECIDED, policy=replace(POLICY, inconclusive=policy)).move == move


def test_people_promote_abort_hold_and_resume() -> None:
    assert (wished("promote").move, wished("promote").heeds) == ("promote", NOW)
    assert (wished("hold", until=NOW + timedelta(minutes=5)).move, wished("hold").until) == ("hold", None)
    found = wished("resume", phase="held", until=None)
    assert (found.move, found.until) == ("resume", NOW + timedelta(minutes=20))
    found = wished("abort")
    assert (found.move, type(found.error)) == ("end", CanaryAborted)
    assert str(found.error) == "tiny in production: ada ended the canary (I say so); what served serves all again."


def test_a_canary_that_is_held_waits_for_people_but_not_for_ever() -> None:
    held = {"phase": "held", "until": None}
    assert at(NONE, **held, since=NOW - timedelta(hours=23)).move == "look"
    found = at(NONE, **held, since=NOW - timedelta(hours=24))
    assert (found.move, type(found.error)) == ("end", CanaryInconclusive)

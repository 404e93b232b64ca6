"""What becomes of an environment in which a candidate failed."""

from __future__ import annotations

from typing import Any

import pytest

from flows.recovery.decide import Aftermath, after_failure
from flows.rollout.judge import still_serves
from flows.spec import FailurePolicy
from tests.support.examples import pod

OLD, NEW = "a" * 64, "b" * 64


def decide(policy: FailurePolicy | None = None, *, keep: bool = False, **changes: Any) -> tuple[str, str | None]:
    seen = {"candidate": NEW, "replaces": OLD, "deployed": True}
    decision = after_failure(Aftermath(**{**seen, **changes}), policy or FailurePolicy(), keep=keep)
    return decision.step, decision.to


def test_what_was_not_deployed_is_left_as_it_is() -> None:
    assert decide(deployed=False) == ("nothing", None)
    assert decide(deployed=False, replaces=None) == ("nothing", None)
    assert decide(replaces=NEW) == ("nothing", None)  # the same candidate again: there is nothing else to go back to


def test_what_served_comes_back_unless_a_person_is_to_say_so() -> None:
    assert decide() == ("roll_back", OLD)
    assert decide(keep=True) == ("roll_back", OLD)
    assert decide(FailurePolicy(go_back="ask")) == ("ask", OLD)
    # also where its last verdict was not good: only a verification makes it ready again, and nothing else is known to have served
    assert decide(verified_before=False) == ("roll_back", OLD)


def test_where_nothing_ever_served_what_failed_goes_unless_it_is_kept() -> None:
    assert decide(replaces=None) == ("remove", None)
    assert decide(replaces=None, keep=True) == ("keep", None)
    assert decide(FailurePolicy(first="keep"), replaces=None) == ("keep", None)
    # it failed over another failed release: what was verified before that can be gone back to
    assert decide(replaces=None, verified_before=True) == ("keep", None)


@pytest.mark.parametrize(("replaces", "deployed"), [(None, False), (None, True), (OLD, False)])
def test_a_way_back_that_was_interrupted_is_gone_to_its_end(replaces: str | None, deployed: bool) -> None:
    # the run had failed with NEW, and was on its way back to OLD
    assert decide(candidate=OLD, replaces=replaces, deployed=deployed, rolling_back=True) == ("roll_back", OLD)
    assert decide(candidate=OLD, replaces=OLD, rolling_back=True) == ("nothing", None)


def test_the_endpoint_is_still_the_old_ones_only_while_no_new_pod_is_ready() -> None:
    old, new = pod(label="old"), pod(label="new")

    assert still_serves([old, old], "old")
    assert still_serves([old, pod(label="new", ready=False)], "old")
    assert not still_serves([old, new], "old")
    assert not still_serves([pod(label="old", ready=False)], "old")
    assert not still_serves([pod(label="old", terminating=True)], "old")
    assert not still_serves([], "old")

"""What becomes of an environment in which a candidate failed."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.facts.registry import Event
from flows.record.history import Failure, settled, unsettled
from flows.recovery.decide import Aftermath, after_failure
from flows.rollout.judge import still_serves
from flows.spec import FailurePolicy
from tests.support.examples import event, pod


def happened(kind: str, fingerprint: str = "new", run_id: str = "mine", **detail: Any) -> Event:
    return event(kind, fingerprint=fingerprint, run_id=run_id, detail=detail)


OLD, NEW = "a" * 64, "b" * 64

BEGUN = happened("deploying", replaces="old")
FAILED = happened("failed", reason="RolloutStalled: no", deployed=True)


def newest_first(*events: Event) -> list[Event]:
    return list(reversed(events))


def test_a_failure_after_the_cluster_was_told_is_owed_a_way_back() -> None:
    events = newest_first(happened("ready", "old", "another"), BEGUN, happened("verified"), FAILED)

    assert unsettled(events, "new", "mine") == Failure(reason="RolloutStalled: no", replaces="old")


def test_a_run_that_was_killed_on_the_way_back_goes_on() -> None:
    events = newest_first(BEGUN, FAILED, happened("deploying", "old"), happened("ready", "old"))

    assert unsettled(events, "new", "mine") is not None


@pytest.mark.parametrize("kind", ["rolled_back", "rollback_failed", "rollback_declined", "removed", "kept", "cleaned_up"])
def test_what_was_settled_is_not_settled_twice(kind: str) -> None:
    assert unsettled(newest_first(BEGUN, FAILED, happened(kind, "old")), "new", "mine") is None


def test_a_run_that_is_lost_after_it_settled_its_failure_has_only_to_end() -> None:
    events = newest_first(BEGUN, FAILED, happened("deploying", "old"), happened("ready", "old"), happened("rolled_back", "old"))

    assert settled(events, "new", "mine") == Failure(reason="RolloutStalled: no", replaces=None)
    assert settled(events, "other", "mine") is None
    assert settled(events, "new", "another") is None
    assert settled([BEGUN, *events], "new", "mine") is None, "it began anew"
    assert settled(newest_first(BEGUN, FAILED), "new", "mine") is None


@pytest.mark.parametrize("kind", ["deploying", "ready", "failed"])
def test_what_another_run_has_done_since_is_not_undone(kind: str) -> None:
    assert unsettled(newest_first(BEGUN, FAILED, happened(kind, "other", "another")), "new", "mine") is None


@pytest.mark.parametrize(
    "events",
    [
        newest_first(),
        newest_first(BEGUN),
        newest_first(BEGUN, happened("failed", reason="no", deployed=False)),
        newest_first(BEGUN, happened("ready")),
        newest_first(happened("deploying", "old"), happened("failed", "old", reason="no", deployed=True)),
        newest_first(BEGUN, FAILED, happened("rolled_back", "old"), BEGUN),
    ],
)
def test_nothing_is_owed_where_nothing_failed_or_nothing_was_touched(events: list[Event]) -> None:
    assert unsettled(events, "new", "mine") is None


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

"""Which runs are taken up again, and what is done about what a run began and never ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flows.recovery.orphans import EndedRun, sentence, way_out, why_clean_up
from flows.recovery.stalled import Past, ResumeStep, SeenRun, StallLimits, resume_step, why_abandoned
from flows.spec import FailurePolicy
from tests.support.examples import BEGIN

RUN = SeenRun(run_id="r1", name="release tiny main", model="tiny", phase="running", state_id="s3", began=BEGIN, sign_of_life=BEGIN)
NEW, OLD = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("phase", "silent_seconds", "step"),
    [
        ("running", 119, "leave"),
        ("running", 121, "crashed"),
        ("pending", 599, "leave"),
        ("pending", 601, "crashed"),
        ("cancelling", 119, "leave"),
        ("cancelling", 121, "cancelled"),
        ("crashed", 0, "resume"),
    ],
)
def test_a_run_without_a_sign_of_life_is_dead_and_a_dead_one_is_taken_up(phase: str, silent_seconds: float, step: ResumeStep) -> None:
    run = replace(RUN, phase=phase)  # type: ignore[arg-type]

    assert resume_step(run, Past(), StallLimits(), BEGIN + timedelta(seconds=silent_seconds)) == step


@pytest.mark.parametrize(
    ("past", "step"),
    [
        (Past(crashes=frozenset({"s1"})), "resume"),
        (Past(crashes=frozenset({"s1", "s2"})), "abandon"),
        # whoever counted this very crash was killed before Prefect was told
        (Past(crashes=frozenset({"s2", "s3"})), "resume"),
        (Past(crashes=frozenset({"s1", "s2"}), abandoned=True), "leave"),
        (Past(overtaken_by="r2"), "abandon"),
        (Past(crashes=frozenset({"s3"}), overtaken_by="r2"), "resume"),
    ],
)
def test_a_run_is_taken_up_twice_and_not_over_another_one(past: Past, step: ResumeStep) -> None:
    assert resume_step(replace(RUN, phase="crashed"), past, StallLimits(), BEGIN) == step


def test_why_it_is_not_is_said() -> None:
    assert why_abandoned(Past(crashes=frozenset({"s1", "s2"}))) == "it crashed again after it was taken up 2 times"
    assert why_abandoned(Past(overtaken_by="r2")) == "run r2 has begun with the model since"
    assert why_abandoned(Past()) == ""


@pytest.mark.parametrize(
    ("state", "final", "abandoned", "why"),
    [
        ("", False, False, "its run is gone from Prefect"),
        ("Running", False, False, ""),
        ("Suspended", False, False, ""),
        ("Crashed", True, False, ""),
        ("Crashed", True, True, "its run crashed and was given up"),
        ("Cancelled", True, False, "its run was cancelled"),
        ("Errored", True, False, "its run ended as Errored before it could record that"),
    ],
)
def test_only_what_nobody_will_end_is_cleaned_up(state: str, final: bool, abandoned: bool, why: str) -> None:
    run = EndedRun(state=state, final=final, crashed=state == "Crashed", abandoned=abandoned)

    assert why_clean_up(run) == why
    # a run that failed and said so may have meant to leave it at that
    assert why_clean_up(run, failed=True) == ("" if state == "Errored" else why)


def way(candidate: str = NEW, **changes: Any) -> tuple[str, str | None]:
    seen = {"replaces": OLD, "carried": NEW, "returning": False, "good": {OLD}, "policy": FailurePolicy()}
    return way_out(candidate=candidate, **{**seen, **changes})  # type: ignore[arg-type]


def test_what_was_not_deployed_is_left_as_it_is() -> None:
    assert way(carried=OLD) == ("none", None)
    assert way(carried=None, replaces=None, good=set()) == ("none", None)
    assert way(replaces=NEW, good={NEW}) == ("none", None)  # the same candidate again


def test_what_served_well_comes_back_unless_a_person_is_to_say_so() -> None:
    assert way() == ("back", OLD)
    assert way(policy=FailurePolicy(go_back="ask")) == ("ask", OLD)
    assert way(good={"c" * 64}) == ("leave", None)  # a rollback from what was bad already


def test_where_nothing_ever_served_the_release_goes_unless_it_is_kept() -> None:
    assert way(replaces=None, good=set()) == ("remove", None)
    assert way(replaces=None, good=set(), policy=FailurePolicy(first="keep")) == ("leave", None)
    assert way(replaces=None) == ("leave", None)


@pytest.mark.parametrize(("replaces", "carried"), [(None, NEW), (None, OLD), (OLD, NEW)])
def test_a_way_back_that_was_interrupted_is_gone_to_its_end(replaces: str | None, carried: str) -> None:
    # the run had failed with NEW, and was on its way back to OLD
    assert way(candidate=OLD, replaces=replaces, carried=carried, returning=True) == ("back", OLD)
    assert way(candidate=OLD, replaces=OLD, carried=OLD, returning=True) == ("none", None)


def test_what_is_left_is_said_exactly() -> None:
    assert sentence("back", NEW, OLD, "Helm release tiny-production", 1) == (
        f"Helm release tiny-production may carry candidate {NEW[:12]}, which is not routed; a run of its own takes it back to {OLD[:12]}. "
        "1 Job of the run was ended."
    )
    assert sentence("none", NEW, None, "Helm release tiny-production", 0) == "The cluster was not changed: what served there still does."

"""Which runs are taken up again, and what is done about what a run began and never ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from flows.recovery.stalled import Past, ResumeStep, SeenRun, StallLimits, resume_step, why_abandoned
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

"""What runs began that nobody ends any more: why, and what is left of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from blocks.facts.canary import Canary, Phase
from flows.recovery.decide import Decision
from flows.recovery.orphans import EndedRun, Orphaned, what_is_left, what_leaves, why_orphaned

OLD, NEW = "a" * 64, "b" * 64
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CANARY = Canary(
    organisation=None, model="tiny", environment="production", run_id="run", stable=OLD, canary=NEW, endpoint="tiny-canary:8000",
    weight=25, shadow=0, phase="running", step=1, steps=(), began_at=NOW, since=NOW, until=None, judge={}, judged_at=None,
    wish=None, wish_actor=None, wish_reason=None, wished_at=None, outcome=None, outcome_reason=None,
)  # fmt: skip
FAILED = EndedRun(state="Failed", final=True, crashed=False, abandoned=False)


@pytest.mark.parametrize(
    ("state", "final", "abandoned", "why"),
    [
        ("", False, False, Orphaned(kind="Abandoned", message="its run is gone from Prefect")),
        ("Running", False, False, None),
        ("Suspended", False, False, None),
        ("Crashed", True, False, None),
        ("Crashed", True, True, Orphaned(kind="Abandoned", message="its run crashed and was given up")),
        ("Cancelled", True, False, Orphaned(kind="Cancelled", message="its run was cancelled")),
        ("Errored", True, False, Orphaned(kind="Abandoned", message="its run ended as Errored before it could record that")),
    ],
)
def test_only_what_nobody_will_end_is_cleaned_up(state: str, final: bool, abandoned: bool, why: Orphaned | None) -> None:
    run = EndedRun(state=state, final=final, crashed=state == "Crashed", abandoned=abandoned)

    assert why_orphaned(run) == why
    # a run that failed and said so may have meant to leave it at that
    assert why_orphaned(run, failed=True) == (None if state == "Errored" else why)


def test_what_is_left_is_said_exactly() -> None:
    assert what_is_left(Decision(step="roll_back", to=OLD), NEW, "Helm release tiny-production", 1) == (
        f"Helm release tiny-production may carry candidate {NEW[:12]}, which is not routed; a run of its own takes it back to {OLD[:12]}. "
        "1 Job of the run was ended."
    )
    assert what_is_left(Decision(step="nothing"), NEW, "Helm release tiny-production", 0) == (
        "The cluster was not changed: what served there still does."
    )


@pytest.mark.parametrize("phase", ["coming", "running", "held", "taking_over"])
def test_of_a_canary_whose_run_is_over_the_tried_one_goes(phase: Phase) -> None:
    canary = replace(CANARY, phase=phase)
    found = what_leaves(canary, OLD, FAILED, NOW)

    assert found is not None
    assert (found.fingerprint, found.outcome, found.reason) == (NEW, "abandoned", "its run ended as Failed before it could record that")
    # one that is under way, or that crashed and may be taken up again, looks after it by itself
    assert what_leaves(canary, OLD, replace(FAILED, state="Running", final=False), NOW) is None
    assert what_leaves(canary, OLD, replace(FAILED, state="Crashed", crashed=True), NOW) is None


def test_of_a_canary_that_serves_the_old_one_goes_when_its_time_is_up() -> None:
    warm = replace(CANARY, phase="warm", weight=0, until=NOW)
    found = what_leaves(warm, NEW, None, NOW)

    assert found is not None
    assert (found.fingerprint, found.outcome) == (OLD, "promoted")
    assert what_leaves(warm, NEW, None, NOW - timedelta(seconds=1)) is None
    # its run was lost between the record and the end
    assert what_leaves(replace(CANARY, phase="taking_over"), NEW, FAILED, NOW) == replace(
        found, canary=replace(CANARY, phase="taking_over")
    )

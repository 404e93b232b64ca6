"""What runs began that nobody ends any more: why, and what is left of it."""

from __future__ import annotations

import pytest

from flows.recovery.decide import Decision
from flows.recovery.orphans import EndedRun, Orphaned, what_is_left, why_orphaned

OLD, NEW = "a" * 64, "b" * 64


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

"""What a resumed run finds again: the key of a result is of the run, the task and its subject, and of nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prefect import Task, task

from flows.spec.load import ROOT
from flows.tasks.policy import ONCE, once_per_run
from tests.examples import candidate, environment


def key(of: Task[..., Any], run: str = "run-1", **parameters: object) -> str:
    context = SimpleNamespace(task_run=SimpleNamespace(flow_run_id=run), task=of)
    return once_per_run(context, parameters)  # type: ignore[arg-type]


def resolve_before(candidate: object) -> str:
    return "as it was when the run was suspended"


def resolve_after(candidate: object) -> str:
    return "as it is when the run goes on, edited meanwhile"


def test_a_task_whose_source_changed_during_the_wait_is_not_done_again() -> None:
    before, after = task(name="resolve", **ONCE)(resolve_before), task(name="resolve", **ONCE)(resolve_after)

    assert before.cache_key_fn is once_per_run
    assert key(before, candidate=candidate()) == key(after, candidate=candidate())


@pytest.mark.parametrize(
    "other",
    [
        {"run": "run-2", "candidate": candidate()},
        {"candidate": candidate(commit="f" * 40)},
        {"candidate": candidate(), "environment": environment()},
        {"candidate": candidate(), "reason": "another"},
    ],
    ids=["run", "candidate", "environment", "argument"],
)
def test_another_subject_is_another_result(other: dict[str, Any]) -> None:
    resolve = task(name="resolve", **ONCE)(resolve_before)

    assert key(resolve, **other) != key(resolve, candidate=candidate())


def test_the_key_can_be_a_file_however_long_a_reason_is() -> None:
    resolve = task(name="resolve", **ONCE)(resolve_before)

    assert max(len(part) for part in key(resolve, reason="why / " * 500).split("/")) < 100


def test_nothing_is_rolled_back_by_being_suspended() -> None:
    """Prefect's transactions roll back when a run is suspended inside of one; no flow uses them."""
    users = [path for path in (ROOT / "flows").rglob("*.py") if "prefect.transactions" in path.read_text()]

    assert users == []

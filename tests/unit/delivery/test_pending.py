"""What is done about a Helm operation that was killed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from blocks.errors import HelmBusy, HelmStuck
from blocks.facts import HelmRevision
from blocks.helm.command import field_conflict
from flows.delivery.pending import choose_repair, require_idle

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def revision(number: int, status: str, fingerprint: str | None = None, age: float = 60.0) -> HelmRevision:
    return HelmRevision(
        release="tiny",
        revision=number,
        status=status,
        fingerprint=fingerprint or f"f{number}",
        strategy="surge",
        replicas=1,
        values_sha256="",
        updated_at=NOW - timedelta(seconds=age),
    )


@pytest.mark.parametrize(
    ("revisions", "wanted", "kind", "target"),
    [
        ([revision(2, "pending-upgrade"), revision(1, "deployed")], "f2", "finish", 2),
        ([revision(2, "pending-upgrade"), revision(1, "deployed")], "f3", "return", 1),
        ([revision(2, "pending-upgrade"), revision(1, "deployed")], "f1", "return", 1),
        ([revision(2, "pending-upgrade"), revision(1, "deployed")], None, "return", 1),
        ([revision(3, "pending-rollback", "f1"), revision(2, "failed"), revision(1, "deployed")], "f1", "finish", 3),
        ([revision(3, "pending-upgrade"), revision(2, "failed"), revision(1, "superseded")], "f4", "return", 1),
        ([revision(1, "pending-install")], "f1", "finish", 1),
        ([revision(1, "pending-install")], "f2", "remove", None),
        ([revision(2, "pending-upgrade"), revision(1, "failed")], None, "remove", None),
        ([revision(1, "uninstalling")], "f1", "remove", None),
    ],
)
def test_what_was_begun_with_the_wanted_candidate_is_finished_and_all_else_taken_back(
    revisions: list[HelmRevision], wanted: str | None, kind: str, target: int | None
) -> None:
    repair = choose_repair(revisions, wanted)

    assert repair is not None
    assert (repair.kind, repair.revision) == (kind, target)
    assert "tiny" in repair.message


@pytest.mark.parametrize("status", ["deployed", "failed", "uninstalled", "superseded"])
def test_a_release_at_rest_needs_no_repair(status: str) -> None:
    assert choose_repair([revision(1, status)], "f1") is None
    require_idle(revision(1, status), NOW, 30.0)


def test_no_release_needs_no_repair() -> None:
    assert choose_repair([], "f1") is None
    require_idle(None, NOW, 30.0)


def test_a_young_operation_may_be_alive_and_an_old_one_was_killed() -> None:
    with pytest.raises(HelmBusy, match="pending-upgrade for 29 s"):
        require_idle(revision(2, "pending-upgrade", age=29.0), NOW, 30.0)
    with pytest.raises(HelmStuck, match="was killed"):
        require_idle(revision(2, "pending-upgrade", age=31.0), NOW, 30.0)


def test_a_conflict_names_who_changed_what() -> None:
    said = (
        "UPGRADE FAILED: conflict occurred while applying object a/b apps/v1, Kind=Deployment: Apply failed with 3 conflicts: "
        'conflicts with "kubectl-edit" using apps/v1: - .spec.template.spec.containers[name="vllm"].image - .spec.paused '
        'conflicts with "kubectl" with subresource "scale" using apps/v1: - .spec.replicas'
    )

    conflict = field_conflict(said)

    assert conflict is not None
    assert conflict.facts["owners"] == ["kubectl", "kubectl-edit"]
    assert conflict.facts["fields"] == [".spec.paused", ".spec.replicas", '.spec.template.spec.containers[name="vllm"].image']
    assert field_conflict("UPGRADE FAILED: something else") is None

"""What is asked of Argo CD, look by look, until a commit is in place or it is clear why it never will be."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.errors import SyncStalled
from blocks.facts.argocd import Application, ApplicationSource, ArgoOperation
from flows.delivery.application import SyncPolicy, unfit, wanted_revisions
from flows.delivery.git import or_by_hand
from flows.delivery.sync import Asked, Stalled, is_synced_and_differs, next_sync_step, noted, stepped
from flows.spec import IgnoredDifference

COMMIT, OLD, LATER = "c" * 40, "a" * 40, "e" * 40
GIT = "https://git.example.com/deployments.git"
VALUES = "environments/production/tiny/values.yaml"
THEN = datetime(2026, 11, 24, 12, tzinfo=UTC)

MANUAL = SyncPolicy(repository=GIT, values_file=VALUES, namespace="llm-production", automated=False, requester="zoe")
AUTOMATED = replace(MANUAL, automated=True)

SOURCE = ApplicationSource(
    repository=GIT, target="main", path="charts/vllm-deployment", value_files=(f"/{VALUES}",), release_name="tiny-production"
)
APPLICATION = Application(
    name="tiny-production",
    namespace="argocd",
    sources=(SOURCE,),
    destination_namespace="llm-production",
    sync_status="Synced",
    revisions=(OLD,),
    health="Healthy",
    reconciled_at=THEN,
    conditions={},
)
CHART = ApplicationSource(
    repository="registry.example.com/charts",
    chart="vllm-deployment",
    target="1.2.3",
    value_files=(f"$values/{VALUES}",),
    release_name="tiny-production",
)


def operation(phase: str, commit: str = COMMIT, **more: Any) -> ArgoOperation:
    return ArgoOperation(phase=phase, **{"revisions": (commit,), "started_at": THEN, "finished_at": THEN, **more})


def app(**changes: Any) -> Application:
    return replace(APPLICATION, **changes)


def decide(seen: Application, policy: SyncPolicy, asked: Asked | None = None, waited: float = 0, **more: Any) -> Any:
    looked = noted(asked or Asked(), seen, waited)
    return next_sync_step(seen, COMMIT, policy, looked, waited_seconds=waited, limit_seconds=more.pop("limit", 300), **more)


def test_an_application_that_has_the_commit_in_place_needs_nothing() -> None:
    for policy in (MANUAL, AUTOMATED):
        assert decide(app(revisions=(COMMIT,)), policy) == "done"


@pytest.mark.parametrize("health", ["Progressing", "Degraded", "Missing", "Unknown", ""])
def test_health_is_judged_where_the_rollout_is_watched(health: str) -> None:
    assert decide(app(revisions=(COMMIT,), health=health), AUTOMATED) == "done"


@pytest.mark.parametrize("status", ["OutOfSync", "Unknown", ""])
def test_a_commit_that_is_known_but_not_in_place_is_not_done(status: str) -> None:
    assert decide(app(revisions=(COMMIT,), sync_status=status), AUTOMATED) != "done"


def test_nothing_is_done_while_an_operation_runs_or_waits_to_run() -> None:
    assert decide(app(revisions=(COMMIT,), operation=operation("Running")), AUTOMATED) == "wait"
    assert decide(app(revisions=(COMMIT,), requested=True), MANUAL) == "wait"


def test_what_takes_everything_away_is_asked_for_even_where_argo_syncs_by_itself() -> None:
    skipped = app(automated=True, sync_status="OutOfSync", revisions=(COMMIT,), conditions={"SyncError": "auto-sync will wipe out all"})
    emptied = replace(AUTOMATED, empties=True)

    # before Argo CD knows of it, it would put back what it knows of
    assert decide(app(automated=True, sync_status="OutOfSync"), emptied) == "refresh"
    assert decide(skipped, emptied) == "sync"
    assert decide(skipped, emptied, Asked(syncs=1, synced=0), waited=1) == "wait"
    assert decide(app(automated=True, revisions=(COMMIT,)), emptied) == "done"


def test_a_removal_that_argo_does_not_come_to_says_what_is_left_and_what_ends_it() -> None:
    with pytest.raises(SyncStalled) as caught, or_by_hand("tiny-production", "argocd", COMMIT):
        raise SyncStalled("Argo CD did not come to it.", application="tiny-production")

    said, _, command = caught.value.message.partition(" until Argo CD has synced it: ")
    assert said == f"Argo CD did not come to it. Git says since {COMMIT[:12]} that nothing is released there, but pods may hold GPUs"
    assert caught.value.facts == {"application": "tiny-production"}
    *kubectl, patch = shlex.split(command)
    assert kubectl == ["kubectl", "patch", "application", "-n", "argocd", "tiny-production", "--type", "merge", "-p"]
    assert json.loads(patch)["operation"]["sync"] == {"revision": COMMIT, "prune": True}


def test_where_argo_syncs_by_itself_it_is_only_told_to_look() -> None:
    behind = app(automated=True)
    assert decide(behind, AUTOMATED) == "refresh"

    asked = stepped(Asked(), "refresh", 0)
    assert decide(app(automated=True, refreshing=True), AUTOMATED, asked, 5) == "wait"
    assert decide(app(automated=True, requested=True, sync_status="OutOfSync", revisions=(COMMIT,)), AUTOMATED, asked, 6) == "wait"
    assert decide(app(automated=True, operation=operation("Running"), sync_status="OutOfSync"), AUTOMATED, asked, 7) == "wait"
    assert decide(app(automated=True, operation=operation("Succeeded"), revisions=(COMMIT,)), AUTOMATED, asked, 8) == "done"


def test_argo_is_told_to_look_again_after_ten_seconds_and_not_before() -> None:
    asked = stepped(Asked(), "refresh", 20)

    assert decide(app(automated=True), AUTOMATED, asked, 29) == "wait"
    assert decide(app(automated=True), AUTOMATED, asked, 30) == "refresh"


def test_a_sync_that_argo_does_not_begin_by_itself_is_asked_for() -> None:
    """It may find that only something is to be pruned, or that the commit was synced before and drifted since."""
    differs = app(automated=True, revisions=(COMMIT,), sync_status="OutOfSync")
    asked = replace(stepped(Asked(), "refresh", 0), differs_since=1.0)

    assert decide(differs, AUTOMATED, asked, 9) == "wait"
    assert decide(differs, AUTOMATED, asked, 16) == "sync"
    # Before Argo CD knows the commit, there is nothing that it could be late with.
    assert decide(app(automated=True, sync_status="OutOfSync"), AUTOMATED, asked, 16) == "refresh"


def test_where_argo_syncs_only_when_asked_it_is_asked_for_the_commit_at_once() -> None:
    assert decide(app(), MANUAL) == "sync"
    assert decide(app(revisions=(COMMIT,), sync_status="OutOfSync"), MANUAL) == "sync"
    assert decide(app(sync_status="", revisions=(), reconciled_at=None), MANUAL) == "sync"


def test_a_sync_of_something_else_is_waited_for_and_then_followed_by_ours() -> None:
    assert decide(app(operation=operation("Running", OLD)), MANUAL) == "wait"
    assert decide(app(operation=operation("Succeeded", OLD)), MANUAL) == "sync"
    assert decide(app(operation=operation("Succeeded", whole=False), sync_status="OutOfSync"), MANUAL) == "sync"


def test_after_its_sync_argo_may_remember_an_older_branch_and_is_told_to_look() -> None:
    stale = app(operation=operation("Succeeded"), sync_status="OutOfSync")

    assert decide(stale, MANUAL, stepped(Asked(), "sync", 0), 2) == "refresh"
    assert decide(app(operation=operation("Succeeded"), revisions=(COMMIT,)), MANUAL) == "done"


@pytest.mark.parametrize("policy", [MANUAL, AUTOMATED], ids=["manual", "automated"])
def test_a_branch_that_went_on_for_other_models_changes_nothing(policy: SyncPolicy) -> None:
    finished = operation("Succeeded", finished_at=THEN)
    further = app(revisions=(LATER,), operation=finished)
    assert decide(further, policy) == "done"
    assert decide(app(revisions=(LATER,)), policy, same={LATER}) == "done"

    # It counts only if Argo CD compared after the sync, and the sync was of everything.
    assert decide(replace(further, reconciled_at=THEN - timedelta(seconds=1)), policy) != "done"
    assert decide(replace(further, reconciled_at=None), policy) != "done"
    assert decide(replace(further, sync_status="OutOfSync"), policy) != "done"
    assert decide(replace(further, operation=replace(finished, whole=False)), policy) != "done"
    assert decide(replace(further, operation=replace(finished, phase="Failed")), policy) != "done"


def test_a_failed_sync_is_asked_for_again_after_pauses_and_then_told_in_argos_words() -> None:
    failed = app(automated=True, revisions=(COMMIT,), sync_status="OutOfSync", operation=operation("Failed", message="no quota."))
    for policy in (MANUAL, AUTOMATED):
        steps, asked = [], Asked(refreshed=0.0)
        for waited in range(60):
            asked = noted(asked, failed, waited)
            step = next_sync_step(failed, COMMIT, policy, asked, waited_seconds=waited, limit_seconds=300)
            if isinstance(step, Stalled):
                steps.append((waited, step.message))
                break
            if step == "sync":
                steps.append((waited, step))
            asked = stepped(asked, step, waited)
        said = f"The Argo CD Application tiny-production in argocd was asked 3 times to sync to {COMMIT[:12]}, in vain: no quota."
        assert steps == [(0, "sync"), (10, "sync"), (40, "sync"), (41, said)]


def test_the_failure_of_another_commit_is_none_of_ours() -> None:
    assert decide(app(automated=True, operation=operation("Failed", OLD)), AUTOMATED) == "refresh"


def test_an_operation_that_does_not_end_is_ended_and_begun_anew_and_then_given_up() -> None:
    stuck = app(sync_status="OutOfSync", requested=True, operation=operation("Running", message="waiting for healthy state of x"))
    began = Asked(syncs=1, synced=0.0, operation=THEN, operation_since=10.0)

    assert decide(stuck, MANUAL, began, 310, limit=900) == "wait"
    assert decide(stuck, MANUAL, began, 311, limit=900) == "terminate"

    ended = stepped(began, "terminate", 311)
    terminating = replace(stuck, operation=operation("Terminating"))
    assert decide(terminating, MANUAL, ended, 312, limit=900) == "wait"
    given_up = app(sync_status="OutOfSync", operation=operation("Failed", message="Operation terminated"))
    assert decide(given_up, MANUAL, ended, 313, limit=900) == "sync"
    assert decide(replace(given_up, automated=True), AUTOMATED, ended, 313, limit=900) == "sync"

    # The next operation has a limit of its own.
    second = replace(stuck, operation=operation("Running", started_at=THEN + timedelta(seconds=303)))
    again = noted(ended, second, 313)
    assert decide(second, MANUAL, again, 500, limit=900) == "wait"
    assert decide(second, MANUAL, again, 614, limit=900) == "terminate"
    given_up_twice = decide(second, MANUAL, stepped(again, "terminate", 614), 615, limit=900)
    assert isinstance(given_up_twice, Stalled)
    assert "does not end its operation within 300 s, although it was ended and begun anew" in given_up_twice.message


def test_a_comparison_that_fails_has_a_minute_to_recover() -> None:
    broken = app(
        automated=True, sync_status="Unknown", conditions={"ComparisonError": "Failed to load target state:\n  repository not found."}
    )
    asked = Asked(refreshed=5.0, failing_since=6.0)

    assert decide(broken, AUTOMATED, Asked(), 0) == "refresh"
    assert decide(broken, AUTOMATED, asked, 65) == "refresh"
    assert decide(broken, AUTOMATED, asked, 66) == Stalled(
        message="The Argo CD Application tiny-production in argocd cannot be compared with Git: "
        "ComparisonError: Failed to load target state: repository not found."
    )
    assert decide(app(automated=True), AUTOMATED, asked, 66) == "refresh"  # it recovered


def test_an_application_that_argo_refuses_is_said_once_it_has_looked_anew() -> None:
    refused = app(automated=True, sync_status="Unknown", conditions={"InvalidSpecError": "project does not exist"})

    assert decide(refused, AUTOMATED) == "refresh"
    stalled = decide(refused, AUTOMATED, Asked(refreshed=0.0), 1)
    assert isinstance(stalled, Stalled)
    assert "is refused by Argo CD: InvalidSpecError: project does not exist." in stalled.message


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"refreshing": True}, "Argo CD did not come to the refresh that it was asked for; see whether its application controller runs."),
        ({"requested": True}, "Argo CD did not come to the operation that it was asked for; see whether its application controller runs."),
        ({"operation": operation("Running", message="")}, "its operation is running (no reason given)."),
        ({"operation": operation("Terminating", message="operation is terminating")}, "is terminating (operation is terminating)."),
        ({"conditions": {"SyncError": "Failed last sync attempt"}}, "SyncError: Failed last sync attempt."),
        ({"conditions": {"OrphanedResourceWarning": "2 orphaned resources"}}, "and still its newest."),
        ({}, f"but {OLD[:12]}: it follows main; see whether the commit is on it and still its newest."),
        (
            {"revisions": (COMMIT,), "sync_status": "OutOfSync", "out_of_sync": ("Deployment/a", "Service/b")},
            "it is OutOfSync (Deployment/a, Service/b); see what else changes those objects.",
        ),
        ({"revisions": (), "sync_status": ""}, "it is not compared yet; see what else changes those objects."),
    ],
)
def test_when_the_time_is_up_the_sentence_says_where_it_stands(changes: dict[str, Any], why: str) -> None:
    stalled = decide(app(**changes), AUTOMATED, Asked(refreshed=0.0), 301)

    assert isinstance(stalled, Stalled)
    assert stalled.message.startswith(f"The Argo CD Application tiny-production in argocd does not have {COMMIT[:12]} in place after 300 s")
    assert stalled.message.endswith(why)


@pytest.mark.parametrize(
    ("changes", "withdrawn"),
    [
        ({"requested": True, "operation": operation("Pending")}, True),
        ({"requested": True, "operation": operation("Running", message="Sync operation blocked by sync window")}, True),
        ({"requested": True, "operation": operation("Terminating")}, False),
        ({"requested": True, "operation": operation("Running", OLD)}, False),  # somebody else's
        ({"requested": True, "operation": operation("Pending", OLD)}, False),
        ({}, False),
    ],
)
def test_what_was_given_up_must_not_change_the_cluster_later(changes: dict[str, Any], withdrawn: bool) -> None:
    stalled = decide(app(**changes), MANUAL, Asked(syncs=1, synced=0.0), 301)

    assert isinstance(stalled, Stalled)
    assert stalled.withdraw == withdrawn


def test_the_last_look_still_counts() -> None:
    assert decide(app(revisions=(COMMIT,)), AUTOMATED, Asked(refreshed=0.0), 301) == "done"


def test_a_long_complaint_keeps_its_beginning_and_its_end() -> None:
    stalled = decide(app(conditions={"ComparisonError": "begin " + "x" * 2000 + " end"}), AUTOMATED, Asked(refreshed=0.0), 301)

    assert isinstance(stalled, Stalled)
    assert len(stalled.message) < 800
    assert "begin xxx" in stalled.message
    assert stalled.message.endswith("xxx end.")


@pytest.mark.parametrize(
    ("changes", "policy", "why"),
    [
        ({"deleting": True}, MANUAL, "is being deleted"),
        (
            {"sources": (replace(SOURCE, repository="https://git.example.com/other"),)},
            MANUAL,
            f"follows https://git.example.com/other and not {GIT}: correct its spec.source.repoURL.",
        ),
        ({"sources": (replace(CHART, repository=GIT),)}, MANUAL, "and not"),  # a chart of a Helm repository is no commit of Git's
        ({"sources": ()}, MANUAL, f"follows nothing and not {GIT}"),
        (
            {"sources": (replace(SOURCE, value_files=("/environments/staging/tiny/values.yaml",)),)},
            MANUAL,
            f"does not read {VALUES} of {GIT}: add it to its source's helm.valueFiles.",
        ),
        ({"sources": (CHART, replace(SOURCE, ref="other", value_files=()))}, MANUAL, "does not read"),
        ({"sources": (replace(SOURCE, release_name="tiny"),)}, MANUAL, "renders the Helm release tiny and not tiny-production"),
        ({"destination_namespace": "llm-staging"}, MANUAL, "deploys to llm-staging and not to llm-production"),
        ({"destination_namespace": ""}, MANUAL, "deploys to no namespace and not to llm-production"),
        ({"automated": True}, MANUAL, "syncs by itself, and may only do so when a release asks for it here"),
        ({"automated": False}, AUTOMATED, "does not sync by itself, as it must here: set its spec.syncPolicy.automated."),
    ],
)
def test_an_application_that_is_not_what_the_environment_needs_is_named_with_what_to_do(
    changes: dict[str, Any], policy: SyncPolicy, why: str
) -> None:
    sentence = unfit(app(**changes), "tiny-production", "argocd", policy)

    assert sentence.startswith("The Argo CD Application tiny-production in argocd ")
    assert why in sentence


def test_an_application_that_is_missing_is_to_be_created() -> None:
    assert unfit(None, "tiny-production", "argocd", MANUAL).startswith("There is no Argo CD Application tiny-production in argocd: create")


@pytest.mark.parametrize(
    "sources",
    [
        (SOURCE,),
        (replace(SOURCE, repository="https://git.example.com/Deployments"),),
        (replace(SOURCE, release_name=""),),  # Argo CD's own default is the Application's name
        (replace(SOURCE, value_files=("values-production.yaml", f"../../{VALUES}")),),
        (CHART, ApplicationSource(repository=GIT, target="main", ref="values")),
        (replace(SOURCE, value_files=(f"$values/{VALUES}",)), ApplicationSource(repository=GIT, target="main", ref="values")),
    ],
    ids=["absolute", "same-address", "no-release-name", "relative", "chart-elsewhere", "chart-in-git"],
)
def test_all_ways_to_read_the_values_are_fit(sources: tuple[ApplicationSource, ...]) -> None:
    assert unfit(app(sources=sources, multiple=len(sources) > 1), "tiny-production", "argocd", MANUAL) == ""


@pytest.mark.parametrize(
    "address",
    [
        "https://git.example.com/deployments",
        "https://bot:secret@git.example.com/deployments.git/",
        "git@git.example.com:deployments.git",
        "ssh://git@git.example.com:2222/Deployments.git",
    ],
)
def test_argo_may_read_the_repository_in_another_way_than_we_write_it(address: str) -> None:
    assert unfit(app(sources=(replace(SOURCE, repository=address),)), "tiny-production", "argocd", MANUAL) == ""


@pytest.mark.parametrize("address", ["https://git.example.org/deployments", "https://git.example.com/x/deployments", "deployments", ""])
def test_another_host_or_path_is_another_repository(address: str) -> None:
    assert "follows" in unfit(app(sources=(replace(SOURCE, repository=address),)), "tiny-production", "argocd", MANUAL)


def test_no_password_of_an_address_gets_into_a_sentence() -> None:
    secret = "https://bot:secret@git.example.org/x.git"
    wrong = unfit(app(sources=(replace(SOURCE, repository=secret),)), "tiny-production", "argocd", replace(MANUAL, repository=f"{secret}2"))
    complaint = decide(app(conditions={"ComparisonError": f"failed to list refs: {secret}: timeout"}), AUTOMATED, Asked(refreshed=0.0), 301)
    failed = app(operation=operation("Failed", message=f"cannot read {secret}"))

    for said in (wrong, complaint.message, decide(failed, MANUAL, Asked(syncs=3, synced=0.0), 99).message):
        assert "https://git.example.org/x.git" in said
        assert "secret" not in said


def test_with_a_chart_from_elsewhere_the_commit_is_that_of_the_values() -> None:
    sources = (CHART, ApplicationSource(repository=GIT, target="main", ref="values"))
    several = app(sources=sources, multiple=True, revisions=("1.2.3", COMMIT))

    assert wanted_revisions(several, COMMIT, MANUAL) == ("1.2.3", COMMIT)
    assert decide(several, MANUAL) == "done"
    assert decide(replace(several, revisions=(COMMIT, OLD)), MANUAL) == "sync"
    assert wanted_revisions(app(), COMMIT, MANUAL) == (COMMIT,)


def rewritten(**changes: Any) -> Application:
    """Applied in full, and different all the same."""
    return app(revisions=(COMMIT,), sync_status="OutOfSync", out_of_sync=("Deployment/tiny",), operation=operation("Succeeded"), **changes)


DIFFERENCE = ("Deployment/tiny spec.template.spec.priority: Git 5, live 0", "Deployment/tiny spec.replicas: Git 1, live 2")


@pytest.mark.parametrize(("policy", "syncs"), [(AUTOMATED, 1), (MANUAL, 2)])
def test_what_the_cluster_changes_after_it_was_applied_twice_is_named_with_object_field_and_cure(policy: SyncPolicy, syncs: int) -> None:
    asked = Asked(syncs=syncs - 1, synced=0.0, refreshed=0.0)
    assert not isinstance(decide(rewritten(), policy, asked, waited=1, left=DIFFERENCE), Stalled)

    stalled = decide(rewritten(), policy, replace(asked, syncs=syncs), waited=18, left=DIFFERENCE)

    assert isinstance(stalled, Stalled)
    assert "Deployment/tiny spec.template.spec.priority: Git 5, live 0, and 1 more" in stalled.message
    assert "ignore_differences" in stalled.message
    assert "successfully synced" not in stalled.message
    assert not stalled.withdraw


def test_differences_that_the_environment_ignores_are_no_reason_to_wait_and_others_are() -> None:
    ignored = (IgnoredDifference(kind="Deployment", group="apps", json_pointers=("/spec/template/spec/priority",)),)
    allowed = replace(AUTOMATED, ignored=ignored)
    assert decide(rewritten(), allowed, left=()) == "done"
    # nothing is ignored, or nobody can tell: Argo CD's word counts
    assert decide(rewritten(), AUTOMATED, left=()) != "done"
    assert decide(rewritten(), allowed, left=None) != "done"
    assert decide(rewritten(), allowed, left=DIFFERENCE[1:]) != "done"


def test_where_the_cluster_differs_is_asked_only_once_all_of_the_commit_was_applied() -> None:
    assert is_synced_and_differs(rewritten(), COMMIT, AUTOMATED)
    for other in (
        app(revisions=(COMMIT,)),
        replace(rewritten(), operation=operation("Running")),
        replace(rewritten(), operation=operation("Succeeded", OLD)),
        replace(rewritten(), operation=operation("Succeeded", whole=False)),
        rewritten(requested=True),
        replace(rewritten(), revisions=(LATER,)),
    ):
        assert not is_synced_and_differs(other, COMMIT, AUTOMATED)
    assert is_synced_and_differs(replace(rewritten(), revisions=(LATER,)), COMMIT, AUTOMATED, {LATER})

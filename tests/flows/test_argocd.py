"""Argo CD is brought to a commit, and what keeps it from there is told: no Prefect, the real helm, Argo CD's stand-in."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kubernetes.config import new_client_from_config

from blocks.argocd import Argo
from blocks.errors import ApplicationUnfit, SyncStalled
from flows.delivery.application import SyncPolicy
from flows.delivery.argocd import require_application, sync
from sandbox.argocd.controller import ApplicationController
from sandbox.world import World
from tests.support.argo import VALUES, Applications, Object, Repository, phase

AUTOMATED = {"automated": {"prune": True}, "retry": {"limit": 0}}


@pytest.fixture
def apps(world: World, argo: ApplicationController, tmp_path: Path) -> Iterator[Applications]:
    with new_client_from_config(str(world.cluster.kubeconfig)) as api:
        apps = Applications(api, Repository(tmp_path / "repository"), f"synced-{uuid.uuid4().hex[:8]}")
        yield apps
        apps.close()


@pytest.fixture
def block(world: World) -> Argo:
    return Argo(kubeconfig=world.cluster.kubeconfig)


def policy(apps: Applications, *, automated: bool) -> SyncPolicy:
    return SyncPolicy(repository=apps.repository.url, values_file=VALUES, namespace=apps.namespace, automated=automated, requester="zoe")


def operations(app: Object) -> list[tuple[str, str]]:
    """Who has had which commit synced so far."""
    history = app["status"].get("history", [])
    return [(entry["initiatedBy"].get("username", "argo"), entry["revision"]) for entry in history]


def test_where_argo_syncs_by_itself_a_commit_is_in_place_without_waiting_for_its_poll(apps: Applications, block: Argo) -> None:
    first, name = apps.repository.head, apps.add("auto", AUTOMATED)
    apps.synced(name, first)
    commit = apps.repository.commit({VALUES: "word: ours\nextra: false\n"})

    for _ in range(2):  # the second time, there is nothing to do
        sync(block, name, "argocd", commit, policy(apps, automated=True), 30)

    assert apps.word(name) == "ours"
    assert operations(apps.get(name)) == [("argo", first), ("argo", commit)]


def test_where_argo_must_be_asked_it_is_for_this_commit_in_the_name_of_who_asks(apps: Applications, block: Argo) -> None:
    commit = apps.repository.commit({VALUES: "word: ours\n"})
    later = apps.repository.commit({"environments/test/other/values.yaml": "word: of another model\n"})
    name = apps.add("manual", {})

    for _ in range(2):
        sync(block, name, "argocd", commit, policy(apps, automated=False), 30)

    app = apps.get(name)
    assert apps.word(name) == "ours"
    assert operations(app) == [("zoe", commit)]
    assert (app["status"]["sync"]["revision"], app["status"]["operationState"]["operation"]["sync"]["prune"]) == (later, True)


def test_everything_is_taken_away_where_it_is_asked_for(apps: Applications, block: Argo) -> None:
    first, name = apps.repository.head, apps.add("emptied", AUTOMATED)
    apps.synced(name, first)
    templates = apps.repository.remove("charts/small/templates")

    # Argo CD does not do that by itself
    apps.refresh(name)
    refused = apps.wait(name, lambda app: app["status"]["sync"].get("revision") == templates)
    assert "wipe out all resources" in refused["status"]["conditions"][0]["message"]
    sync(block, name, "argocd", templates, replace(policy(apps, automated=True), empties=True), 30)

    assert operations(apps.get(name)) == [("argo", first), ("zoe", templates)]
    assert [app.metadata.name for app in apps.apps.list_namespaced_deployment(apps.namespace).items] == []


def test_an_operation_that_a_killed_process_asked_for_is_not_asked_for_again(
    apps: Applications, block: Argo, argo: ApplicationController
) -> None:
    name, commit = apps.add("killed", {}), apps.repository.head
    argo.faults.slow_seconds = 0.5
    apps.sync(name, commit)

    sync(block, name, "argocd", commit, policy(apps, automated=False), 30)

    assert operations(apps.get(name)) == [("zoe", commit)]


def test_a_later_commit_counts_only_if_it_holds_the_same(apps: Applications, block: Argo) -> None:
    commit = apps.repository.commit({VALUES: "word: ours\n"})
    later = apps.repository.commit({"environments/test/other/values.yaml": "word: of another model\n"})
    name = apps.add("shared", AUTOMATED)
    apps.synced(name, later)

    with pytest.raises(SyncStalled, match=rf"does not have {commit[:12]} in place after 1 s, but {later[:12]}: it follows main"):
        sync(block, name, "argocd", commit, policy(apps, automated=True), 1)
    asked: list[str] = []
    sync(block, name, "argocd", commit, policy(apps, automated=True), 30, lambda other: asked.append(other) is None)

    assert asked == [later]


def test_a_stuck_operation_is_ended_and_ours_begun(apps: Applications, block: Argo, argo: ApplicationController) -> None:
    name, commit = apps.add("stuck", {}), apps.repository.head
    argo.faults.stuck = True
    apps.sync(name, commit)
    apps.wait(name, lambda app: phase(app) == "Running")

    def mend() -> None:
        apps.wait(name, lambda app: app["status"].get("operationState", {}).get("message") == "Operation terminated" or "history" in app)
        argo.faults.stuck = False

    mending = threading.Thread(target=mend)
    mending.start()
    wanted = replace(policy(apps, automated=False), operation_limit_seconds=0.1)
    sync(block, name, "argocd", commit, replace(wanted, requester="ada"), 30)
    mending.join()

    assert operations(apps.get(name)) == [("ada", commit)]


def test_a_model_that_loads_for_longer_than_argo_waits_is_synced_all_the_same(apps: Applications, block: Argo) -> None:
    commit = apps.repository.commit({VALUES: "replicas: 1\ndeadline: 1\nimage: nowhere\n"})
    name = apps.add("loads", AUTOMATED)
    apps.wait(name, lambda app: app["status"].get("health", {}).get("status") == "Degraded")

    sync(block, name, "argocd", commit, policy(apps, automated=True), 30)


def test_an_argo_that_is_down_and_one_that_cannot_render_are_told_apart(
    apps: Applications, block: Argo, argo: ApplicationController
) -> None:
    commit = apps.repository.commit({VALUES: "replicas: many\n"})
    name = apps.add("broken", AUTOMATED)
    with pytest.raises(SyncStalled, match=r"ComparisonError: .*values don't meet the specifications of the schema"):
        sync(block, name, "argocd", commit, policy(apps, automated=True), 2)

    argo.faults.down = True
    with pytest.raises(SyncStalled, match="did not come to the refresh that it was asked for; see whether its application controller runs"):
        sync(block, name, "argocd", commit, policy(apps, automated=True), 1)


def test_a_sync_that_was_given_up_does_not_come_later(apps: Applications, block: Argo, argo: ApplicationController) -> None:
    name = apps.add("late", {})
    apps.wait(name, lambda app: "sync" in app["status"])
    argo.faults.stuck = True

    with pytest.raises(SyncStalled, match="its operation is running"):
        sync(block, name, "argocd", apps.repository.head, policy(apps, automated=False), 1)

    argo.faults.stuck = False
    app = apps.wait(name, lambda app: "operation" not in app)
    assert app["status"]["operationState"]["message"] == "Operation terminated"
    assert operations(app) == []


def test_an_application_that_is_not_what_is_needed_is_refused_before_anything_is_asked(apps: Applications, block: Argo) -> None:
    name, wanted = apps.add("unfit", {}), policy(apps, automated=True)
    before = apps.wait(name, lambda app: "sync" in app["status"])

    with pytest.raises(ApplicationUnfit, match="does not sync by itself, as it must here"):
        require_application(block, name, "argocd", wanted)
    with pytest.raises(ApplicationUnfit, match=r"follows file://.* and not https://git\.example"):
        sync(block, name, "argocd", apps.repository.head, replace(wanted, repository="https://git.example.com/x"), 30)
    with pytest.raises(ApplicationUnfit, match="There is no Argo CD Application nowhere in argocd"):
        require_application(block, "nowhere", "argocd", wanted)

    require_application(block, name, "argocd", replace(wanted, automated=False))
    after = apps.get(name)
    assert "operation" not in after
    assert "operationState" not in after["status"]
    assert after["metadata"].get("annotations") == before["metadata"].get("annotations")

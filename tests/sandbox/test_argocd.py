"""The stand-in for Argo CD's application controller: what it does for Applications, in the fields of the real one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kubernetes.client import ApiClient, ApiException
from kubernetes.config import new_client_from_config

from sandbox.argocd.controller import FINALIZER, ApplicationController
from sandbox.argocd.health import health_of
from sandbox.argocd.repositories import Repositories
from sandbox.argocd.windows import may_sync
from sandbox.git import git
from sandbox.kubernetes.cluster import Cluster
from sandbox.serving import LoopThread
from tests.support.argo import VALUES, Applications, Object, Repository, phase

CLOSED = "0 20 * * *"
AUTOMATED = {"automated": {"prune": True, "selfHeal": True}, "retry": {"limit": 0}}
_numbers = itertools.count()


@pytest.fixture(scope="module")
def api(shared_cluster: Cluster) -> Iterator[ApiClient]:
    with new_client_from_config(str(shared_cluster.kubeconfig)) as api:
        yield api


@pytest.fixture(scope="module")
def shared_argo(shared_cluster: Cluster, loop: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApplicationController]:
    client = shared_cluster.client("system:serviceaccount:argocd:argocd-application-controller")
    argo = ApplicationController(client, tmp_path_factory.mktemp("argocd"))
    loop.run(argo.start())
    yield argo
    loop.run(argo.close())


@pytest.fixture
def argo(shared_argo: ApplicationController) -> Iterator[ApplicationController]:
    yield shared_argo
    shared_argo.faults.clear()
    shared_argo.repositories.down = False


@pytest.fixture
def apps(argo: ApplicationController, api: ApiClient, tmp_path: Path) -> Applications:
    return Applications(api, Repository(tmp_path / "repository"), f"argo-{next(_numbers)}")


def test_an_automated_application_is_rendered_applied_and_said_in_argos_fields(apps: Applications) -> None:
    head = apps.repository.commit({VALUES: "word: hello\nreplicas: 1\n"})
    name = apps.add("auto", AUTOMATED)

    app = apps.wait(name, lambda app: app["status"].get("health", {}).get("status") == "Healthy" and "operation" not in app)

    assert apps.word(name) == "hello"
    status = app["status"]
    assert status["sync"] == {
        "status": "Synced",
        "revision": head,
        "comparedTo": {"source": apps.source(), "destination": app["spec"]["destination"]},
    }
    state = status["operationState"]
    assert (state["phase"], state["message"]) == ("Succeeded", "successfully synced (all tasks run)")
    assert state["operation"]["initiatedBy"] == {"automated": True}
    assert state["syncResult"]["revision"] == head
    assert {(entry["kind"], entry["status"]) for entry in state["syncResult"]["resources"]} == {
        ("ConfigMap", "Synced"),
        ("Deployment", "Synced"),
    }
    assert [(entry["id"], entry["revision"]) for entry in status["history"]] == [(0, head)]
    assert {entry["name"] for entry in status["resources"] if entry["status"] == "Synced"} == {name, f"{name}-extra"}
    assert "conditions" not in status
    applied = apps.core.read_namespaced_config_map(name, apps.namespace)
    assert applied.metadata.annotations == {"argocd.argoproj.io/tracking-id": f"{name}:/ConfigMap:{apps.namespace}/{name}"}
    assert [(entry.manager, entry.operation) for entry in applied.metadata.managed_fields] == [("argocd-controller", "Apply")]


def test_a_refresh_brings_the_newest_commit_and_prunes_what_it_no_longer_has(apps: Applications) -> None:
    name = apps.add("refreshed", AUTOMATED)
    apps.synced(name, apps.repository.head)
    head = apps.repository.commit({VALUES: "word: second\nextra: false\n"})

    apps.refresh(name)
    app = apps.synced(name, head)

    assert apps.word(name) == "second"
    assert "annotations" not in app["metadata"]
    assert [entry["id"] for entry in app["status"]["history"]] == [0, 1]
    with pytest.raises(ApiException, match="404"):
        apps.core.read_namespaced_config_map(f"{name}-extra", apps.namespace)


def test_without_automation_an_operation_syncs_the_commit_that_it_names(apps: Applications) -> None:
    wanted = apps.repository.commit({VALUES: "word: wanted\n"})
    head = apps.repository.commit({VALUES: "word: later\n"})
    name = apps.add("manual", {"syncOptions": ["CreateNamespace=true"]})
    missing = apps.wait(name, lambda app: "sync" in app["status"])["status"]
    assert (missing["sync"]["status"], missing["sync"]["revision"], missing["health"]["status"]) == ("OutOfSync", head, "Missing")
    assert "operationState" not in missing

    apps.sync(name, wanted, prune=True)
    app = apps.wait(name, lambda app: phase(app) == "Succeeded" and app["status"]["health"]["status"] != "Missing")

    assert apps.word(name) == "wanted"
    state = app["status"]["operationState"]
    assert (state["operation"]["initiatedBy"], state["syncResult"]["revision"]) == ({"username": "zoe"}, wanted)
    assert "operation" not in app
    # Compared is what the branch stands for, not what was synced.
    assert (app["status"]["sync"]["status"], app["status"]["sync"]["revision"]) == ("OutOfSync", head)


def test_what_is_no_longer_wanted_stays_where_pruning_was_not_asked_for(apps: Applications) -> None:
    name = apps.add("keeps", {})
    apps.sync(name, apps.repository.head)
    apps.synced(name, apps.repository.head)
    head = apps.repository.commit({VALUES: "extra: false\n"})

    apps.sync(name, head)
    app = apps.wait(name, lambda app: phase(app) == "Succeeded")

    skipped = [
        entry["message"] for entry in app["status"]["operationState"]["syncResult"]["resources"] if entry["status"] == "PruneSkipped"
    ]
    assert skipped == ["ignored (requires pruning)"]
    assert apps.core.read_namespaced_config_map(f"{name}-extra", apps.namespace)


def test_a_commit_that_failed_is_not_tried_again_by_itself(apps: Applications) -> None:
    broken = apps.repository.commit({VALUES: "replicas: -1\n"})
    name = apps.add("broken", AUTOMATED)

    app = apps.wait(name, lambda app: "conditions" in app["status"])

    assert phase(app) == "Failed"
    message = app["status"]["operationState"]["message"]
    assert message.startswith("one or more objects failed to apply, reason: Deployment.apps")
    (condition,) = app["status"]["conditions"]
    assert (condition["type"], condition["message"]) == ("SyncError", f"Failed last sync attempt to [{broken}]: {message}")

    head = apps.repository.commit({VALUES: "word: mended\n"})
    apps.refresh(name)
    assert "conditions" not in apps.synced(name, head)["status"]


def test_a_failed_operation_with_retries_left_goes_on_after_a_pause(apps: Applications) -> None:
    apps.repository.commit({VALUES: "replicas: -1\n"})
    name = apps.add("again", {"automated": {}, "retry": {"limit": 2, "backoff": {"duration": "1s", "factor": 1}}})

    tried = apps.wait(name, lambda app: app["status"].get("operationState", {}).get("retryCount") == 1)
    assert (phase(tried), "operation" in tried) == ("Running", True)
    assert ". Retrying attempt #1 at " in tried["status"]["operationState"]["message"]

    failed = apps.wait(name, lambda app: phase(app) == "Failed")
    assert failed["status"]["operationState"]["message"].endswith("(retried 2 times).")


def test_drift_is_corrected_where_self_heal_is_on(apps: Applications) -> None:
    name = apps.add("heals", AUTOMATED)
    head = apps.repository.head
    apps.synced(name, head)
    apps.core.patch_namespaced_config_map(name, apps.namespace, {"data": {"word": "drifted"}})

    app = apps.wait(name, lambda app: bool(app["status"]["operationState"].get("operation", {}).get("sync", {}).get("resources")))

    assert app["status"]["operationState"]["operation"]["sync"]["resources"] == [{"kind": "ConfigMap", "name": name}]
    apps.synced(name, head)
    assert apps.word(name) == "first"


def test_the_repository_is_polled(apps: Applications, shared_cluster: Cluster, loop: LoopThread, tmp_path: Path) -> None:
    client = shared_cluster.client("system:serviceaccount:polls:argocd-application-controller")
    argo = ApplicationController(client, tmp_path / "argocd", namespace="polls", poll_seconds=1)
    loop.run(argo.start())
    try:
        apps.argo_namespace = "polls"
        name = apps.add("polled")
        apps.wait(name, lambda app: "sync" in app["status"])
        head = apps.repository.commit({VALUES: "word: polled\n"})

        apps.wait(name, lambda app: app["status"]["sync"]["revision"] == head)
    finally:
        loop.run(argo.close())


def test_waves_wait_for_the_health_of_the_one_before(apps: Applications) -> None:
    values = 'image: nowhere\nreplicas: 1\nannotations: {argocd.argoproj.io/sync-wave: "-1"}\n'
    apps.repository.commit({VALUES: values})
    name = apps.add("waves", {})
    apps.sync(name, apps.repository.head)

    app = apps.wait(name, lambda app: "waiting for" in app["status"].get("operationState", {}).get("message", ""))

    assert app["status"]["operationState"]["message"] == f"waiting for healthy state of apps/Deployment/{name}"
    with pytest.raises(ApiException, match="404"):
        apps.core.read_namespaced_config_map(name, apps.namespace)
    apps.apps.patch_namespaced_deployment(name, apps.namespace, {"spec": {"replicas": 0}})
    apps.wait(name, lambda app: phase(app) == "Succeeded")
    assert apps.word(name) == "none"


def test_values_come_from_another_source_that_has_a_name(apps: Applications) -> None:
    chart = apps.source(
        helm={"valueFiles": ["$values/" + VALUES], "releaseName": "other", "parameters": [{"name": "extra", "value": "false"}]}
    )
    name = apps.add("several", AUTOMATED, source=None, sources=[chart, {"repoURL": apps.repository.url, "ref": "values"}])
    head = apps.repository.head

    app = apps.wait(name, lambda app: app["status"].get("sync", {}).get("status") == "Synced" and "operation" not in app)

    assert app["status"]["sync"]["revisions"] == [head, head]
    assert app["status"]["operationState"]["syncResult"]["revisions"] == [head, head]
    assert apps.word("other") == "first"
    assert len(app["status"]["resources"]) == 2


def test_a_commit_without_files_has_none(loop: LoopThread, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "emptied")
    git(tmp_path / "emptied", "commit", "--quiet", "--allow-empty", "--message=nothing")
    url, repositories = f"file://{tmp_path / 'emptied'}", Repositories(tmp_path / "known")

    commit = loop.run(repositories.resolve(url, "", fresh=True))

    assert list(loop.run(repositories.files(url, commit)).iterdir()) == []


@pytest.mark.parametrize(
    ("values", "source", "why"),
    [
        ("replicas: many\n", {}, "values don't meet the specifications of the schema"),
        ("", {"targetRevision": "nowhere"}, "unable to resolve 'nowhere' to a commit SHA"),
        ("", {"path": "charts/none"}, "charts/none: app path does not exist"),
        ("", {"helm": {"valueFiles": ["/../outside.yaml"]}}, "is outside of the repository root"),
        ("", {"repoURL": "file:///nowhere"}, "does not appear to be a git repository"),
    ],
)
def test_what_cannot_be_rendered_is_a_comparison_error(apps: Applications, values: str, source: Object, why: str) -> None:
    if values:
        apps.repository.commit({VALUES: values})
    name = apps.add("errs", AUTOMATED, source=apps.source(**source))

    app = apps.wait(name, lambda app: "conditions" in app["status"])

    (condition,) = app["status"]["conditions"]
    assert condition["type"] == "ComparisonError"
    assert condition["message"].startswith("Failed to load target state: ")
    assert why in condition["message"]
    assert (app["status"]["sync"]["status"], "operationState" in app["status"]) == ("Unknown", False)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"project": "nobody"}, "Application referencing project nobody which does not exist"),
        ({"source": None}, "spec.source.repoURL and either spec.source.path or spec.source.chart are required"),
        ({"destination": {"server": "https://elsewhere", "namespace": "x"}}, "there are no clusters with this name: https://elsewhere"),
    ],
)
def test_a_spec_that_cannot_be_is_said_and_not_synced(apps: Applications, spec: Object, why: str) -> None:
    name = apps.add("invalid", AUTOMATED, **spec)

    app = apps.wait(name, lambda app: "conditions" in app["status"])

    assert [(entry["type"], entry["message"]) for entry in app["status"]["conditions"]] == [("InvalidSpecError", why)]
    apps.sync(name, apps.repository.head)
    failed = apps.wait(name, lambda app: phase(app) == "Error")
    assert failed["status"]["operationState"]["message"] == f"InvalidSpecError: {why}"


@pytest.mark.parametrize(
    ("project", "why"),
    [
        ({"sourceRepos": ["https://git.example.com/*"]}, "is not permitted in project"),
        ({"sourceRepos": ["*", "!file://*"]}, "is not permitted in project"),
        ({"destinations": [{"server": "*", "namespace": "other-*"}]}, "do not match any of the allowed destinations in project"),
    ],
)
def test_a_project_permits_repositories_and_destinations(apps: Applications, project: Object, why: str) -> None:
    name = apps.add("foreign", AUTOMATED, project=apps.project(**project))

    app = apps.wait(name, lambda app: "conditions" in app["status"])

    assert why in app["status"]["conditions"][0]["message"]


def test_a_sync_window_holds_automation_and_operations_back(apps: Applications) -> None:
    window = {"kind": "deny", "schedule": "* * * * *", "duration": "1h", "applications": ["*"]}
    project = apps.project(syncWindows=[window])
    automated, asked = apps.add("held", AUTOMATED, project=project), apps.add("asked", {}, project=project)
    apps.wait(automated, lambda app: app["status"].get("sync", {}).get("status") == "OutOfSync")
    assert "operation" not in apps.get(automated)

    apps.sync(asked, apps.repository.head)
    app = apps.wait(asked, lambda app: "message" in app["status"].get("operationState", {}))
    assert (phase(app), app["status"]["operationState"]["message"]) == ("Running", "Sync operation blocked by sync window")

    # It ends, and does nothing, but not before the window does.
    apps.patch(asked, {"status": {"operationState": {"phase": "Terminating"}}})
    apps.refresh(asked)
    assert phase(apps.wait(asked, lambda app: "annotations" not in app["metadata"])) == "Terminating"
    apps.permit_all_times()
    app = apps.wait(asked, lambda app: phase(app) == "Failed")
    assert app["status"]["operationState"]["message"] == "Operation terminated"
    assert app["status"]["sync"]["status"] == "OutOfSync"


def test_an_operation_that_is_stuck_ends_when_it_is_terminated(apps: Applications, argo: ApplicationController) -> None:
    argo.faults.stuck = True
    name = apps.add("stuck", {})
    apps.sync(name, apps.repository.head)
    apps.wait(name, lambda app: phase(app) == "Running" and bool(app["status"]["operationState"].get("message")))

    apps.patch(name, {"status": {"operationState": {"phase": "Terminating"}}})

    app = apps.wait(name, lambda app: phase(app) == "Failed")
    assert app["status"]["operationState"]["message"] == "Operation terminated"
    assert "operation" not in app


def test_a_controller_that_is_down_does_nothing_until_it_is_back(apps: Applications, argo: ApplicationController) -> None:
    argo.faults.down = True
    name = apps.add("down", AUTOMATED)
    apps.repository.commit({VALUES: "word: meanwhile\n"})
    assert "status" not in apps.get(name)

    argo.faults.down = False

    apps.synced(name, apps.repository.head)
    argo.repositories.down = True
    apps.refresh(name)
    app = apps.wait(name, lambda app: "conditions" in app["status"])
    assert "connection refused" in app["status"]["conditions"][0]["message"]
    assert app["status"]["sync"]["revision"] == apps.repository.head  # what it knew last


def test_what_an_application_has_goes_with_it_if_its_finalizer_says_so(apps: Applications) -> None:
    for name, left in ((apps.add("goes", AUTOMATED, (FINALIZER,)), 0), (apps.add("leaves", AUTOMATED), 1)):
        apps.synced(name, apps.repository.head)
        apps.delete(name)
        apps.gone(name)
        assert len(apps.apps.list_namespaced_deployment(apps.namespace, field_selector=f"metadata.name={name}").items) == left


@pytest.mark.parametrize(
    ("windows", "by_itself", "asked"),
    [
        ([], True, True),
        ([{"kind": "deny"}], False, False),
        ([{"kind": "deny", "manualSync": True}], False, True),
        ([{"kind": "deny", "schedule": CLOSED}], True, True),
        ([{"kind": "allow"}], True, True),
        ([{"kind": "allow", "schedule": CLOSED}], False, False),
        ([{"kind": "allow", "schedule": CLOSED, "manualSync": True}], False, True),
        ([{"kind": "allow"}, {"kind": "deny"}], False, False),
        ([{"kind": "deny", "applications": ["other-*"]}], True, True),
        ([{"kind": "deny", "applications": [], "namespaces": ["llm-*"]}], False, False),
        ([{"kind": "deny", "schedule": "0 14 * * *", "duration": "30m", "timeZone": "Europe/Berlin"}], False, False),
    ],
)
def test_sync_windows_hold_back_what_argo_holds_back(windows: list[Object], by_itself: bool, asked: bool) -> None:
    time = datetime(2026, 11, 24, 13, 15, tzinfo=UTC)
    app = {"metadata": {"name": "tiny-production"}, "spec": {"destination": {"namespace": "llm-production"}}}
    common = {"schedule": "0 13 * * *", "duration": "1h30m", "applications": ["tiny-*"]}
    project = {"spec": {"syncWindows": [{**common, **window} for window in windows]}}

    assert (may_sync(app, project, time, asked=False), may_sync(app, project, time, asked=True)) == (by_itself, asked)


def deployment(status: Object, **spec: object) -> Object:
    metadata = {"name": "web", "generation": 2}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": 2, **spec}, "status": {"observedGeneration": 2, **status}}


@pytest.mark.parametrize(
    ("obj", "health"),
    [
        (deployment({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}), "Healthy"),
        (deployment({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}), "Progressing"),
        (deployment({"replicas": 3, "updatedReplicas": 2, "availableReplicas": 3}), "Progressing"),
        (deployment({"replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}), "Progressing"),
        (deployment({"observedGeneration": 1}), "Progressing"),
        (deployment({"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}), "Degraded"),
        (deployment({}, paused=True), "Suspended"),
        ({"kind": "Job", "spec": {}, "status": {"conditions": [{"type": "Failed", "status": "True"}]}}, "Degraded"),
        ({"kind": "Job", "spec": {}}, "Progressing"),
        ({"kind": "Service", "spec": {"type": "LoadBalancer"}}, "Progressing"),
        ({"kind": "Service", "spec": {}}, "Healthy"),
    ],
)
def test_health_is_assessed_as_argo_does(obj: Object, health: str) -> None:
    found = health_of(obj)
    assert found is not None
    assert found[0] == health


def test_configuration_has_no_health() -> None:
    assert health_of({"kind": "ConfigMap"}) is None

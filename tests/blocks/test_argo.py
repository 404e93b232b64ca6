"""What the Argo block reads of Applications, what it asks for, and what it says where it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiextensionsV1Api, CustomObjectsApi
from kubernetes.config import new_client_from_config

from blocks.argocd import Argo, ArgoClient
from blocks.errors import ClusterConflict, ClusterRejected, ClusterUnreachable
from blocks.facts.argocd import ApplicationSource
from sandbox.argocd.definitions import DEFINITIONS
from sandbox.kubernetes.server.server import ApiServer

KIND = ("argoproj.io", "v1alpha1", "default", "applications")
COMMIT, OTHER = "a" * 40, "b" * 40
SOURCE = {
    "repoURL": "https://git.example.com/deployments.git",
    "targetRevision": "main",
    "path": "charts/vllm-deployment",
    "helm": {"valueFiles": ["/environments/production/tiny/values.yaml"], "releaseName": "tiny-production"},
}
SPEC: dict[str, Any] = {
    "project": "production",
    "source": SOURCE,
    "destination": {"server": "https://kubernetes.default.svc", "namespace": "llm-production"},
}


@pytest.fixture(scope="session")
def objects(server: ApiServer) -> Iterator[CustomObjectsApi]:
    with new_client_from_config(str(server.admin_kubeconfig)) as api, Argo(kubeconfig=server.admin_kubeconfig).client() as client:
        with pytest.raises(ClusterRejected, match="has no Argo CD: it does not know applications"):
            client.application("default", "tiny")
        for definition in DEFINITIONS:
            ApiextensionsV1Api(api).create_custom_resource_definition(definition)
        yield CustomObjectsApi(api)


@pytest.fixture
def client(server: ApiServer, objects: CustomObjectsApi) -> Iterator[ArgoClient]:
    with Argo(kubeconfig=server.admin_kubeconfig).client() as client:
        yield client


def add(objects: CustomObjectsApi, name: str, spec: dict[str, Any] | None = None, **content: Any) -> None:
    body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": name}, "spec": spec or SPEC, **content}
    objects.create_namespaced_custom_object(*KIND, body)


def stored(objects: CustomObjectsApi, name: str) -> Any:
    return objects.get_namespaced_custom_object(*KIND, name)


def test_an_application_is_read_with_all_that_argo_says_of_it(objects: CustomObjectsApi, client: ArgoClient) -> None:
    state = {
        "phase": "Running",
        "message": "one or more objects failed to apply. Retrying attempt #1 at 3:04PM.",
        "startedAt": "2026-11-24T12:00:00Z",
        "operation": {"initiatedBy": {"username": "zoe"}, "sync": {"revision": "main", "prune": True}},
        "syncResult": {"revision": COMMIT},
        "retryCount": 1,
    }
    status = {
        "sync": {"status": "OutOfSync", "revision": COMMIT, "comparedTo": {"destination": {}}},
        "health": {"status": "Degraded"},
        "reconciledAt": "2026-11-24T12:00:05Z",
        "conditions": [{"type": "SyncError", "message": "Failed last sync attempt"}],
        "resources": [
            {"kind": "Deployment", "name": "tiny-production", "status": "OutOfSync"},
            {"kind": "Service", "name": "tiny-production", "status": "Synced"},
        ],
        "operationState": state,
    }
    spec = {**SPEC, "syncPolicy": {"automated": {"prune": True}, "syncOptions": ["CreateNamespace=true"]}}
    add(objects, "read", spec, status=status, operation=state["operation"])

    seen = client.application("default", "read")

    assert seen is not None
    assert (seen.sync_status, seen.revisions, seen.health) == ("OutOfSync", (COMMIT,), "Degraded")
    assert seen.reconciled_at == datetime(2026, 11, 24, 12, 0, 5, tzinfo=UTC)
    assert (seen.automated, seen.requested, seen.refreshing, seen.sync_options) == (True, True, False, ("CreateNamespace=true",))
    assert (seen.conditions, seen.out_of_sync) == ({"SyncError": "Failed last sync attempt"}, ("Deployment/tiny-production",))
    assert seen.destination_namespace == "llm-production"
    assert seen.sources == (
        ApplicationSource(
            repository="https://git.example.com/deployments.git",
            target="main",
            path="charts/vllm-deployment",
            value_files=("/environments/production/tiny/values.yaml",),
            release_name="tiny-production",
        ),
    )
    operation = seen.operation
    assert operation is not None
    assert (operation.phase, operation.running, operation.revisions, operation.requester) == ("Running", True, (COMMIT,), "zoe")
    assert (operation.retries, operation.whole) == (1, True)
    assert operation.started_at == datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_what_is_new_or_switched_off_is_read_as_such(objects: CustomObjectsApi, client: ArgoClient) -> None:
    add(objects, "new", {**SPEC, "syncPolicy": {"automated": {"enabled": False, "prune": True}}})

    seen = client.application("default", "new")

    assert seen is not None
    assert (seen.automated, seen.sync_status, seen.revisions, seen.operation, seen.reconciled_at) == (False, "", (), None, None)
    assert client.application("default", "nowhere") is None


def test_a_refresh_and_a_sync_are_asked_for_in_argos_own_fields(objects: CustomObjectsApi, client: ArgoClient) -> None:
    before = {"phase": "Failed", "operation": {"retry": {"limit": 5}}, "startedAt": "2026-11-24T12:00:00Z", "message": "old"}
    add(objects, "asked", {**SPEC, "syncPolicy": {"syncOptions": ["CreateNamespace=true"]}}, status={"operationState": before})
    seen = client.application("default", "asked")
    assert seen is not None

    client.request_sync(seen, [COMMIT], prune=True, requester="zoe")
    client.refresh(seen)

    document = stored(objects, "asked")
    assert document["metadata"]["annotations"] == {"argocd.argoproj.io/refresh": "normal"}
    assert document["operation"] == {
        "initiatedBy": {"username": "zoe"},
        "sync": {"revision": COMMIT, "prune": True, "syncStrategy": {"hook": {}}, "syncOptions": ["CreateNamespace=true"]},
    }
    assert "operationState" not in document["status"]  # the controller would merge the new one into it
    assert document["spec"] == {**SPEC, "syncPolicy": {"syncOptions": ["CreateNamespace=true"]}}
    again = client.application("default", "asked")
    assert again is not None
    assert (again.requested, again.refreshing) == (True, True)
    assert again.operation is not None
    assert (again.operation.phase, again.operation.revisions, again.operation.running) == ("Pending", (COMMIT,), False)

    client.terminate(again)  # Argo CD has not begun it: it is taken back
    assert "operation" not in stored(objects, "asked")


def test_with_several_sources_each_gets_its_revision(objects: CustomObjectsApi, client: ArgoClient) -> None:
    chart = {"repoURL": "registry.example.com/charts", "chart": "vllm-deployment", "targetRevision": "1.2.3"}
    values = {"repoURL": SOURCE["repoURL"], "targetRevision": "main", "ref": "values"}
    spec = {"project": "p", "destination": SPEC["destination"], "sources": [chart, values]}
    compared = {"status": "Synced", "revisions": ["1.2.3", OTHER], "comparedTo": {"destination": {}}}
    add(objects, "several", spec, status={"sync": compared})
    seen = client.application("default", "several")
    assert seen is not None
    assert (seen.multiple, seen.revisions) == (True, ("1.2.3", OTHER))
    assert [(source.chart, source.ref) for source in seen.sources] == [("vllm-deployment", ""), ("", "values")]

    client.request_sync(seen, ["1.2.3", COMMIT], prune=False, requester="zoe")

    assert stored(objects, "several")["operation"]["sync"]["revisions"] == ["1.2.3", COMMIT]


def test_nothing_is_asked_for_over_a_change_that_was_not_seen(objects: CustomObjectsApi, client: ArgoClient) -> None:
    running = {"phase": "Running", "operation": {}, "startedAt": "2026-11-24T12:00:00Z"}
    add(objects, "changed", operation={"sync": {}}, status={"operationState": running})
    seen = client.application("default", "changed")
    assert seen is not None
    client.refresh(seen)  # changes the object

    with pytest.raises(ClusterConflict):
        client.request_sync(seen, [COMMIT], prune=True, requester="zoe")
    with pytest.raises(ClusterConflict):
        client.terminate(seen)

    fresh = client.application("default", "changed")
    assert fresh is not None
    client.terminate(fresh)
    assert stored(objects, "changed")["status"]["operationState"] == {**running, "phase": "Terminating"}


def test_waiting_ends_with_a_change(objects: CustomObjectsApi, client: ArgoClient) -> None:
    add(objects, "waits")
    before = client.application("default", "waits")
    assert before is not None
    client.refresh(before)

    client.wait_for_application("default", "waits", 60)  # ends at once: the change came after the look

    after = client.application("default", "waits")
    assert after is not None
    assert after.version != before.version


def test_a_user_who_may_not_and_an_api_that_is_away_are_told_in_a_sentence(
    server: ApiServer, objects: CustomObjectsApi, tmp_path: Path
) -> None:
    with (
        Argo(kubeconfig=server.kubeconfig("nobody")).client() as client,
        pytest.raises(ClusterRejected, match=r'applications\.argoproj\.io "tiny" is forbidden: User "nobody" cannot get'),
    ):
        client.application("default", "tiny")

    away = tmp_path / "away.kubeconfig"
    away.write_text(server.admin_kubeconfig.read_text().replace(server.url, "https://127.0.0.1:1"))
    with Argo(kubeconfig=away).client() as client, pytest.raises(ClusterUnreachable, match="cannot be reached"):
        client.application("default", "tiny")

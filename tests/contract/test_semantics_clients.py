"""The Python client of the Kubernetes project against the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kubernetes
import pytest
from kubernetes.client.rest import ApiException

from tests.contract.conftest import Api


@pytest.fixture
def client(api: Api) -> Iterator[Any]:
    with kubernetes.config.new_client_from_config(str(api.kubeconfig)) as client:
        yield client


def test_objects_are_made_read_changed_and_deleted(api: Api, client: Any) -> None:
    # Given the typed client of the core group
    core = kubernetes.client.CoreV1Api(client)
    # When it works with a ConfigMap as programs do
    body = kubernetes.client.V1ConfigMap(metadata=kubernetes.client.V1ObjectMeta(name="a"), data={"k": "v"})
    made = core.create_namespaced_config_map(api.namespace, body)
    made.data["k"] = "w"
    core.replace_namespaced_config_map("a", api.namespace, made)
    patched = core.patch_namespaced_config_map("a", api.namespace, {"data": {"z": "1"}})
    # Then each step shows
    assert patched.data == {"k": "w", "z": "1"}
    with pytest.raises(ApiException) as caught:
        core.replace_namespaced_config_map("a", api.namespace, made)
    assert caught.value.status == 409
    core.delete_namespaced_config_map("a", api.namespace)
    assert "a" not in [item.metadata.name for item in core.list_namespaced_config_map(api.namespace).items]


def test_watch_yields_typed_objects(api: Api, client: Any) -> None:
    core = kubernetes.client.CoreV1Api(client)
    for name in ("a", "b"):
        api.made("configmaps", {"metadata": {"name": name, "labels": {"l": "1"}}})
    watch = kubernetes.watch.Watch()
    seen = []
    for event in watch.stream(core.list_namespaced_config_map, api.namespace, label_selector="l=1", timeout_seconds=5):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 2:
            watch.stop()
    assert seen == [("ADDED", "a"), ("ADDED", "b")]


def test_deployment_is_scaled_and_its_status_reads_as_none_yet(api: Api, client: Any) -> None:
    apps = kubernetes.client.AppsV1Api(client)
    labels = {"a": "b"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    apps.create_namespaced_deployment(api.namespace, body)
    apps.patch_namespaced_deployment_scale("d", api.namespace, {"spec": {"replicas": 3}})
    found = apps.read_namespaced_deployment("d", api.namespace)
    assert (found.spec.replicas, found.metadata.generation, found.status.ready_replicas) == (3, 2, None)


def test_errors_carry_their_status(api: Api, client: Any) -> None:
    batch = kubernetes.client.BatchV1Api(client)
    with pytest.raises(ApiException) as caught:
        batch.read_namespaced_job("none", api.namespace)
    assert caught.value.status == 404
    assert '"reason":"NotFound"' in caught.value.body

"""What the cluster block sees of nodes: labels, taints, disks, and the GPUs that are taken; what it may not see is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import CoreV1Api
from kubernetes.config import new_client_from_config

from blocks.cluster import Cluster
from blocks.errors import ClusterRejected
from blocks.facts import GpuQuota, Taint
from sandbox.kubernetes.server.server import ApiServer


@pytest.fixture(scope="module")
def core(server: ApiServer) -> Iterator[CoreV1Api]:
    with new_client_from_config(str(server.admin_kubeconfig)) as api:
        yield CoreV1Api(api)


def make_node(core: CoreV1Api, name: str, labels: dict[str, str], **status: Any) -> None:
    taints = [{"key": "gpu-workload", "value": "true", "effect": "NoSchedule"}]
    core.create_node({"metadata": {"name": name, "labels": {"pool": name, **labels}}, "spec": {"taints": taints}})
    core.patch_node_status(name, {"status": status})


def make_pod(core: CoreV1Api, name: str, node: str, *gpus: int, init: int = 0, phase: str = "Running") -> None:
    def container(number: int, count: int) -> dict[str, Any]:
        return {"name": f"c{number}", "image": "x", "resources": {"limits": {"nvidia.com/gpu": str(count)}} if count else {}}

    spec = {"nodeName": node, "containers": [container(index, count) for index, count in enumerate(gpus)]}
    if init:
        spec["initContainers"] = [container(9, init)]
    core.create_namespaced_pod("default", {"metadata": {"name": name}, "spec": spec})
    core.patch_namespaced_pod_status(name, "default", {"status": {"phase": phase}})


def cluster(kubeconfig: Path) -> Cluster:
    return Cluster(kubeconfig=kubeconfig)


def test_a_node_is_what_its_labels_and_status_say(server: ApiServer, core: CoreV1Api) -> None:
    labels = {"nvidia.com/gpu.memory": "40960", "nvidia.com/gpu.product": "NVIDIA-A100", "nvidia.com/gpu.replicas": "1"}
    conditions = [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}]
    make_node(core, "whole", labels, allocatable={"nvidia.com/gpu": "8", "ephemeral-storage": "100Gi"}, conditions=conditions)

    with cluster(server.admin_kubeconfig).client() as client:
        (node,) = client.nodes.list({"pool": "whole"})

    assert (node.gpus, node.gpu_memory_bytes, node.gpu_product) == (8, 40 * 2**30, "NVIDIA-A100")
    assert (node.disk_bytes, node.disk_pressure, node.ready, node.schedulable) == (100 * 2**30, True, True, True)
    assert Taint(key="gpu-workload", value="true", effect="NoSchedule") in node.taints


@pytest.mark.parametrize(
    ("name", "labels", "memory"),
    [
        ("bare", {}, None),
        ("strange", {"nvidia.com/gpu.memory": "plenty"}, None),
        ("shared", {"nvidia.com/gpu.memory": "40960", "nvidia.com/gpu.replicas": "4"}, 10 * 2**30),
    ],
)
def test_memory_is_only_what_is_said(server: ApiServer, core: CoreV1Api, name: str, labels: dict[str, str], memory: int | None) -> None:
    make_node(core, name, labels)

    with cluster(server.admin_kubeconfig).client() as client:
        (node,) = client.nodes.list({"pool": name})

    assert (node.gpu_memory_bytes, node.gpus, node.disk_bytes, node.ready) == (memory, 0, 0, False)


def test_gpus_are_taken_by_pods_that_have_not_ended(server: ApiServer, core: CoreV1Api) -> None:
    make_node(core, "busy", {}, allocatable={"nvidia.com/gpu": "8"})
    make_pod(core, "two", "busy", 1, 1)
    make_pod(core, "without", "busy", 0)
    make_pod(core, "loading", "busy", 1, init=3, phase="Pending")
    make_pod(core, "ended", "busy", 4, phase="Succeeded")
    make_pod(core, "failed", "busy", 4, phase="Failed")
    make_pod(core, "elsewhere", "another", 4)
    make_pod(core, "joke", "huge", 1000)

    with cluster(server.admin_kubeconfig).client() as client:
        assert client.nodes.gpus_taken(["busy", "empty", "huge"]) == {"busy": 5, "empty": 0, "huge": 1000}  # Kubernetes says 1k
        assert {pod.name: pod.gpus for pod in client.pods.list("default", {}) if pod.node == "busy"}["loading"] == 3


def test_quotas_of_gpus_are_read_and_others_are_not(server: ApiServer, core: CoreV1Api) -> None:
    core.create_namespace({"metadata": {"name": "limited"}})
    for name, hard in (("gpus", {"requests.nvidia.com/gpu": "4"}), ("pods", {"pods": "10"})):
        core.create_namespaced_resource_quota("limited", {"metadata": {"name": name}, "spec": {"hard": hard}})

    with cluster(server.admin_kubeconfig).client() as client:
        assert client.nodes.gpu_quotas("limited") == (GpuQuota(name="gpus", hard=4, used=0),)
        assert client.nodes.gpu_quotas("not-there-yet") == ()


def test_what_may_not_be_read_is_said_with_what_to_grant(server: ApiServer) -> None:
    nobody = server.kubeconfig("nobody")

    with cluster(nobody).client() as client:
        with pytest.raises(ClusterRejected, match="free GPUs cannot be counted"):
            client.nodes.gpus_taken(["busy"])
        with pytest.raises(ClusterRejected, match=r'resourcequotas is forbidden: User "nobody".*quotas of GPUs cannot be counted'):
            client.nodes.gpu_quotas("default")

"""Scheduling and the life of nodes, seen through the API; the words in pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.kubernetes.controllers.fitting import misfit, requested, unschedulable_message
from sandbox.kubernetes.meta.client import CLAIMS, LEASES, NODES, PODS, VOLUMES
from sandbox.kubernetes.meta.values import quantity
from sandbox.kubernetes.node import NodeSpec
from tests.sandbox.bench import Bench, conditions, wait_for

Object = dict[str, Any]
Starter = Callable[..., Bench]


def gpus(count: int) -> Object:
    return {"resources": {"limits": {"nvidia.com/gpu": str(count)}}}


def a_node(name: str = "n", *, gpus: int = 1, taints: list[Object] | None = None, **spec: Any) -> Object:
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "110", "nvidia.com/gpu": str(gpus)}
    metadata = {"name": name, "labels": {"kubernetes.io/hostname": name, "node-type": "gpu"}}
    return {"metadata": metadata, "spec": {"taints": taints or [], **spec}, "status": {"allocatable": amounts}}


def a_pod(requests: Object | None = None, **spec: Any) -> Object:
    return {"spec": {"containers": [{"name": "c", "resources": {"requests": requests or {}}}], **spec}}


def message(pod: Object, *nodes: Object) -> str:
    return unschedulable_message([found for node in nodes if (found := misfit(pod, node, {})) is not None])


def test_the_words_for_each_reason() -> None:
    tainted = a_node(taints=[{"key": "gpu-workload", "value": "true", "effect": "NoSchedule"}])

    assert message(a_pod({"nvidia.com/gpu": "8"}), a_node()) == (
        "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: "
        "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    assert message(a_pod({"nvidia.com/gpu": "2"}), a_node(), tainted).startswith(
        "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint(s). "
    )
    assert message(a_pod(nodeSelector={"zone": "x"}), a_node()).startswith(
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. "
    )
    assert message(a_pod(), a_node(unschedulable=True)).startswith("0/1 nodes are available: 1 node(s) were unschedulable. ")
    assert message(a_pod({"cpu": "5", "memory": "9Gi"}), a_node()).startswith(
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. "
    )
    assert unschedulable_message([]) == "no nodes available to schedule pods"


def test_required_affinity_terms_are_alternatives() -> None:
    def wanting(*terms: Object) -> Object:
        required = {"nodeSelectorTerms": list(terms)}
        return a_pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}})

    elsewhere = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["x"]}]}
    here = {"matchExpressions": [{"key": "node-type", "operator": "NotIn", "values": ["cpu"]}], "matchFields": []}

    assert misfit(wanting(elsewhere, here), a_node(), {}) is None
    assert misfit(wanting(elsewhere), a_node(), {}) is not None
    assert misfit(wanting({}), a_node(), {}) is not None


def test_init_containers_need_room_one_after_the_other() -> None:
    pod = a_pod({"cpu": "1"})
    pod["spec"]["initContainers"] = [{"name": name, "resources": {"requests": {"cpu": cpu}}} for name, cpu in (("a", "3"), ("b", "500m"))]

    assert requested(pod)["cpu"] == 3


def test_a_pod_waits_for_a_gpu_and_gets_it(own_bench: Starter) -> None:
    bench = own_bench([NodeSpec(name="gpu-1", gpus=1)])
    bench.pod("first", "sleep 100", container=gpus(1))
    bench.wait(PODS, "first", lambda pod: pod["spec"].get("nodeName") == "gpu-1")

    bench.pod("second", "sleep 100", container=gpus(1))

    pod = bench.wait(PODS, "second", lambda item: "PodScheduled" in conditions(item))
    refused = conditions(pod)["PodScheduled"]
    assert (refused["status"], refused["reason"]) == ("False", "Unschedulable")
    assert refused["message"] == (
        "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: "
        "0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
    assert wait_for(lambda: bench.events("second", "FailedScheduling")) == [refused["message"]]

    bench.delete(PODS, "first")
    pod = bench.wait(PODS, "second", lambda item: item["spec"].get("nodeName"))
    assert conditions(pod)["PodScheduled"]["status"] == "True"
    assert wait_for(lambda: bench.events("second", "Scheduled")) == ["Successfully assigned test/second to gpu-1"]


def test_pods_spread_by_free_room_and_follow_selectors(own_bench: Starter) -> None:
    bench = own_bench([NodeSpec(name="gpu-1", gpus=2), NodeSpec(name="gpu-2", gpus=2, labels={"node-type": "gpu", "zone": "b"})])

    bench.pod("one", "sleep 100", container=gpus(1))
    bench.wait(PODS, "one", lambda pod: pod["spec"].get("nodeName"))
    bench.pod("two", "sleep 100", container=gpus(1))
    bench.pod("there", "sleep 100", nodeSelector={"zone": "b"})
    bench.pod("nowhere", "sleep 100", tolerations=[])

    nodes = {name: bench.wait(PODS, name, lambda pod: pod["spec"].get("nodeName"))["spec"]["nodeName"] for name in ("one", "two", "there")}
    assert {nodes["one"], nodes["two"]} == {"gpu-1", "gpu-2"}
    assert nodes["there"] == "gpu-2"
    refused = conditions(bench.wait(PODS, "nowhere", lambda item: "PodScheduled" in conditions(item)))["PodScheduled"]
    assert refused["message"].startswith("0/2 nodes are available: 2 node(s) had untolerated taint(s). ")

    bench.request("PATCH", "/api/v1/nodes/gpu-1", {"spec": {"taints": None}}, patch="merge")
    assert bench.wait(PODS, "nowhere", lambda pod: pod["spec"].get("nodeName"))["spec"]["nodeName"] == "gpu-1"


def test_each_node_has_gpus_and_a_disk_of_its_own(own_bench: Starter) -> None:
    bench = own_bench([NodeSpec(name="gpu-1", gpus=2), NodeSpec(name="gpu-2", gpus=2)])
    volumes = [{"name": "models", "hostPath": {"path": "/models", "type": "DirectoryOrCreate"}}]
    container = {**gpus(1), "volumeMounts": [{"name": "models", "mountPath": "/models"}]}
    script = "echo $NVIDIA_VISIBLE_DEVICES >> /models/gpus; sleep 100"
    for number in range(4):
        name = f"gpu-{number % 2 + 1}"
        bench.pod(f"p{number}", script, container=container, volumes=volumes, nodeSelector={"kubernetes.io/hostname": name})

    def noted() -> list[list[str]]:
        files = [node.disk / "models" / "gpus" for node in bench.cluster.nodes]
        return [sorted(file.read_text().split()) if file.exists() else [] for file in files]

    # Each of a node's pods has a GPU for itself, numbered from 0 on each node, and shares the disk of its own node only.
    wait_for(lambda: noted() == [["0", "1"], ["0", "1"]], show=noted)


def test_a_lost_node_is_marked_tainted_and_emptied_and_comes_back(own_bench: Starter) -> None:
    bench = own_bench([NodeSpec(name="gpu-1", taints=())], node_grace_seconds=1.0)
    bench.pod("stays", "sleep 100")
    bench.pod("goes", "sleep 100", tolerations=[])
    for name in ("stays", "goes"):
        bench.wait(PODS, name, lambda pod: conditions(pod).get("Ready", {}).get("status") == "True")

    bench.cluster.node("gpu-1").stop()

    node = wait_for(lambda: (item := bench.get(NODES, "gpu-1")) and item["spec"].get("taints") and item)
    ready = conditions(node)["Ready"]
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert {(taint["key"], taint["effect"]) for taint in node["spec"]["taints"]} == {
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
    }
    assert conditions(bench.get(PODS, "stays"))["Ready"]["status"] == "False"

    bench.cluster.node("gpu-1").start()
    bench.wait(PODS, "stays", lambda pod: conditions(pod)["Ready"]["status"] == "True")
    wait_for(lambda: not bench.get(NODES, "gpu-1")["spec"].get("taints"))
    assert conditions(bench.get(NODES, "gpu-1"))["Ready"]["status"] == "True"
    assert bench.container("stays")["restartCount"] == 1

    # a kubelet that only stood still finds its containers as they were
    bench.cluster.node("gpu-1").freeze()
    bench.wait(PODS, "stays", lambda pod: conditions(pod)["Ready"]["status"] == "False")
    bench.cluster.node("gpu-1").thaw()
    bench.wait(PODS, "stays", lambda pod: conditions(pod)["Ready"]["status"] == "True")
    assert bench.container("stays")["restartCount"] == 1


def test_a_node_says_what_it_is(own_bench: Starter) -> None:
    bench = own_bench([NodeSpec(name="gpu-1", gpus=4, memory_bytes=32 * 2**30, cpus=8)])

    node = bench.get(NODES, "gpu-1")

    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "gpu-1"
    assert node["metadata"]["labels"]["node-type"] == "gpu"
    assert node["spec"]["taints"] == [{"key": "gpu-workload", "value": "true", "effect": "NoSchedule"}]
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "4"
    assert quantity(node["status"]["allocatable"]["memory"]) == 32 * 2**30
    first = bench.request("GET", LEASES.one("kube-node-lease", "gpu-1"))["spec"]["renewTime"]
    wait_for(lambda: bench.request("GET", LEASES.one("kube-node-lease", "gpu-1"))["spec"]["renewTime"] > first)


def test_a_pod_goes_where_its_volume_is(own_bench: Starter) -> None:
    bench = own_bench([NodeSpec(name="gpu-1"), NodeSpec(name="gpu-2")])
    modes, size = {"accessModes": ["ReadOnlyMany"]}, {"storage": "1Gi"}
    for name in ("gpu-2", "gpu-3"):
        terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}]}]
        volume = {"local": {"path": "/x"}, "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}, "capacity": size, **modes}
        bench.create(VOLUMES, name, spec=volume)
        bench.create(CLAIMS, name, spec={"volumeName": name, "storageClassName": "", "resources": {"requests": size}, **modes})
        bench.pod(f"on-{name}", "true", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": name}}])

    assert bench.wait(PODS, "on-gpu-2", lambda pod: pod["spec"].get("nodeName"))["spec"]["nodeName"] == "gpu-2"
    refused = bench.wait(PODS, "on-gpu-3", lambda pod: "volume" in conditions(pod).get("PodScheduled", {}).get("message", ""))
    assert "2 node(s) had volume node affinity conflict" in conditions(refused)["PodScheduled"]["message"]

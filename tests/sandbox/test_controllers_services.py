"""Endpoints, budgets and garbage collection, seen through the API."""

from __future__ import annotations

from sandbox.kubernetes.meta.client import CONFIG_MAPS, DEPLOYMENTS, DISRUPTION_BUDGETS, ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES
from tests.sandbox.bench import Bench, pod_spec, wait_for

READINESS = {"httpGet": {"path": "/down", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1}


def test_a_service_lists_ready_pods_by_their_named_port(bench: Bench) -> None:
    container = {"ports": [{"name": "http", "containerPort": 8000}], "readinessProbe": READINESS}
    pod = bench.create(PODS, "web", spec=pod_spec(image="web", container=container))
    bench.request("PATCH", PODS.one(bench.namespace, "web"), {"metadata": {"labels": {"app": "web"}}}, patch="merge")
    bench.create(SERVICES, "web", spec={"selector": {"app": "web"}, "ports": [{"name": "api", "port": 80, "targetPort": "http"}]})

    endpoints = bench.wait(ENDPOINTS, "web", lambda item: item.get("subsets") and item["subsets"][0].get("addresses"))

    (subset,) = endpoints["subsets"]
    assert subset["ports"] == [{"name": "api", "port": 8000, "protocol": "TCP"}]
    ip = bench.get(PODS, "web")["status"]["podIP"]
    assert [(entry["ip"], entry["targetRef"]["uid"]) for entry in subset["addresses"]] == [(ip, pod["metadata"]["uid"])]

    def endpoint_conditions() -> dict[str, bool]:
        (item,) = bench.list(ENDPOINT_SLICES, "kubernetes.io/service-name=web")
        return dict(item["endpoints"][0]["conditions"]) if item.get("endpoints") else {}

    wait_for(lambda: endpoint_conditions() == {"ready": True, "serving": True, "terminating": False}, show=endpoint_conditions)

    home = bench.cluster.node("node-1").disk.parent / "pods" / pod["metadata"]["uid"] / "homes" / "c"
    (home / "down").touch()
    bench.wait(ENDPOINTS, "web", lambda item: "addresses" not in item["subsets"][0])
    wait_for(lambda: endpoint_conditions()["ready"] is False)


def test_a_deleted_service_takes_its_endpoints_along(bench: Bench) -> None:
    bench.deployment("web")
    bench.create(SERVICES, "web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]})
    bench.wait(ENDPOINTS, "web", lambda item: item.get("subsets"))

    bench.delete(SERVICES, "web")

    bench.wait_gone(ENDPOINTS, "web")
    wait_for(lambda: not bench.list(ENDPOINT_SLICES, "kubernetes.io/service-name=web"))


def test_a_budget_counts_what_may_be_disturbed(bench: Bench) -> None:
    bench.create(DISRUPTION_BUDGETS, "web", spec={"minAvailable": "50%", "selector": {"matchLabels": {"app": "web"}}})

    bench.deployment("web", replicas=3)

    budget = bench.wait(DISRUPTION_BUDGETS, "web", lambda item: (item.get("status") or {}).get("currentHealthy") == 3)
    counts = {name: budget["status"][name] for name in ("expectedPods", "desiredHealthy", "disruptionsAllowed")}
    assert counts == {"expectedPods": 3, "desiredHealthy": 2, "disruptionsAllowed": 1}


def test_an_object_of_an_owner_that_never_was_goes(bench: Bench) -> None:
    nobody = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none", "uid": "00000000-0000-0000-0000-000000000000"}
    owner = bench.deployment("web")
    somebody = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": owner["metadata"]["uid"]}

    for name, references in (("lost", [nobody]), ("kept", [nobody, somebody])):
        metadata = {"name": name, "ownerReferences": references}
        bench.request("POST", CONFIG_MAPS.within(bench.namespace), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})

    bench.wait_gone(CONFIG_MAPS, "lost")
    kept = bench.wait(CONFIG_MAPS, "kept", lambda item: len(item["metadata"]["ownerReferences"]) == 1)
    assert kept["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"]
    bench.delete(DEPLOYMENTS, "web")
    bench.wait_gone(CONFIG_MAPS, "kept")

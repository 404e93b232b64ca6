"""Deployments and ReplicaSets, seen through the API."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.kubernetes.meta.client import DEPLOYMENTS, PODS, REPLICA_SETS
from tests.sandbox.bench import Bench, conditions, wait_for

Object = dict[str, Any]
REVISION = "deployment.kubernetes.io/revision"


def complete(deployment: Object) -> bool:
    """As `kubectl rollout status` judges it."""
    status, wanted = deployment.get("status") or {}, deployment["spec"]["replicas"]
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return status.get("observedGeneration") == deployment["metadata"]["generation"] and counts == [wanted] * 3


def new_template(bench: Bench, name: str, **container: Any) -> None:
    template = bench.get(DEPLOYMENTS, name)["spec"]["template"]
    template["spec"]["containers"][0] |= container
    bench.patch(DEPLOYMENTS, name, {"spec": {"template": template}})


def extremes_until_complete(bench: Bench, name: str) -> tuple[int, int]:
    """The fewest available and the most wanted pods on the way to a complete rollout."""
    available, wanted = [], []
    while not complete(deployment := bench.get(DEPLOYMENTS, name)):
        available.append(deployment["status"].get("availableReplicas", 0))
        wanted.append(sum(item["spec"]["replicas"] for item in bench.list(REPLICA_SETS)))
    return min(available), max(wanted)


def test_a_deployment_becomes_available_and_says_so_in_kubernetes_words(bench: Bench) -> None:
    bench.deployment("web", replicas=2)

    deployment = bench.wait(DEPLOYMENTS, "web", complete)

    (replica_set,) = bench.list(REPLICA_SETS)
    told = {kind: (entry["status"], entry["reason"], entry["message"]) for kind, entry in conditions(deployment).items()}
    assert told == {
        "Available": ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        "Progressing": ("True", "NewReplicaSetAvailable", f'ReplicaSet "{replica_set["metadata"]["name"]}" has successfully progressed.'),
    }
    assert deployment["metadata"]["annotations"][REVISION] == "1"
    assert replica_set["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"] == "2"
    assert replica_set["metadata"]["name"] == f"web-{replica_set['metadata']['labels']['pod-template-hash']}"
    pods = bench.list(PODS, f"app=web,pod-template-hash={replica_set['metadata']['labels']['pod-template-hash']}")
    assert len(pods) == 2
    wait_for(lambda: bench.events("web", "ScalingReplicaSet"))
    assert bench.events("web", "ScalingReplicaSet") == [f"Scaled up replica set {replica_set['metadata']['name']} from 0 to 2"]


def test_a_rolling_update_never_goes_below_its_minimum(bench: Bench) -> None:
    bench.deployment(
        "web", image="web", replicas=3, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    )
    bench.wait(DEPLOYMENTS, "web", complete)

    new_template(bench, "web", env=[{"name": "VERSION", "value": "2"}])

    assert extremes_until_complete(bench, "web") == (3, 4)
    sizes = {item["metadata"]["annotations"][REVISION]: item["spec"]["replicas"] for item in bench.list(REPLICA_SETS)}
    assert sizes == {"1": 0, "2": 3}


def test_a_rolling_update_without_surge_takes_pods_away_first(bench: Bench) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    bench.deployment("web", image="web", replicas=2, strategy=strategy)
    bench.wait(DEPLOYMENTS, "web", complete)

    new_template(bench, "web", env=[{"name": "VERSION", "value": "2"}])

    assert extremes_until_complete(bench, "web") == (1, 2)


def test_a_bad_template_stalls_while_the_old_pods_stay(bench: Bench) -> None:
    bench.deployment("web", replicas=1, progressDeadlineSeconds=1, minReadySeconds=0)
    before = bench.wait(DEPLOYMENTS, "web", complete)

    new_template(bench, "web", image="no/such:1")

    def stalled(item: Object) -> bool:
        return conditions(item)["Progressing"]["status"] == "False"

    deployment = bench.wait(DEPLOYMENTS, "web", stalled)
    progressing = conditions(deployment)["Progressing"]
    new = next(item for item in bench.list(REPLICA_SETS) if item["metadata"]["annotations"][REVISION] == "2")
    assert progressing["reason"] == "ProgressDeadlineExceeded"
    assert progressing["message"] == f'ReplicaSet "{new["metadata"]["name"]}" has timed out progressing.'
    assert conditions(deployment)["Available"]["status"] == "True"
    assert deployment["status"]["availableReplicas"] == before["status"]["availableReplicas"] == 1
    assert deployment["status"]["unavailableReplicas"] == 1


def test_going_back_to_a_template_uses_its_old_replica_set_again(bench: Bench) -> None:
    bench.deployment("web")
    bench.wait(DEPLOYMENTS, "web", complete)
    (first,) = bench.list(REPLICA_SETS)
    new_template(bench, "web", env=[{"name": "VERSION", "value": "2"}])
    bench.wait(DEPLOYMENTS, "web", complete)

    new_template(bench, "web", env=None)

    deployment = bench.wait(DEPLOYMENTS, "web", lambda item: complete(item) and item["metadata"]["annotations"][REVISION] == "3")
    again = bench.get(REPLICA_SETS, first["metadata"]["name"])
    assert again["spec"]["replicas"] == 1
    assert again["metadata"]["annotations"][REVISION] == "3"
    assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"
    assert len(bench.list(REPLICA_SETS)) == 2
    assert conditions(deployment)["Progressing"]["reason"] == "NewReplicaSetAvailable"


def test_recreate_ends_all_old_pods_before_it_starts_new_ones(bench: Bench) -> None:
    bench.deployment("web", replicas=2, strategy={"type": "Recreate"})
    bench.wait(DEPLOYMENTS, "web", complete)
    old = {pod["metadata"]["uid"] for pod in bench.list(PODS)}

    new_template(bench, "web", env=[{"name": "VERSION", "value": "2"}])

    while not complete(bench.get(DEPLOYMENTS, "web")):
        # A pod whose containers have all ended may still be listed for a moment; Kubernetes does not wait for that either.
        uids = {pod["metadata"]["uid"] for pod in bench.list(PODS) if pod["status"].get("phase") not in ("Succeeded", "Failed")}
        assert not (uids & old) or not (uids - old), "old and new pods at the same time"
    left = [pod for pod in bench.list(PODS) if pod["metadata"]["uid"] in old]
    assert {pod["status"]["phase"] for pod in left} <= {"Succeeded", "Failed"}


def test_old_replica_sets_beyond_the_history_limit_go(bench: Bench) -> None:
    bench.deployment("web", revisionHistoryLimit=1)
    bench.wait(DEPLOYMENTS, "web", complete)

    for version in ("2", "3", "4"):
        new_template(bench, "web", env=[{"name": "VERSION", "value": version}])
        bench.wait(DEPLOYMENTS, "web", lambda item, wanted=version: complete(item) and item["metadata"]["annotations"][REVISION] == wanted)

    wait_for(lambda: len(bench.list(REPLICA_SETS)) == 2, show=lambda: bench.list(REPLICA_SETS))
    assert sorted(item["metadata"]["annotations"][REVISION] for item in bench.list(REPLICA_SETS)) == ["3", "4"]


def test_scaling_and_pausing(bench: Bench) -> None:
    bench.deployment("web", replicas=1)
    bench.wait(DEPLOYMENTS, "web", complete)

    bench.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 3}})
    bench.wait(DEPLOYMENTS, "web", complete)
    bench.patch(DEPLOYMENTS, "web", {"spec": {"paused": True}})
    bench.wait(DEPLOYMENTS, "web", lambda item: conditions(item)["Progressing"]["reason"] == "DeploymentPaused")
    new_template(bench, "web", env=[{"name": "VERSION", "value": "2"}])
    bench.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 2}})
    bench.wait(DEPLOYMENTS, "web", lambda item: item["status"].get("replicas") == 2)

    assert len(bench.list(REPLICA_SETS)) == 1
    bench.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}})
    bench.wait(DEPLOYMENTS, "web", complete)
    assert len(bench.list(REPLICA_SETS)) == 2


def test_a_pod_that_the_quota_refuses_shows_in_conditions_and_events(bench: Bench) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}
    bench.request("POST", f"/api/v1/namespaces/{bench.namespace}/resourcequotas", quota)

    bench.deployment("web", replicas=2)

    deployment = bench.wait(DEPLOYMENTS, "web", lambda item: "ReplicaFailure" in conditions(item))
    failure = conditions(deployment)["ReplicaFailure"]
    (replica_set,) = bench.list(REPLICA_SETS)
    assert (failure["status"], failure["reason"]) == ("True", "FailedCreate")
    assert "is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1" in failure["message"]
    name = replica_set["metadata"]["name"]
    messages = wait_for(lambda: bench.events(name, "FailedCreate"))
    assert messages[0].startswith(f'Error creating: pods "{name}-')

    bench.request("DELETE", f"/api/v1/namespaces/{bench.namespace}/resourcequotas/few")
    recovered = bench.wait(DEPLOYMENTS, "web", complete)
    assert "ReplicaFailure" not in conditions(recovered)


def test_a_deleted_pod_is_replaced(bench: Bench) -> None:
    bench.deployment("web")
    bench.wait(DEPLOYMENTS, "web", complete)
    (pod,) = bench.list(PODS)

    bench.delete(PODS, pod["metadata"]["name"])

    bench.wait_gone(PODS, pod["metadata"]["name"])
    bench.wait(DEPLOYMENTS, "web", complete)
    (other,) = bench.list(PODS)
    assert other["metadata"]["uid"] != pod["metadata"]["uid"]


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_deleting_a_deployment_takes_its_pods_along(bench: Bench, propagation: str) -> None:
    bench.deployment("web")
    bench.wait(DEPLOYMENTS, "web", complete)

    bench.delete(DEPLOYMENTS, "web", propagationPolicy=propagation)

    bench.wait_gone(DEPLOYMENTS, "web")
    if propagation == "Foreground":
        assert not bench.list(REPLICA_SETS)
    wait_for(lambda: not bench.list(PODS) and not bench.list(REPLICA_SETS))


def test_orphans_stay_and_are_adopted_by_the_next_deployment(bench: Bench) -> None:
    body = bench.deployment("web")
    bench.wait(DEPLOYMENTS, "web", complete)
    (pod,) = bench.list(PODS)

    bench.delete(DEPLOYMENTS, "web", propagationPolicy="Orphan")
    bench.wait_gone(DEPLOYMENTS, "web")
    (replica_set,) = bench.list(REPLICA_SETS)
    assert not replica_set["metadata"].get("ownerReferences")
    bench.create(DEPLOYMENTS, "web", spec=body["spec"])

    bench.wait(DEPLOYMENTS, "web", complete)
    (same,) = bench.list(PODS)
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]

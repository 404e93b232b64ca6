"""What the API promises about objects, beyond what was recorded: deletion, quotas, validation, custom resources."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Api, wait_for

JSON = dict[str, Any]


def configmap(name: str, **more: Any) -> JSON:
    return {"metadata": {"name": name, **more}}


def pod(name: str, **spec: Any) -> JSON:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}], **spec}}


def test_write_without_change_makes_no_new_version(api: Api) -> None:
    made = api.made("configmaps", configmap("a"))
    again = api.patch("configmaps", "a", {"metadata": {"labels": None}}).json()
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_finalizer_keeps_an_object_until_it_is_taken_away(api: Api) -> None:
    # Given an object with a finalizer
    api.made("configmaps", configmap("a", finalizers=["example.com/hold"]))
    # When it is deleted
    deleted = api.delete("configmaps", "a").json()
    # Then it is only marked
    assert "deletionTimestamp" in deleted["metadata"]
    assert api.get("configmaps", "a").status_code == 200
    # When the finalizer is taken away
    api.patch("configmaps", "a", {"metadata": {"finalizers": None}})
    # Then it is gone
    assert api.get("configmaps", "a").status_code == 404


def test_delete_checks_its_preconditions(api: Api) -> None:
    api.made("configmaps", configmap("a"))
    refused = api.delete("configmaps", "a", preconditions={"uid": "another"})
    assert (refused.status_code, refused.json()["reason"]) == (409, "Conflict")
    assert api.get("configmaps", "a").status_code == 200


def test_pod_on_a_node_goes_when_its_node_says_so(api: Api) -> None:
    # Given a pod on a node and one on none
    for name in ("bound", "unbound"):
        api.made("pods", pod(name))
    binding = {"metadata": {"name": "bound"}, "target": {"kind": "Node", "name": "n"}}
    assert api.http.post(api.path("pods", "bound/binding"), json=binding).status_code == 201
    # When both are deleted
    marked = api.delete("pods", "bound", gracePeriodSeconds=7).json()
    api.delete("pods", "unbound")
    # Then the one is gone at once, the other has its grace period, and goes when the node deletes it
    assert api.get("pods", "unbound").status_code == 404
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 7
    assert api.get("pods", "bound").status_code == 200
    api.delete("pods", "bound", gracePeriodSeconds=0)
    assert api.get("pods", "bound").status_code == 404


def test_namespace_takes_its_content_along_and_nothing_new(api: Api) -> None:
    # Given a namespace with something that holds it
    api.made("configmaps", configmap("held", finalizers=["example.com/hold"]))
    api.made("secrets", {"metadata": {"name": "s"}, "stringData": {"k": "v"}})
    # When it is deleted
    api.http.delete(f"/api/v1/namespaces/{api.namespace}")
    wait_for(lambda: api.get("secrets", "s").status_code == 404)
    # Then it takes nothing new
    refused = api.create("configmaps", configmap("new"))
    assert refused.status_code == 403
    assert refused.json()["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    # And it goes when the last thing in it is gone
    api.patch("configmaps", "held", {"metadata": {"finalizers": None}})
    wait_for(lambda: api.http.get(f"/api/v1/namespaces/{api.namespace}").status_code == 404)


def test_quota_refuses_what_does_not_fit_and_tells_what_is_used(api: Api) -> None:
    # Given room for one GPU, and a pod that has it
    api.made("resourcequotas", {"metadata": {"name": "gpus"}, "spec": {"hard": {"requests.nvidia.com/gpu": "1", "pods": "5"}}})
    gpu = [{"name": "c", "image": "i:1", "resources": {"limits": {"nvidia.com/gpu": 1}}}]
    api.made("pods", pod("first", containers=gpu))
    # When another wants one
    refused = api.create("pods", pod("second", containers=gpu))
    # Then it is refused in Kubernetes' words
    assert refused.status_code == 403
    assert refused.json()["message"] == (
        'pods "second" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, '
        "used: requests.nvidia.com/gpu=1, limited: requests.nvidia.com/gpu=1"
    )
    assert api.get("resourcequotas", "gpus").json()["status"]["used"] == {"requests.nvidia.com/gpu": "1", "pods": "1"}
    # And there is room again when the first is gone
    api.delete("pods", "first")
    assert api.get("resourcequotas", "gpus").json()["status"]["used"]["requests.nvidia.com/gpu"] == "0"
    assert api.create("pods", pod("second", containers=gpu)).status_code == 201


def test_limit_range_gives_defaults_and_sets_bounds(api: Api) -> None:
    limits = [{"type": "Container", "default": {"memory": "1Gi"}, "defaultRequest": {"memory": "512Mi"}, "max": {"memory": "2Gi"}}]
    api.made("limitranges", {"metadata": {"name": "l"}, "spec": {"limits": limits}})
    made = api.made("pods", pod("small"))
    assert made["spec"]["containers"][0]["resources"] == {"limits": {"memory": "1Gi"}, "requests": {"memory": "512Mi"}}
    big = [{"name": "c", "image": "i", "resources": {"limits": {"memory": "4Gi"}}}]
    refused = api.create("pods", pod("big", containers=big))
    assert refused.status_code == 403
    assert "maximum memory usage per Container is 2Gi, but limit is 4Gi" in refused.json()["message"]


def test_pod_gets_its_account_with_a_token_unless_it_wants_none(api: Api) -> None:
    mounted = api.made("pods", pod("a"))
    plain = api.made("pods", pod("b", automountServiceAccountToken=False))
    refused = api.create("pods", pod("c", serviceAccountName="nobody"))
    assert mounted["spec"]["serviceAccountName"] == "default"
    assert mounted["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert "volumes" not in plain["spec"]
    assert refused.status_code == 403
    assert 'serviceaccount "nobody" not found' in refused.json()["message"]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"containers": []}, "spec.containers: Required value"),
        ({"containers": [{"name": "A", "image": "i"}]}, 'spec.containers[0].name: Invalid value: "A"'),
        ({"containers": [{"name": "c"}]}, "spec.containers[0].image: Required value"),
        ({"containers": [{"name": "c", "image": "i"}] * 2}, 'spec.containers[1].name: Duplicate value: "c"'),
        ({"restartPolicy": "Sometimes"}, 'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always"'),
        (
            {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
        ),
        (
            {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]},
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"nvidia.com/gpu": "500m"}}}]},
            "must be an integer",
        ),
    ],
)
def test_invalid_pod_is_refused_with_the_field(api: Api, spec: JSON, problem: str) -> None:
    refused = api.create("pods", pod("p", **spec))
    assert refused.status_code == 422
    assert problem in refused.json()["message"]


def test_pod_may_not_change_but_for_its_image(api: Api) -> None:
    api.made("pods", pod("p"))
    image = {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}
    assert api.patch("pods", "p", image, "strategic-merge-patch+json").status_code == 200
    refused = api.patch("pods", "p", {"spec": {"nodeSelector": {"a": "b"}}})
    assert refused.status_code == 422
    assert "pod updates may not change fields other than" in refused.json()["message"]


def test_status_is_written_through_its_subresource_only(api: Api) -> None:
    api.made("pods", pod("p"))
    api.patch("pods", "p", {"status": {"phase": "Running"}})
    assert api.get("pods", "p").json()["status"]["phase"] == "Pending"
    api.patch("pods", "p/status", {"status": {"phase": "Running"}, "metadata": {"finalizers": ["x/y"]}})
    written = api.get("pods", "p").json()
    assert written["status"]["phase"] == "Running"
    # A kubelet's word for its pods: what else of the metadata is the writer's to say is taken with it.
    assert written["metadata"]["finalizers"] == ["x/y"]
    api.patch("pods", "p", {"metadata": {"finalizers": None}})


def test_eviction_respects_the_disruption_budget(api: Api) -> None:
    labelled = {**pod("p"), "metadata": {"name": "p", "labels": {"app": "x"}}}
    api.made("pods", labelled)
    api.patch("pods", "p/status", {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}
    api.made("policy/v1/poddisruptionbudgets", budget)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    refused = api.http.post(api.path("pods", "p/eviction"), json=eviction)
    assert (refused.status_code, refused.json()["reason"]) == (429, "TooManyRequests")
    # When it allows a disruption, by its controller's word if there is one
    api.patch("policy/v1/poddisruptionbudgets", "b", {"spec": {"minAvailable": 0}})
    api.patch("policy/v1/poddisruptionbudgets", "b/status", {"status": {"disruptionsAllowed": 1, "observedGeneration": 2}})
    wait_for(lambda: api.http.post(api.path("pods", "p/eviction"), json=eviction).status_code == 201)
    assert api.get("pods", "p").status_code == 404


def test_custom_resources_are_served_once_defined(api: Api) -> None:
    # Given the definition of a resource
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
    names = {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]}
    group = f"{api.namespace}.example.com"
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    definition = {"metadata": {"name": f"widgets.{group}"}, "spec": spec}
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert api.http.post(definitions, json=definition).status_code == 201
    # Then its objects can be made, and fields that it does not know are refused or dropped
    widgets = f"{group}/v1/widgets"
    body = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1, "colour": "red"}}
    # a moment after they are defined
    wait_for(lambda: api.get(widgets).status_code == 200)
    refused = api.create(widgets, body, fieldValidation="Strict")
    made = api.made(widgets, body)
    assert 'unknown field "spec.colour"' in refused.json()["message"]
    assert made["spec"] == {"size": 1}
    assert api.patch(widgets, "w", {"spec": {"size": 2}}).json()["metadata"]["generation"] == 2
    # And they go with their definition
    api.http.delete(f"{definitions}/widgets.{group}")
    wait_for(lambda: api.get(widgets, "w").status_code == 404)


def test_events_of_the_new_group_are_the_old_ones(api: Api) -> None:
    regarding = {"kind": "Pod", "name": "p", "namespace": api.namespace}
    event = {"metadata": {"name": "e"}, "regarding": regarding, "note": "hello", "reason": "Said", "type": "Normal"}
    untimed = api.create("events.k8s.io/v1/events", event)
    assert untimed.status_code == 422
    assert "eventTime" in [cause["field"] for cause in untimed.json()["details"]["causes"]]
    by = {"reportingController": "example.com/tests", "reportingInstance": "tests-1", "action": "Saying"}
    api.made("events.k8s.io/v1/events", {**event, **by, "eventTime": "2026-11-30T12:00:00.000000Z"})
    old = api.get("events", fieldSelector="reason=Said").json()["items"][0]
    assert (old["message"], old["involvedObject"]["name"]) == ("hello", "p")
    assert api.get("events.k8s.io/v1/events", "e").json()["note"] == "hello"


def test_dry_run_of_an_update_changes_nothing(api: Api) -> None:
    api.made("configmaps", configmap("a"))
    shown = api.patch("configmaps", "a", {"data": {"k": "v"}}, dryRun="All").json()
    assert shown["data"] == {"k": "v"}
    assert "data" not in api.get("configmaps", "a").json()


@pytest.mark.parametrize("body", ["{", "[]", '"text"', '{"metadata": "text"}', '{"metadata": {"labels": []}}', '{"kind": "Secret"}'])
def test_malformed_body_is_a_bad_request(api: Api, body: str) -> None:
    response = api.http.post(api.path("configmaps"), content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["kind"]) == (400, "Status")

"""What the API refuses to change: fields that are fixed, and objects that have changed in the meantime."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Api

JSON = dict[str, Any]
LABELS = {"app": "a"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}


@pytest.mark.parametrize(
    ("resource", "content", "change", "problem"),
    [
        ("configmaps", {"data": {"k": "v"}, "immutable": True}, {"data": {"k": "w"}}, "field is immutable when `immutable` is set"),
        ("secrets", {"stringData": {"k": "v"}, "immutable": True}, {"immutable": False}, "field is immutable when `immutable` is set"),
        ("secrets", {"type": "Opaque"}, {"type": "other"}, "type: Invalid value"),
        ("services", {"spec": {"ports": [{"port": 80}], "clusterIP": "None"}}, {"spec": {"clusterIP": "10.96.3.4"}}, "spec.clusterIPs[0]"),
        (
            "apps/v1/deployments",
            {"spec": {"selector": {"matchLabels": LABELS}, "template": TEMPLATE, "replicas": 0}},
            {"spec": {"selector": {"matchLabels": {"app": "b"}}}},
            "spec.template.metadata.labels: Invalid value",
        ),
        (
            "batch/v1/jobs",
            {"spec": {"suspend": True, "template": {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}},
            {"spec": {"completions": 3}},
            "spec.completions: Invalid value",
        ),
    ],
)
def test_fields_that_are_fixed(api: Api, resource: str, content: JSON, change: JSON, problem: str) -> None:
    api.made(resource, {"metadata": {"name": "a"}, **content})

    def wanted() -> JSON:
        return {key: value for key, value in api.get(resource, "a").json().items() if key not in ("metadata", "status")}

    before = wanted()

    refused = api.patch(resource, "a", change)

    assert refused.status_code == 422
    assert refused.json()["reason"] == "Invalid"
    assert problem in refused.json()["message"]
    assert wanted() == before


@pytest.mark.parametrize("kind", ["merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"])
def test_a_patch_that_names_an_old_version_is_refused(api: Api, kind: str) -> None:
    # Given an object that has changed since it was read
    read = api.made("configmaps", {"metadata": {"name": "a"}})
    api.patch("configmaps", "a", {"data": {"k": "new"}})
    # When somebody changes what they have read
    body = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"z": "1"}}
    body["metadata"] = {"name": "a", "resourceVersion": read["metadata"]["resourceVersion"]}
    refused = api.patch("configmaps", "a", body, kind, fieldManager="tester")
    # Then the change is refused, and the other one stays
    assert (refused.status_code, refused.json()["reason"]) == (409, "Conflict")
    assert api.get("configmaps", "a").json()["data"] == {"k": "new"}
    # And it is accepted by whoever names no version
    del body["metadata"]["resourceVersion"]
    assert api.patch("configmaps", "a", body, kind, fieldManager="tester").json()["data"] == {"k": "new", "z": "1"}


def test_a_json_patch_may_test_what_it_expects(api: Api) -> None:
    api.made("configmaps", {"metadata": {"name": "a"}, "data": {"k": "v"}})
    expecting = [{"op": "test", "path": "/data/k", "value": "other"}, {"op": "remove", "path": "/data/k"}]

    refused = api.patch("configmaps", "a", expecting, "json-patch+json")

    assert refused.status_code == 422
    assert api.get("configmaps", "a").json()["data"] == {"k": "v"}


def test_a_dry_run_deletes_nothing(api: Api) -> None:
    api.made("configmaps", {"metadata": {"name": "a"}})

    shown = api.http.request("DELETE", api.path("configmaps", "a"), params={"dryRun": "All"})

    assert shown.status_code == 200
    assert api.get("configmaps", "a").status_code == 200


def test_a_field_that_its_owner_drops_goes_and_one_that_another_owns_stays(api: Api) -> None:
    def apply(manager: str, data: JSON, **query: str) -> int:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}
        return api.patch("configmaps", "a", body, "apply-patch+yaml", fieldManager=manager, **query).status_code

    # Given two managers, of whom each owns a field, and one field that both own
    assert apply("one", {"ours": "1", "mine": "1"}) == 201
    assert apply("two", {"ours": "1", "yours": "1"}) == 200
    # When the first drops both of its fields
    assert apply("one", {}) == 200
    # Then only the one that nobody else owns is gone
    assert api.get("configmaps", "a").json()["data"] == {"ours": "1", "yours": "1"}
    # And a value of another's takes force
    assert apply("one", {"yours": "2"}) == 409
    assert apply("one", {"yours": "2"}, force="true") == 200
    owners = {entry["manager"]: entry["fieldsV1"]["f:data"] for entry in api.get("configmaps", "a").json()["metadata"]["managedFields"]}
    assert {manager: set(fields) - {"."} for manager, fields in owners.items()} == {"one": {"f:yours"}, "two": {"f:ours"}}


def test_a_field_that_is_given_to_a_manager_goes_with_its_next_apply(api: Api) -> None:
    # Given a field that one manager applied, and one that another added
    def apply(**query: str) -> JSON:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"ours": "1"}}
        return dict(api.patch("configmaps", "a", body, "apply-patch+yaml", fieldManager="one", force="true", **query).json())

    apply()
    api.patch("configmaps", "a", {"data": {"theirs": "1"}}, "merge-patch+json", fieldManager="two")
    assert apply(dryRun="All")["data"] == {"ours": "1", "theirs": "1"}

    # When the first is made the owner of both, which changes nothing else
    seen = api.get("configmaps", "a").json()
    (owners,) = [entry for entry in seen["metadata"]["managedFields"] if entry["manager"] == "one"]
    owners["fieldsV1"]["f:data"]["f:theirs"] = {}
    change = [
        {"op": "replace", "path": "/metadata/managedFields", "value": [owners]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": seen["metadata"]["resourceVersion"]},
    ]
    given = api.patch("configmaps", "a", change, "json-patch+json")
    assert (given.status_code, given.json()["data"]) == (200, {"ours": "1", "theirs": "1"})
    assert api.patch("configmaps", "a", change, "json-patch+json").status_code == 409  # changed since it was read

    # Then its next apply, and a dry run of it, take away what it does not name
    assert apply(dryRun="All")["data"] == {"ours": "1"}
    assert apply()["data"] == {"ours": "1"}


def test_a_cluster_role_may_be_given_within_one_namespace(api: Api) -> None:
    api.made("serviceaccounts", {"metadata": {"name": "viewer"}})
    token = api.http.post(api.path("serviceaccounts", "viewer/token"), json={"spec": {}}).json()["status"]["token"]
    subject = {"kind": "ServiceAccount", "name": "viewer", "namespace": api.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}

    api.made("rbac.authorization.k8s.io/v1/rolebindings", {"metadata": {"name": "b"}, "subjects": [subject], "roleRef": role})

    viewer = api.acting_as(token)
    assert viewer.get("configmaps").status_code == 200
    assert viewer.get("secrets").status_code == 403
    assert viewer.create("configmaps", {"metadata": {"name": "a"}}).status_code == 403
    assert viewer.http.get("/api/v1/namespaces/default/configmaps").status_code == 403

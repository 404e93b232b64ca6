"""Who may do what: tokens, roles, acting as someone else."""

from __future__ import annotations

import pytest

from tests.contract.conftest import Api, wait_for

RBAC = "rbac.authorization.k8s.io/v1"


def account_token(api: Api, name: str) -> str:
    api.made("serviceaccounts", {"metadata": {"name": name}})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    return str(api.http.post(api.path("serviceaccounts", f"{name}/token"), json=request).json()["status"]["token"])


def allow(api: Api, account: str, *, verbs: list[str], resources: list[str], names: list[str] | None = None) -> None:
    rule = {"apiGroups": [""], "resources": resources, "verbs": verbs, **({"resourceNames": names} if names else {})}
    api.made(f"{RBAC}/roles", {"metadata": {"name": "role"}, "rules": [rule]})
    subject = {"kind": "ServiceAccount", "name": account, "namespace": api.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "role"}
    api.made(f"{RBAC}/rolebindings", {"metadata": {"name": "binding"}, "subjects": [subject], "roleRef": role})


def test_service_account_may_do_what_its_role_says_and_no_more(api: Api) -> None:
    # Given a service account whose role lets it read ConfigMaps
    reader = api.acting_as(account_token(api, "reader"))
    assert reader.get("configmaps").status_code == 403
    allow(api, "reader", verbs=["get", "list"], resources=["configmaps"])
    wait_for(lambda: reader.get("configmaps").status_code == 200)  # a role takes a moment, too
    # Then it reads them, and writes none, and reads nothing else, nor elsewhere
    assert reader.get("configmaps").status_code == 200
    refused = reader.create("configmaps", {"metadata": {"name": "a"}})
    assert refused.status_code == 403
    assert refused.json()["message"] == (
        f'configmaps is forbidden: User "system:serviceaccount:{api.namespace}:reader" cannot create resource "configmaps" '
        f'in API group "" in the namespace "{api.namespace}"'
    )
    assert reader.get("secrets").status_code == 403
    assert reader.http.get("/api/v1/configmaps").status_code == 403
    assert reader.http.get("/apis").status_code == 200


def test_role_may_name_objects_and_subresources(api: Api) -> None:
    reader = api.acting_as(account_token(api, "reader"))
    allow(api, "reader", verbs=["get"], resources=["configmaps", "pods/log"], names=["kube-root-ca.crt", "p"])
    api.made("configmaps", {"metadata": {"name": "other"}})
    wait_for(lambda: reader.get("configmaps", "kube-root-ca.crt").status_code == 200)
    assert reader.get("configmaps", "kube-root-ca.crt").status_code == 200
    assert reader.get("configmaps", "other").status_code == 403
    assert reader.get("pods", "p/log").status_code == 404
    assert reader.get("pods", "p").status_code == 403


def test_token_ends_with_its_account(api: Api) -> None:
    user = api.acting_as(account_token(api, "shortlived"))
    assert user.http.get("/version").status_code == 200
    api.delete("serviceaccounts", "shortlived")
    # what an API server has found out of a token it believes for some seconds
    wait_for(lambda: user.http.get("/version").status_code == 401)


@pytest.mark.parametrize("token", ["x", "a.b.c", "Ym9ndXM.Ym9ndXM.Ym9ndXM"])
def test_false_token_is_unauthorized(api: Api, token: str) -> None:
    assert api.acting_as(token).http.get("/version").status_code == 401


def test_without_a_token_one_is_anonymous(api: Api) -> None:
    nobody = api.acting_as(None)
    assert nobody.http.get("/version").status_code == 200
    assert 'User "system:anonymous" cannot list resource "nodes"' in nobody.http.get("/api/v1/nodes").json()["message"]


def test_token_with_a_changed_claim_is_not_accepted(api: Api) -> None:
    head, claims, signature = account_token(api, "honest").split(".")
    other = account_token(api, "other").split(".")[1]
    forged = api.acting_as(f"{head}.{other}.{signature}")
    assert claims != other
    assert forged.http.get("/version").status_code == 401


def test_too_short_a_lifetime_is_refused(api: Api) -> None:
    response = api.http.post(api.path("serviceaccounts", "default/token"), json={"spec": {"expirationSeconds": 5}})
    assert response.status_code == 422
    assert "may not specify a duration less than 10 minutes" in response.json()["message"]


def test_reviews_answer_for_others_and_for_oneself(api: Api) -> None:
    token = account_token(api, "reader")
    allow(api, "reader", verbs=["list"], resources=["pods"])
    attributes = {"namespace": api.namespace, "verb": "list", "resource": "pods"}
    own = api.acting_as(token).http.post(
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json={"spec": {"resourceAttributes": attributes}}
    )
    other = api.http.post(
        "/apis/authorization.k8s.io/v1/subjectaccessreviews", json={"spec": {"user": "nobody", "resourceAttributes": attributes}}
    )
    who = api.http.post("/apis/authentication.k8s.io/v1/tokenreviews", json={"spec": {"token": token}}).json()["status"]
    assert own.json()["status"]["allowed"] is True
    assert other.json()["status"]["allowed"] is False
    assert who["user"]["username"] == f"system:serviceaccount:{api.namespace}:reader"


def test_acting_as_another_needs_the_right_to(api: Api) -> None:
    plain = api.acting_as(account_token(api, "plain"))
    as_nobody = {"impersonate-user": "nobody"}
    assert api.http.get(api.path("pods"), headers=as_nobody).status_code == 403
    assert 'User "nobody"' in api.http.get(api.path("pods"), headers=as_nobody).json()["message"]
    refused = plain.http.get(api.path("pods"), headers={"impersonate-user": "kubernetes-admin", "impersonate-group": "system:masters"})
    # asked for is whether it may do just that as another one
    assert refused.status_code == 403
    assert 'cannot impersonate-on:user-info:list resource "pods"' in refused.json()["message"]


def test_requests_are_remembered_with_user_and_outcome(api: Api) -> None:
    # Given a user who is refused
    api.acting_as(account_token(api, "reader")).get("secrets")
    # Then the server's log of requests has it
    last = api.server.exchanges[-1]
    assert (last.method, last.path, last.code) == ("GET", api.path("secrets"), 403)
    assert last.user == f"system:serviceaccount:{api.namespace}:reader"


def test_an_apply_that_makes_an_object_needs_the_right_to_create(api: Api) -> None:
    patcher = api.acting_as(account_token(api, "patcher"))
    allow(api, "patcher", verbs=["patch"], resources=["configmaps"])
    api.made("configmaps", {"metadata": {"name": "there"}})
    empty = {"apiVersion": "v1", "kind": "ConfigMap"}
    wait_for(lambda: patcher.patch("configmaps", "there", empty, "apply-patch+yaml", fieldManager="m").status_code == 200)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}

    assert patcher.patch("configmaps", "there", body, "apply-patch+yaml", fieldManager="m").status_code == 200
    nameless = patcher.patch("configmaps", "new", body, "apply-patch+yaml", fieldManager="m")
    named = {**body, "metadata": {"name": "new"}}
    refused = patcher.patch("configmaps", "new", named, "apply-patch+yaml", fieldManager="m")

    assert (nameless.status_code, nameless.json()["reason"]) == (400, "BadRequest")
    assert "name must be provided" in nameless.json()["message"]

    assert refused.status_code == 403
    assert 'cannot create resource "configmaps"' in refused.json()["message"]

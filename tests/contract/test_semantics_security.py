"""Namespaces that want their pods secure: what is refused, and what is only warned of, in Kubernetes' words."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from sandbox.helm import kubectl_executable
from tests.contract.conftest import Api, wait_for

JSON = dict[str, Any]

SECURE: JSON = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
PLAIN = (
    'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
    'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
    'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
    'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
)


def want(api: Api, **modes: str) -> None:
    labels = {f"pod-security.kubernetes.io/{mode}": level for mode, level in modes.items()}
    path = f"/api/v1/namespaces/{api.namespace}"
    headers = {"content-type": "application/merge-patch+json"}
    assert api.http.patch(path, json={"metadata": {"labels": labels}}, headers=headers).status_code == 200
    # Admission hears of a namespace's labels a moment later; what every level but the widest refuses tells when.
    wanted = 201 if modes.get("enforce", "privileged") == "privileged" else 403
    wait_for(lambda: api.create("pods", pod(hostNetwork=True), dryRun="All").status_code == wanted)
    if "warn" in modes:
        wait_for(lambda: "warning" in api.create("pods", pod(hostNetwork=True), dryRun="All").headers or wanted == 403)


def pod(context: JSON | None = None, **spec: Any) -> JSON:
    container = {"name": "c", "image": "i:1", **({"securityContext": context} if context else {})}
    return {"metadata": {"name": "p"}, "spec": {"containers": [container], **spec}}


def test_a_plain_pod_is_refused_where_restricted_is_enforced_with_everything_that_it_lacks(api: Api) -> None:
    want(api, enforce="restricted")

    refused = api.create("pods", pod())

    assert (refused.status_code, refused.json()["reason"]) == (403, "Forbidden")
    assert refused.json()["message"] == f'pods "p" is forbidden: violates PodSecurity "restricted:latest": {PLAIN}'
    assert api.create("pods", pod(SECURE)).status_code == 201


def test_what_the_pod_says_counts_for_its_containers(api: Api) -> None:
    want(api, enforce="restricted")
    context = {key: SECURE[key] for key in ("allowPrivilegeEscalation", "capabilities")}

    made = pod(
        context, securityContext={"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "Localhost", "localhostProfile": "x"}}
    )

    assert api.create("pods", made).status_code == 201


@pytest.mark.parametrize(
    ("level", "changed", "says"),
    [
        ("restricted", pod({**SECURE, "runAsUser": 0}), 'runAsUser=0 (container "c" must not set runAsUser=0)'),
        (
            "restricted",
            pod({**SECURE, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "CHOWN"]}}),
            'unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)',
        ),
        (
            "restricted",
            pod(SECURE, volumes=[{"name": "weights", "hostPath": {"path": "/models"}}]),
            'restricted volume types (volume "weights" uses restricted volume type "hostPath")',
        ),
        ("restricted", pod({**SECURE, "runAsNonRoot": False}), 'container "c" must not set securityContext.runAsNonRoot=false'),
        ("baseline", pod(volumes=[{"name": "weights", "hostPath": {"path": "/models"}}]), 'hostPath volumes (volume "weights")'),
        ("baseline", pod({"privileged": True}), 'privileged (container "c" must not set securityContext.privileged=true)'),
        ("baseline", pod(hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)"),
        (
            "baseline",
            pod({"capabilities": {"add": ["SYS_ADMIN"]}}),
            'non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add)',
        ),
        (
            "baseline",
            pod(securityContext={"seccompProfile": {"type": "Unconfined"}}),
            'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
    ],
)
def test_what_a_level_forbids_is_named(api: Api, level: str, changed: JSON, says: str) -> None:
    want(api, enforce=level)

    refused = api.create("pods", changed)

    assert refused.status_code == 403
    message = refused.json()["message"]
    assert message.startswith(f'pods "p" is forbidden: violates PodSecurity "{level}:latest": ')
    assert says in message
    want(api, enforce="privileged")
    assert api.create("pods", changed).status_code == 201


def test_baseline_takes_a_plain_pod(api: Api) -> None:
    want(api, enforce="baseline")

    assert api.create("pods", pod()).status_code == 201


def test_a_deployment_is_only_warned_of_and_kubectl_shows_it(api: Api, tmp_path: Path) -> None:
    want(api, enforce="restricted", warn="restricted")
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": pod()["spec"]}
    deployment = {"metadata": {"name": "d"}, "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}}

    made = api.create("apps/v1/deployments", deployment)

    assert made.status_code == 201
    escaped = PLAIN.replace('"', '\\"')
    assert made.headers["warning"] == f'299 - "would violate PodSecurity \\"restricted:latest\\": {escaped}"'
    # a change that is none is not warned of
    assert "warning" not in api.patch("apps/v1/deployments", "d", {"metadata": {"labels": labels}}).headers

    manifest = tmp_path / "deployment.json"
    manifest.write_text(json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", **deployment, "metadata": {"name": "other"}}))
    command = [str(kubectl_executable()), "-n", api.namespace, "create", "-f", str(manifest)]
    said = run(command, env={"KUBECONFIG": str(api.kubeconfig), "HOME": str(tmp_path)}, capture_output=True, text=True).stderr
    assert said == f'Warning: would violate PodSecurity "restricted:latest": {PLAIN}\n'

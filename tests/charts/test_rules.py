"""Every release keeps the rules that a careful platform team asks of any chart, and each rule can say no."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.charts.conftest import COMBINATIONS
from tests.charts.rules import of_kind, problems

Spoil = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(("environment", "scenario"), COMBINATIONS)
def test_every_release_keeps_the_rules(chart: Any, environment: str, scenario: str) -> None:
    assert problems(chart.render(environment, scenario)) == []


def of_pod(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    return lambda found: change(found["Deployment"]["spec"]["template"]["spec"])


def of_engine(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    return of_pod(lambda spec: change(spec["containers"][0]))


BROKEN: dict[str, tuple[Spoil, str]] = {
    "root": (of_pod(lambda spec: spec["securityContext"].update(runAsUser=0)), "may run as root"),
    "no seccomp": (of_pod(lambda spec: spec["securityContext"].pop("seccompProfile")), "no seccomp profile"),
    "token": (of_pod(lambda spec: spec.pop("automountServiceAccountToken")), "mounts a token"),
    "links": (of_pod(lambda spec: spec.pop("enableServiceLinks")), "a variable for each Service"),
    "host network": (of_pod(lambda spec: spec.update(hostNetwork=True)), "shares a namespace of the node"),
    "node's folder": (of_pod(lambda spec: spec["volumes"].append({"name": "etc", "hostPath": {"path": "/etc"}})), "of the node as etc"),
    "endless folder": (of_pod(lambda spec: spec["volumes"].append({"name": "big", "emptyDir": {}})), "fills the disk through big"),
    "secret": (of_pod(lambda spec: spec["volumes"].append({"name": "s", "secret": {"secretName": "x"}})), "holds a secret in s"),
    "tag": (of_engine(lambda container: container.update(image="vllm/vllm-openai:latest")), "vllm is not named by digest"),
    "tag and digest": (of_engine(lambda c: c.update(image=c["image"].replace("@", ":v1@"))), "vllm is not named by digest"),
    "writable root": (of_engine(lambda c: c["securityContext"].update(readOnlyRootFilesystem=False)), "vllm is not confined"),
    "init container": (of_pod(lambda spec: spec["initContainers"][0].pop("securityContext")), "check-weights is not confined"),
    "no limits": (of_engine(lambda container: container["resources"].pop("limits")), "vllm has no limits of cpu and memory"),
    "no reason": (of_engine(lambda container: container.pop("terminationMessagePolicy")), "vllm does not say why it ended"),
    "variables": (of_engine(lambda container: container.update(envFrom=[])), "vllm takes variables from elsewhere"),
    "weights": (of_engine(lambda container: container["volumeMounts"][0].pop("readOnly")), "vllm may write to weights"),
    "no probe": (of_engine(lambda container: container.pop("startupProbe")), "vllm lacks startupProbe"),
    "impatient": (of_engine(lambda container: container["livenessProbe"].update(failureThreshold=1)), "killed before it is taken out"),
    "GPUs": (of_engine(lambda container: container["resources"]["limits"].update({"nvidia.com/gpu": 2})), "not one GPU for each rank"),
    "lost Service": (lambda found: found["Service"]["spec"]["selector"].update(a="b"), "Service selects none"),
    "wide Service": (lambda found: found["Service"]["spec"]["selector"].pop("app.kubernetes.io/name"), "Service selects pods that do not"),
    "no policy": (lambda found: found["NetworkPolicy"]["spec"]["policyTypes"].remove("Egress"), "is not shut in by a NetworkPolicy"),
    "two owners": (lambda found: found["Deployment"]["spec"].pop("replicas"), "two owners, or none"),
    "one pod": (lambda found: found["Deployment"]["spec"].update(replicas=1), "a single pod has a disruption budget"),
    "no drain": (lambda found: found["PodDisruptionBudget"]["spec"].update(maxUnavailable=0), "lets no node be drained"),
    "no account": (of_pod(lambda spec: spec.update(serviceAccountName="other")), "needs ServiceAccount other"),
}


@pytest.mark.parametrize(("spoil", "says"), [pytest.param(*case, id=name.replace(" ", "-")) for name, case in BROKEN.items()])
def test_a_rule_that_is_broken_is_found(chart: Any, spoil: Spoil, says: str) -> None:
    documents = copy.deepcopy(chart.render("production"))
    # of the two policies and the two kinds of pods, those of the engine
    spoil({document["kind"]: document for document in reversed(documents) if not document["metadata"]["name"].endswith("-test")})

    found = problems(documents)

    assert [problem for problem in found if says in problem], found


@pytest.mark.parametrize(
    ("scenario", "kind", "field", "value", "says"),
    [
        ("hpa", "HorizontalPodAutoscaler", "minReplicas", 0, "HorizontalPodAutoscaler may take the last pod away"),
        ("keda", "ScaledObject", "minReplicaCount", 0, "ScaledObject may take the last pod away"),
        ("keda", "ScaledObject", "scaleTargetRef", {"name": "other"}, "ScaledObject scales something else"),
        ("keda", "HTTPRoute", "rules", [{"backendRefs": [{"name": "other"}]}], "a route leads to Service other"),
        (
            "full",
            "Ingress",
            "rules",
            [{"http": {"paths": [{"backend": {"service": {"name": "other"}}}]}}],
            "a route leads to Service other",
        ),
    ],
)
def test_a_rule_of_scaling_or_routes_that_is_broken_is_found(
    chart: Any, scenario: str, kind: str, field: str, value: Any, says: str
) -> None:
    documents = copy.deepcopy(chart.render("production", scenario))
    of_kind(documents, kind)[0]["spec"][field] = value

    assert [problem for problem in problems(documents) if says in problem]

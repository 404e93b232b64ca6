"""Who may talk to whom in an environment: the policies of both charts together, over every pair of a small world."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from flows.spec import Deployments
from flows.weights.prefetch import prefetch_job
from flows.weights.scrub import scrub_job
from tests.charts.network import Peer, passes, pod
from tests.support.examples import candidate, environment

HERE, CONTROL = "llm-development", "slipway-development"

OUTSIDE: dict[str, Peer] = {
    "router": pod("llm-router", {"app.kubernetes.io/name": "llm-router"}),
    "router's labels elsewhere": pod("guests", {"app.kubernetes.io/name": "llm-router"}),
    "neighbour of the router": pod("llm-router", {"app": "shell"}),
    "prometheus": pod("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "grafana": pod("monitoring", {"app.kubernetes.io/name": "grafana"}),
    "verifier": pod(CONTROL, {"app.kubernetes.io/part-of": "slipway"}),
    "neighbour of the verifier": pod(CONTROL, {"app": "shell"}),
    "production's verifier": pod("slipway-production", {"app.kubernetes.io/part-of": "slipway"}),
    "another control namespace": pod("slipway", {"app.kubernetes.io/part-of": "slipway"}),
    "production's engine": pod("llm-production", {"app.kubernetes.io/name": "vllm-deployment"}),
    "dns": pod("kube-system", {"k8s-app": "kube-dns"}),
    "neighbour of dns": pod("kube-system", {"k8s-app": "metrics-server"}),
    "api server": Peer(address="192.0.2.17"),
    "internet": Peer(address="203.0.113.7"),
    "internet by IPv6": Peer(address="2001:db8::7"),
    "private address": Peer(address="10.20.30.40"),
    "metadata service": Peer(address="169.254.169.254"),
    "metadata service by IPv6": Peer(address="fd00:ec2::254"),
}
PORTS = [(8000, "TCP"), (443, "TCP"), (53, "UDP"), (53, "TCP"), (22, "TCP"), (80, "TCP"), (8000, "UDP"), (8444, "TCP"), (8444, "UDP")]

#: Everything that passes, and nothing else does.
DECLARED = {
    *((caller, "engine", 8000, "TCP") for caller in ("router", "prometheus", "verifier")),
    *((who, "dns", 53, protocol) for who in ("engine", "prefetch", "scrub", "stranger") for protocol in ("UDP", "TCP")),
    ("prefetch", "prefetch", 8444, "TCP"),
    *(("prefetch", hub, 443, "TCP") for hub in ("api server", "internet", "internet by IPv6")),
}


def inside(chart: Any) -> dict[str, Peer]:
    """Pods of the environment's namespace, with the labels that they really carry."""

    def job(manifest: Mapping[str, Any]) -> Peer:
        return pod(HERE, manifest["spec"]["template"]["metadata"]["labels"])

    where = environment(name="development", namespace=HERE)
    return {
        "engine": pod(HERE, chart.pod("development")["metadata"]["labels"]),
        "prefetch": job(prefetch_job(candidate(), where, "gpu-1", "run", "https://hub.example")),
        "scrub": job(scrub_job(where, "gpu-1", "run")),
        "stranger": pod(HERE, {"app": "shell"}),
    }


def passing(policies: list[Any], pods: Mapping[str, Peer]) -> set[tuple[str, str, int, str]]:
    """Every (source, destination, port, protocol) that passes, of the pairs that touch the environment."""
    everybody = {**OUTSIDE, **pods}
    pairs = [pair for pair in itertools.permutations(everybody, 2) if set(pair) & pods.keys()]
    # an engine has replicas, and a namespace several of everything
    pairs += [(name, name) for name in pods]
    return {
        (source, destination, port, protocol)
        for source, destination in pairs
        for port, protocol in PORTS
        if passes(policies, everybody[source], everybody[destination], port, protocol)
    }


@pytest.fixture(scope="module")
def policies(environment_chart: Any) -> list[Any]:
    return [document for document in environment_chart.render() if document["kind"] == "NetworkPolicy"]


def test_what_is_declared_passes_and_nothing_else(policies: list[Any], chart: Any) -> None:
    assert passing(policies, inside(chart)) == DECLARED


def test_a_models_own_policy_adds_nothing_to_it(policies: list[Any], chart: Any) -> None:
    # given a release with the values of deployments/environments
    values = Deployments.default().environment("development").values
    own = [d for d in chart.render("development", above=dict(values)) if d["kind"] == "NetworkPolicy"]
    assert own

    assert passing([*policies, *own], inside(chart)) == DECLARED


def test_without_default_deny_the_table_would_not_hold(policies: list[Any], chart: Any) -> None:
    holes = passing([policy for policy in policies if policy["metadata"]["name"] != "default-deny"], inside(chart)) - DECLARED

    assert ("production's engine", "stranger", 22, "TCP") in holes


def test_a_mirror_in_the_cluster_replaces_the_public_hub(environment_chart: Any, chart: Any) -> None:
    policies = [document for document in environment_chart.render("full") if document["kind"] == "NetworkPolicy"]
    fetching = pod("models", inside(chart)["prefetch"].pod_labels)
    serving = pod("models", inside(chart)["engine"].pod_labels)
    mirror = pod("mirror", {"app": "hub-mirror"})

    assert passes(policies, fetching, mirror, 8080, "TCP")
    assert not passes(policies, serving, mirror, 8080, "TCP")
    assert not passes(policies, fetching, OUTSIDE["internet"], 443, "TCP")
    # and others let in are those that were named
    assert passes(policies, pod("prefect", {"app": "worker"}), serving, 8000, "TCP")
    assert passes(policies, OUTSIDE["api server"], serving, 8000, "TCP")
    assert not passes(policies, OUTSIDE["verifier"], serving, 8000, "TCP")
    assert not passes(policies, OUTSIDE["internet"], serving, 8000, "TCP")

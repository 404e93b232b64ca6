"""Who may talk to whom, found by evaluating the rendered NetworkPolicy as Kubernetes defines it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.charts.network import Peer, allowed, pod

ROUTER = pod("llm-router", {"app.kubernetes.io/name": "llm-router", "pod-template-hash": "5d9c"})
PROMETHEUS = pod("monitoring", {"app.kubernetes.io/name": "prometheus"})
VERIFIER = pod("slipway", {"app.kubernetes.io/part-of": "slipway", "job-name": "flow-run"})
ROUTER_LABELS_ELSEWHERE = pod("guests", ROUTER.pod_labels)
OTHER_POD_OF_THE_ROUTERS_NAMESPACE = pod("llm-router", {"app.kubernetes.io/name": "debug-shell"})
GRAFANA = pod("monitoring", {"app.kubernetes.io/name": "grafana"})
OTHER_ENGINE = pod("llm-production", {"app.kubernetes.io/name": "vllm-deployment", "app.kubernetes.io/instance": "other"})
NEIGHBOUR = pod("llm-production", {"app": "shell"})
TEST_ELSEWHERE = pod("guests", {"app.kubernetes.io/name": "vllm-deployment-test", "app.kubernetes.io/instance": "tiny-llama"})
TEST_OF_ANOTHER = pod("llm-production", {"app.kubernetes.io/name": "vllm-deployment-test", "app.kubernetes.io/instance": "other"})
DNS = pod("kube-system", {"k8s-app": "kube-dns"})
OTHER_POD_OF_KUBE_SYSTEM = pod("kube-system", {"k8s-app": "metrics-server"})
API_SERVER = Peer(address="192.0.2.17")
INTERNET = Peer(address="203.0.113.7")
METADATA_SERVICE = Peer(address="169.254.169.254")

INGRESS = [
    (ROUTER, 8000, "TCP", True),
    (PROMETHEUS, 8000, "TCP", True),
    (VERIFIER, 8000, "TCP", True),
    (ROUTER, 22, "TCP", False),
    (ROUTER, 8000, "UDP", False),
    (PROMETHEUS, 9400, "TCP", False),
    (ROUTER_LABELS_ELSEWHERE, 8000, "TCP", False),
    (OTHER_POD_OF_THE_ROUTERS_NAMESPACE, 8000, "TCP", False),
    (GRAFANA, 8000, "TCP", False),
    (OTHER_ENGINE, 8000, "TCP", False),
    (NEIGHBOUR, 8000, "TCP", False),
    (TEST_ELSEWHERE, 8000, "TCP", False),
    (TEST_OF_ANOTHER, 8000, "TCP", False),
    (API_SERVER, 8000, "TCP", False),
    (INTERNET, 8000, "TCP", False),
]
EGRESS = [
    (DNS, 53, "UDP", True),
    (DNS, 53, "TCP", True),
    (DNS, 9153, "TCP", False),
    (OTHER_POD_OF_KUBE_SYSTEM, 53, "UDP", False),
    (INTERNET, 53, "UDP", False),
    (INTERNET, 443, "TCP", False),
    (API_SERVER, 443, "TCP", False),
    (METADATA_SERVICE, 80, "TCP", False),
    (OTHER_ENGINE, 8000, "TCP", False),
    (ROUTER, 8000, "TCP", False),
]


def policies_of(chart: Any, *arguments: Any, **named: Any) -> list[dict[str, Any]]:
    return [document for document in chart.render(*arguments, **named) if document["kind"] == "NetworkPolicy"]


def pod_of_the_test(chart: Any, environment: str) -> Peer:
    (found,) = [document for document in chart.render(environment) if document["kind"] == "Pod"]
    return pod(f"llm-{environment}", found["metadata"]["labels"], "10.1.0.3")


def engine_of(chart: Any, environment: str, **named: Any) -> Peer:
    return pod(f"llm-{environment}", chart.pod(environment, **named)["metadata"]["labels"], "10.1.0.2")


def direction(table: Sequence[tuple[Peer, int, str, bool]], way: str) -> list[tuple[str, Peer, int, str, bool]]:
    return [(way, *row) for row in table]


@pytest.mark.parametrize(("way", "peer", "port", "protocol", "expected"), direction(INGRESS, "Ingress") + direction(EGRESS, "Egress"))
@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_who_may_talk_to_whom(chart: Any, environment: str, way: str, peer: Peer, port: int, protocol: str, expected: bool) -> None:
    assert allowed(policies_of(chart, environment), engine_of(chart, environment), way, peer, port, protocol) is expected


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_the_pod_of_helm_test_reaches_the_engine_and_names_and_nothing_else(chart: Any, environment: str) -> None:
    policies, engine, tester = policies_of(chart, environment), engine_of(chart, environment), pod_of_the_test(chart, environment)
    for way, of, peer in (("Egress", tester, engine), ("Ingress", engine, tester)):
        assert allowed(policies, of, way, peer, 8000, "TCP")
        assert not allowed(policies, of, way, peer, 22, "TCP")
    assert allowed(policies, tester, "Egress", DNS, 53, "UDP")
    for peer, port, protocol, _ in INGRESS:
        assert not allowed(policies, tester, "Ingress", peer, port, protocol)
    for peer in (INTERNET, API_SERVER, METADATA_SERVICE, NEIGHBOUR, OTHER_ENGINE):
        assert not allowed(policies, tester, "Egress", peer, 443, "TCP")
        assert not allowed(policies, tester, "Egress", peer, 8000, "TCP")


def test_the_control_plane_gets_in_where_its_range_is_listed(chart: Any) -> None:
    policies, engine = policies_of(chart, "production", "full"), engine_of(chart, "production", scenario="full")
    assert allowed(policies, engine, "Ingress", API_SERVER, 8000, "TCP")
    assert not allowed(policies, engine, "Ingress", API_SERVER, 22, "TCP")
    assert not allowed(policies, engine, "Ingress", INTERNET, 8000, "TCP")


def test_other_peers_replace_the_default_ones(chart: Any) -> None:
    policies, engine = policies_of(chart, "production", "full"), engine_of(chart, "production", scenario="full")
    assert allowed(policies, engine, "Ingress", pod("gateway", {"app": "gateway"}), 8000, "TCP")
    assert allowed(policies, engine, "Ingress", PROMETHEUS, 8000, "TCP")
    assert not allowed(policies, engine, "Ingress", ROUTER, 8000, "TCP")
    assert not allowed(policies, engine, "Ingress", VERIFIER, 8000, "TCP")


def test_no_peers_means_nobody_and_not_everybody(chart: Any) -> None:
    above: dict[str, list[str]] = {f"networkPolicy.{who}": [] for who in ("routers", "prometheus", "verifiers", "dns")}
    policies, engine = policies_of(chart, above=above), engine_of(chart, "production", above=above)
    assert not any(allowed(policies, engine, "Ingress", peer, port, protocol) for peer, port, protocol, _ in INGRESS)
    assert not any(allowed(policies, engine, "Egress", peer, port, protocol) for peer, port, protocol, _ in EGRESS)


def test_the_control_plane_alone_is_let_in_alone(chart: Any) -> None:
    above: dict[str, list[str]] = {f"networkPolicy.{who}": [] for who in ("routers", "prometheus", "verifiers")} | {
        "networkPolicy.controlPlane": ["192.0.2.16/28"]
    }
    policies, engine = policies_of(chart, above=above), engine_of(chart, "production", above=above)
    assert allowed(policies, engine, "Ingress", API_SERVER, 8000, "TCP")
    assert not any(
        allowed(policies, engine, "Ingress", peer, port, protocol) for peer, port, protocol, _ in INGRESS if peer is not API_SERVER
    )


def test_the_policy_leaves_other_pods_of_the_namespace_alone(chart: Any) -> None:
    policies = policies_of(chart)
    assert allowed(policies, NEIGHBOUR, "Ingress", INTERNET, 8000, "TCP")
    assert allowed(policies, OTHER_ENGINE, "Egress", INTERNET, 443, "TCP")


def test_it_can_be_left_out(chart: Any) -> None:
    kinds = [document["kind"] for document in chart.render(above={"networkPolicy.enabled": False})]
    assert "Deployment" in kinds
    assert "NetworkPolicy" not in kinds

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


def engine_of(chart: Any, environment: str, **named: Any) -> Peer:
    return pod(f"llm-{environment}", chart.pod(environment, **named)["metadata"]["labels"], "10.1.0.2")


def direction(table: Sequence[tuple[Peer, int, str, bool]], way: str) -> list[tuple[str, Peer, int, str, bool]]:
    return [(way, *row) for row in table]


@pytest.mark.parametrize(("way", "peer", "port", "protocol", "expected"), direction(INGRESS, "Ingress") + direction(EGRESS, "Egress"))
@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_who_may_talk_to_whom(chart: Any, environment: str, way: str, peer: Peer, port: int, protocol: str, expected: bool) -> None:
    policy = chart.one("NetworkPolicy", environment)
    assert allowed([policy], engine_of(chart, environment), way, peer, port, protocol) is expected


def test_the_control_plane_gets_in_where_its_range_is_listed(chart: Any) -> None:
    policy, engine = chart.one("NetworkPolicy", "production", "full"), engine_of(chart, "production", scenario="full")
    assert allowed([policy], engine, "Ingress", API_SERVER, 8000, "TCP")
    assert not allowed([policy], engine, "Ingress", API_SERVER, 22, "TCP")
    assert not allowed([policy], engine, "Ingress", INTERNET, 8000, "TCP")


def test_other_peers_replace_the_default_ones(chart: Any) -> None:
    policy, engine = chart.one("NetworkPolicy", "production", "full"), engine_of(chart, "production", scenario="full")
    assert allowed([policy], engine, "Ingress", pod("gateway", {"app": "gateway"}), 8000, "TCP")
    assert allowed([policy], engine, "Ingress", PROMETHEUS, 8000, "TCP")
    assert not allowed([policy], engine, "Ingress", ROUTER, 8000, "TCP")
    assert not allowed([policy], engine, "Ingress", VERIFIER, 8000, "TCP")


def test_no_peers_means_nobody_and_not_everybody(chart: Any) -> None:
    above: dict[str, list[str]] = {f"networkPolicy.{who}": [] for who in ("routers", "prometheus", "verifiers", "dns")}
    policy, engine = chart.one("NetworkPolicy", above=above), engine_of(chart, "production", above=above)
    assert not any(allowed([policy], engine, "Ingress", peer, port, protocol) for peer, port, protocol, _ in INGRESS)
    assert not any(allowed([policy], engine, "Egress", peer, port, protocol) for peer, port, protocol, _ in EGRESS)


def test_the_control_plane_alone_is_let_in_alone(chart: Any) -> None:
    above: dict[str, list[str]] = {f"networkPolicy.{who}": [] for who in ("routers", "prometheus", "verifiers")} | {
        "networkPolicy.controlPlane": ["192.0.2.16/28"]
    }
    policy, engine = chart.one("NetworkPolicy", above=above), engine_of(chart, "production", above=above)
    assert allowed([policy], engine, "Ingress", API_SERVER, 8000, "TCP")
    assert not any(
        allowed([policy], engine, "Ingress", peer, port, protocol) for peer, port, protocol, _ in INGRESS if peer is not API_SERVER
    )


def test_the_policy_leaves_other_pods_of_the_namespace_alone(chart: Any) -> None:
    policy = chart.one("NetworkPolicy")
    assert allowed([policy], NEIGHBOUR, "Ingress", INTERNET, 8000, "TCP")
    assert allowed([policy], OTHER_ENGINE, "Egress", INTERNET, 443, "TCP")


def test_it_can_be_left_out(chart: Any) -> None:
    kinds = [document["kind"] for document in chart.render(above={"networkPolicy.enabled": False})]
    assert "Deployment" in kinds
    assert "NetworkPolicy" not in kinds

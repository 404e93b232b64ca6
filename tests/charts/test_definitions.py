"""What others define is rendered as their published definitions know it, and the pages state from which release on they do."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from flows.spec.load import ROOT
from tests.charts.conftest import ENVIRONMENTS
from tests.monitoring.conftest import rendered
from tests.support.definitions import problems
from tests.support.documents import read_all_yaml

OPERATOR = {
    "PodMonitor": "prom-podmonitors.yaml",
    "ServiceMonitor": "prom-servicemonitors.yaml",
    "PrometheusRule": "prom-prometheusrules.yaml",
}
ARGO_CD = {"Application": "argo-application.yaml", "ApplicationSet": "argo-applicationset.yaml", "AppProject": "argo-appproject.yaml"}

ROUTE = {"kind": "httpRoute", "host": "tiny.example.com", "gateway": {"name": "public"}}


@pytest.mark.parametrize(
    ("said", "file"),
    [({}, "gateway.yaml"), ({"gatewayApi": "1.2"}, "gateway-httproutes-newest.yaml"), ({}, "gateway-httproutes-newest.yaml")],
)
def test_a_route_has_what_the_gateway_api_of_that_release_knows(chart: Any, said: dict[str, Any], file: str) -> None:
    route = chart.one("HTTPRoute", above={"route": {**ROUTE, **said}})
    assert problems(route, file) == []


def test_a_field_that_an_older_release_does_not_know_would_be_noticed(chart: Any) -> None:
    route = chart.one("HTTPRoute", above={"route": {**ROUTE, "gatewayApi": "1.2"}})
    assert problems(route, "gateway.yaml") != []


def test_a_release_that_has_no_time_outs_gets_none_and_is_told_so(chart: Any) -> None:
    for release, has in (("1.1", False), ("1.2", True), ("1.10", True), ("2.0", True), ("0.8", False)):
        (rule,) = chart.one("HTTPRoute", above={"route": {**ROUTE, "gatewayApi": release}})["spec"]["rules"]
        assert ("timeouts" in rule) is has, release


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_scaled_object_is_one_of_keda(chart: Any, environment: str) -> None:
    scaled = chart.one("ScaledObject", environment, "keda")
    assert problems(scaled, "keda.yaml") == []
    misspelt = copy.deepcopy(scaled)
    misspelt["spec"]["coolDownPeriod"] = misspelt["spec"].pop("cooldownPeriod")
    assert problems(misspelt, "keda.yaml") != []


@pytest.mark.parametrize("scenario", ["minimal", "full", "engines-only"])
def test_monitors_and_rules_are_those_of_prometheus_operator(scenario: str) -> None:
    seen = [document for document in rendered(scenario) if document["kind"] in OPERATOR]
    assert seen
    assert [found for document in seen for found in problems(document, OPERATOR[document["kind"]])] == []


def test_what_is_laid_into_git_for_argo_cd_is_argo_cds() -> None:
    seen = set()
    for path in sorted((ROOT / "deployments" / "gitops" / "argocd").rglob("*.yaml")):
        for document in read_all_yaml(path.read_text(encoding="utf-8")):
            if document["kind"] in ARGO_CD:
                seen.add(document["kind"])
                assert problems(document, ARGO_CD[document["kind"]]) == [], path
    assert seen == ARGO_CD.keys()


def test_the_pages_state_the_oldest_release_of_each() -> None:
    stated = {
        "docs/chart.md": ("Gateway API 1.0", "Gateway API 1.2", "KEDA 2.10"),
        "docs/observability.md": ("Prometheus operator 0.40",),
        "docs/gitops.md": ("Argo CD 2.10",),
    }
    for page, words in stated.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert [word for word in words if word not in text] == [], page

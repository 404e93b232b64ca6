"""The monitoring chart: valid for Kubernetes and for Prometheus' operator, secrets by reference, and about the pods that there are."""

from __future__ import annotations

import copy
import functools
import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer.main
import yaml
from kubernetes_validate import utils
from packaging.version import Version

from flows.cli.app import app
from flows.spec.load import ROOT
from tests.monitoring.conftest import CHART, helm, lost, only, rendered

SCENARIOS = sorted(path.stem for path in (CHART / "ci").glob("*.yaml"))
OPERATED = {"PodMonitor", "ServiceMonitor", "PrometheusRule"}
EXPORTER = {"Deployment", "Service", "ServiceAccount", "NetworkPolicy", "ServiceMonitor"}
ENGINES = {"PodMonitor", "PrometheusRule", "ConfigMap"}
KINDS = {"minimal": EXPORTER | ENGINES, "full": EXPORTER | ENGINES, "engines-only": ENGINES}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_helm_lint_has_nothing_to_say(scenario: str) -> None:
    done = helm("lint", "--strict", CHART, f"--values={CHART / 'ci' / f'{scenario}.yaml'}")

    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_each_document_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    # One test for all: the libraries take seconds to read their definitions.
    from cloudcoil.models.prometheus_operator import v1

    monkeypatch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
    newest = max(utils.all_versions(), key=Version)

    def unknown(document: dict[str, Any]) -> list[str]:
        """Fields that the operator does not know."""
        kept = getattr(v1, document["kind"]).model_validate(document).model_dump(by_alias=True, exclude_none=True, mode="json")
        return lost(document, kept)

    for scenario in SCENARIOS:
        assert {document["kind"] for document in rendered(scenario)} == KINDS[scenario]
        for document in rendered(scenario):
            assert document["metadata"]["namespace"] == "monitoring"
            if document["kind"] in OPERATED:
                assert unknown(document) == []
            else:
                kubernetes_validate.validate(document, newest, strict=True)

    # (and what is wrong would be noticed)
    misspelt = copy.deepcopy(only("PodMonitor"))
    misspelt["spec"]["podMetricsEndpoints"][0]["relabeling"] = []
    assert unknown(misspelt) == ["/spec/podMetricsEndpoints/0/relabeling"]
    misspelt = copy.deepcopy(only("Deployment"))
    misspelt["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misspelt, newest, strict=True)


def test_the_engines_are_found_by_what_the_engines_chart_gives_them() -> None:
    above = "--values=" + str(ROOT / "charts" / "vllm-deployment" / "values-production.yaml")
    pods = only("Deployment", "minimal", ROOT / "charts" / "vllm-deployment", above)["spec"]["template"]
    spec = only("PodMonitor")["spec"]

    assert spec["namespaceSelector"] == {"any": True}
    assert spec["selector"]["matchLabels"].items() <= pods["metadata"]["labels"].items()
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["port"] in [port["name"] for container in pods["spec"]["containers"] for port in container["ports"]]
    meta = {"__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", name) for name in pods["metadata"]["labels"]}
    assert {source for relabeling in endpoint["relabelings"] for source in relabeling["sourceLabels"]} <= meta


def test_the_engines_of_some_namespaces_only() -> None:
    assert only("PodMonitor", "full")["spec"]["namespaceSelector"] == {"matchNames": ["llm-production", "llm-staging"]}


def test_prometheus_and_grafana_find_what_is_theirs_by_the_labels_that_were_asked_for() -> None:
    for document in rendered("full"):
        if document["kind"] in {*OPERATED, "ConfigMap"}:
            assert document["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    for document in rendered("full"):
        if document["kind"] == "ConfigMap":
            assert document["metadata"]["labels"]["dashboards"] == "yes"
    for document in rendered("minimal"):
        if document["kind"] == "ConfigMap":
            assert document["metadata"]["labels"]["grafana_dashboard"] == "1"
            assert document["metadata"]["annotations"] == {"grafana_folder": "Slipway"}


@pytest.mark.parametrize(("scenario", "base"), [("minimal", ""), ("full", "https://git.example/slipway/blob/main/")])
def test_the_rules_are_those_of_the_files(scenario: str, base: str) -> None:
    shipped = {document["metadata"]["name"]: document["spec"] for document in rendered(scenario) if document["kind"] == "PrometheusRule"}
    files = {f"watch-{path.stem}": path.read_text() for path in (CHART / "rules").glob("*.yaml")}

    assert shipped == {name: yaml.safe_load(text.replace("docs/runbooks/", f"{base}docs/runbooks/")) for name, text in files.items()}


def test_the_dashboards_are_those_of_the_files() -> None:
    shipped = {name: text for document in rendered() if document["kind"] == "ConfigMap" for name, text in document["data"].items()}

    assert shipped == {path.name: path.read_text() for path in (CHART / "dashboards").glob("*.json")}
    assert len(shipped) == 3


def test_the_exporter_is_a_command_of_slipway_and_reads_its_secret_from_a_file() -> None:
    spec = only("Deployment", "full")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    program, name = container["command"]
    context = typer.main.get_command(app).commands[name].make_context(name, list(container["args"]))  # type: ignore[attr-defined]
    (mounted,) = [mount for mount in container["volumeMounts"] if mount["name"] == "registry"]
    (volume,) = [volume["secret"] for volume in spec["volumes"] if volume["name"] == "registry"]

    assert program == "slipway"
    assert context.params["dsn_file"] == Path(mounted["mountPath"]) / volume["items"][0]["path"]
    assert (volume["secretName"], volume["items"][0]["key"]) == ("slipway-registry", "connection-string")
    assert [port["containerPort"] for port in container["ports"]] == [context.params["port"]]
    assert all("valueFrom" not in variable for variable in container["env"])


def test_the_exporter_is_reached_by_its_service_and_by_prometheus_alone() -> None:
    pod, service = only("Deployment")["spec"]["template"], only("Service")
    labels = pod["metadata"]["labels"]

    assert service["spec"]["selector"].items() <= labels.items()
    assert only("ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert only("ServiceMonitor")["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    policy = only("NetworkPolicy", "full")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    (rule,) = policy["ingress"]
    assert rule["from"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
        }
    ]


def test_the_exporter_may_do_nothing_and_write_nowhere() -> None:
    spec = only("Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]

    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "@sha256:" in container["image"]
    assert set(container["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize(
    ("above", "said"),
    [
        ({"exporter.registry": None}, "registry"),
        ({"exporter.registry.dsn": "postgresql://slipway:secret@db/registry"}, "dsn"),
        ({"exporter.image.digest": "latest"}, "digest"),
        ({"exporter.image.repository": "registry.example/slipway:latest@sha256"}, "repository"),
        ({"exporter.port": 80}, "port"),
        ({"exporter.networkPolicy.prometheus": []}, "prometheus"),
        ({"engines.interval": "15"}, "interval"),
        ({"rules.runbookBase": "docs"}, "runbookBase"),
        ({"alerts": {}}, "alerts"),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_by_name(above: dict[str, Any], said: str) -> None:
    values = [f"--set-json={key}={json.dumps(value)}" for key, value in above.items()]

    done = helm("template", "watch", CHART, f"--values={CHART / 'ci' / 'minimal.yaml'}", *values)

    assert done.returncode != 0
    assert said in done.stderr

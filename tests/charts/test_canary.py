"""Two engines in one release: each keeps to itself, and that they change places starts no pod again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from flows.delivery.engines import only, taken_over, with_beside, without_beside
from tests.charts.conftest import ENVIRONMENTS
from tests.charts.rules import problems
from tests.support.definitions import problems as schema_problems

#: What describes a release, and neither engine.
SHARED = ("fullname", "environment", "networkPolicy", "route", "slot", "beside")
OF_BESIDE = ("weight", "warm")


def of(chart: Any, kind: str, name: str, above: dict[str, Any] | None = None, scenario: str = "canary") -> dict[str, Any]:
    """The document of that kind whose name ends so behind the release's own."""
    found = [document for document in chart.render("production", scenario, above) if document["kind"] == kind]
    (one,) = [document for document in found if document["metadata"]["name"] == f"tiny-llama-development{name}"]
    return dict(one)


def swapped(chart: Any, **of_beside: Any) -> dict[str, Any]:
    """The scenario's values with both engines in each other's place."""
    values = chart.merged_values({}, "production", "canary")
    other, own = values["beside"], {key: value for key, value in values.items() if key not in SHARED}
    taken = {key: value for key, value in other.items() if key not in OF_BESIDE}
    return {**taken, "slot": "a", "beside": {**own, "weight": 0, "warm": True, **of_beside}}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_two_engines_keep_the_rules_of_one(chart: Any, environment: str) -> None:
    done = chart.run("lint", "--strict", chart.folder, *chart.values(environment, "canary"))
    assert done.returncode == 0, done.stdout
    documents = chart.render(environment, "canary")
    assert problems(documents) == []
    for document in documents:
        if document["kind"] != "HTTPRoute":
            kubernetes_validate.validate(document, "1.34", strict=True)
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(names) == len(set(names))


def test_no_selector_of_one_engine_matches_pods_of_the_other(chart: Any) -> None:
    pods = {name: of(chart, "Deployment", name)["spec"]["template"]["metadata"]["labels"] for name in ("", "-b")}
    for kind in ("Deployment", "PodDisruptionBudget", "NetworkPolicy"):
        for name, labels in pods.items():
            spec = of(chart, kind, name)["spec"]
            selector = (spec["podSelector"] if kind == "NetworkPolicy" else spec["selector"])["matchLabels"]
            assert selector.items() <= labels.items()
            assert not any(selector.items() <= other.items() for each, other in pods.items() if each != name)


def test_the_endpoint_leads_to_what_serves_and_the_other_name_to_what_is_tried(chart: Any) -> None:
    instance = "app.kubernetes.io/instance"
    assert of(chart, "Service", "")["spec"]["selector"][instance] == "tiny-llama-b"
    assert of(chart, "Service", "-canary")["spec"]["selector"][instance] == "tiny-llama"
    # once it has taken over, who still goes by the other name finds it all the same
    assert of(chart, "Service", "", swapped(chart))["spec"]["selector"][instance] == "tiny-llama"
    assert of(chart, "Service", "-canary", swapped(chart))["spec"]["selector"][instance] == "tiny-llama"


def test_that_both_change_places_leaves_both_engines_as_they_are(chart: Any) -> None:
    for kind in ("Deployment", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"):
        for name in ("", "-b"):
            assert of(chart, kind, name, swapped(chart)) == of(chart, kind, name), (kind, name)


def test_what_the_pipeline_writes_changes_places_without_a_pod_that_starts(chart: Any, tmp_path: Path) -> None:
    def rendered(values: Mapping[str, Any]) -> dict[str, Any]:
        file = tmp_path / "values.json"
        file.write_text(json.dumps(values), encoding="utf-8")
        done = chart.run("template", "tiny-llama", chart.folder, "--values", file)
        assert done.returncode == 0, done.stderr
        documents = [document for document in yaml.safe_load_all(done.stdout) if document]
        return {document["metadata"]["name"]: document for document in documents if document["kind"] == "Deployment"}

    defaults = yaml.safe_load((chart.folder / "values.yaml").read_text(encoding="utf-8"))
    # as they were installed, with a null that Helm does not keep
    old, new = (yaml.safe_load((chart.folder / "ci" / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("keda", "minimal"))
    old = {key: value for key, value in old.items() if value is not None} | {"candidate": {"fingerprint": "1" * 64}}
    new = {**new, "candidate": {"fingerprint": "2" * 64}, "engine": {"maxModelLen": 512}}
    alone = rendered({**old, "replicas": None})["tiny-llama-development"]

    beside = with_beside(old, new, defaults)
    taken = taken_over(beside, new, defaults)
    before, after = rendered(beside), rendered(taken)

    assert before["tiny-llama-development"] == alone
    assert before == after
    assert rendered(without_beside(taken)) == {"tiny-llama-development-b": after["tiny-llama-development-b"]}
    assert rendered(only(taken, "1" * 64)) == {"tiny-llama-development": alone}


def test_what_comes_and_goes_beside_an_engine_leaves_its_pods_alone(chart: Any) -> None:
    with_other = of(chart, "Deployment", "-b")
    without = of(chart, "Deployment", "-b", {"beside": None})
    assert without == with_other
    assert {d["metadata"]["name"] for d in chart.render("production", "canary", {"beside": None}) if d["kind"] == "Service"} == {
        "tiny-llama-development"
    }


def test_nothing_of_one_engine_leaks_into_the_other(chart: Any) -> None:
    tried, serving = (of(chart, "Deployment", name)["spec"]["template"] for name in ("", "-b"))
    tried_env, serving_env = ({e["name"] for e in pod["spec"]["containers"][0]["env"]} for pod in (tried, serving))
    assert tried_env - serving_env == {"VLLM_LOGGING_LEVEL"}
    assert tried["metadata"]["labels"]["slipway.dev/candidate"] != serving["metadata"]["labels"]["slipway.dev/candidate"]
    assert "--chat-template" in tried["spec"]["containers"][0]["args"]
    assert "--chat-template" not in serving["spec"]["containers"][0]["args"]


def test_a_route_shares_requests_out_and_stops_when_it_has_taken_over(chart: Any) -> None:
    for gateway, file in (("1.1", "gateway.yaml"), ("1.2", "gateway-httproutes-newest.yaml")):
        route = of(chart, "HTTPRoute", "", {"route.gatewayApi": gateway})
        assert schema_problems(route, file) == []
        (rule,) = route["spec"]["rules"]
        assert rule["backendRefs"] == [
            {"name": "tiny-llama-development", "port": 8000, "weight": 75},
            {"name": "tiny-llama-development-canary", "port": 8000, "weight": 25},
        ]
    (rule,) = of(chart, "HTTPRoute", "", swapped(chart))["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "tiny-llama-development", "port": 8000}]


@pytest.mark.parametrize("weight", [0, 100])
def test_a_share_may_be_none_and_all(chart: Any, weight: int) -> None:
    (rule,) = of(chart, "HTTPRoute", "", {"beside.weight": weight})["spec"]["rules"]
    assert [backend["weight"] for backend in rule["backendRefs"]] == [100 - weight, weight]


def test_names_are_ones_that_kubernetes_takes_however_long_the_release_is(chart: Any) -> None:
    documents = chart.render("production", "canary", {"fullname": "a" * 53}, release="r" * 53)
    for document in documents:
        assert len(document["metadata"]["name"]) <= (253 if document["kind"] == "ConfigMap" else 63)
        labels = document["metadata"]["labels"].values()
        assert all(len(label) <= 63 for label in labels)
    pods = [document["spec"]["template"]["metadata"]["labels"] for document in documents if document["kind"] == "Deployment"]
    assert {len(labels["app.kubernetes.io/instance"]) for labels in pods} == {53, 55}


def test_each_engine_scales_by_the_queue_of_its_own_pods(chart: Any) -> None:
    scaling = {
        "autoscaling": {"kind": "keda", "minReplicas": 1, "maxReplicas": 4, "waitingPerReplica": 8, "prometheus": "http://prometheus:9090"}
    }
    above: dict[str, Any] = {"replicas": None, **scaling}
    values = chart.merged_values({}, "production", "canary")["beside"]
    beside = {key: value for key, value in {**values, **scaling}.items() if key != "replicas"}
    both = chart.render("production", "canary", {**above, "beside": {"replicas": None, **beside}})
    scalers = {each["metadata"]["name"]: each["spec"] for each in both if each["kind"] == "ScaledObject"}
    names = {name: spec["scaleTargetRef"]["name"] for name, spec in scalers.items()}
    assert names == {name: name for name in ("tiny-llama-development", "tiny-llama-development-b")}
    asked = {name: re.search(r'pod=~"([^"]*)"', spec["triggers"][0]["metadata"]["query"]) for name, spec in scalers.items()}
    # as Kubernetes names pods, also where it has to cut
    pods = {"": "tiny-llama-development-5d9c7b9f8c-x2x4z", "-b": "tiny-llama-development-b-5d9c7b9f8c-x2x4z"}
    for name, pod in pods.items():
        matching = [each for each, found in asked.items() if found is not None and re.fullmatch(found[1], pod)]
        assert matching == [f"tiny-llama-development{name}"]


@pytest.mark.parametrize(
    ("above", "says"),
    [
        ({"beside.weight": 101}, "beside/weight"),
        ({"beside.weight": 2.5}, "beside/weight"),
        ({"slot": "c"}, "slot"),
        ({"beside.engine.gpus": 2}, "beside.engine.gpus is 2 but resources.requests.nvidia.com/gpu is 1"),
        ({"beside.warm": True}, "beside.warm is true but beside.weight is 25: what was replaced gets no requests; set it to 0."),
        ({"beside.model.name": "other"}, "beside.model.name is other but model.name is tiny-llama: both must answer to the same name"),
        (
            {"beside.candidate.fingerprint": "5d41402abc4b2a76b9719d911017c592aa0f4d3b1c2e5f60718293a4b5c6d7e8"},
            "beside.candidate.fingerprint is 5d41402abc4b, which is the serving candidate's too",
        ),
        ({"beside.engine.extraArgs": ["--port=1"]}, "beside.engine.extraArgs holds --port=1: the chart sets this argument itself"),
    ],
)
def test_what_makes_no_sense_beside_is_refused_with_a_sentence(chart: Any, above: dict[str, Any], says: str) -> None:
    assert says in chart.refusal(above, "canary")


def test_a_second_engine_is_whole_or_not_there(chart: Any) -> None:
    values = yaml.safe_load((chart.folder / "ci" / "canary.yaml").read_text(encoding="utf-8"))
    schema = json.loads((chart.folder / "values.schema.json").read_text(encoding="utf-8"))
    required = schema["properties"]["beside"]["then"]["required"]
    # every value of an engine, so that none of the one that serves shows through
    assert {*required, "replicas", *SHARED} == {*schema["properties"], *OF_BESIDE}
    assert required
    assert set(required) <= values["beside"].keys()
    half = {"weight": 5, "warm": False, "model": values["beside"]["model"]}
    assert "missing properties" in chart.refusal({"slot": "a", "beside": half})

"""Every environment with every scenario is what Kubernetes accepts, and the package holds what it should."""

from __future__ import annotations

import copy
import functools
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils
from packaging.version import Version

from tests.charts.conftest import COMBINATIONS, ENVIRONMENTS, SCENARIOS
from tests.charts.value_table import PAGE

#: What every release has, and what scenarios add.
ALWAYS = {"Deployment", "Service", "ServiceAccount", "NetworkPolicy", "Pod"}
ADDED = {
    "minimal": set(),
    "full": {"ConfigMap", "Ingress"},
    "keda": {"ScaledObject", "HTTPRoute", "PodDisruptionBudget"},
    "hpa": {"HorizontalPodAutoscaler", "PodDisruptionBudget"},
}
#: Kinds that extensions bring; `test_autoscaling` and `test_routes` say what is in them.
EXTENSIONS = {"ScaledObject", "HTTPRoute"}

#: The three newest that the library carries; it lists each once for its strict and once for its other schemas.
MINORS = sorted(set(utils.all_versions()), key=Version)[-3:]


@pytest.fixture(scope="module", autouse=True)
def schemas_read_once() -> Iterator[None]:
    """Keeps the library from parsing all of Kubernetes' definitions anew for each document, which took most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_helm_lint_has_nothing_to_say(chart: Any, environment: str, scenario: str) -> None:
    done = chart.run("lint", "--strict", chart.folder, *chart.values(environment, scenario))
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@pytest.fixture(scope="module")
def valid() -> Callable[[dict[str, Any], str], str]:
    """Validates a document strictly; one that is the same in several environments or scenarios but once."""

    @functools.cache
    def validated(text: str, minor: str) -> str:
        return str(kubernetes_validate.validate(json.loads(text), minor, strict=True))

    return lambda document, minor: validated(json.dumps(document, sort_keys=True), minor)


def test_the_page_tells_what_helm_must_be_allowed(chart: Any) -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:`([a-z0-9.]*)`)? ?\| (`[a-z`, ]+`) \|", page, re.MULTILINE)
    told = {(group, resource) for group, resources in rows for resource in re.findall(r"`([a-z]+)`", resources)}
    rendered = {(document["apiVersion"], document["kind"]) for each in COMBINATIONS for document in chart.render(*each)}
    assert told == {(version.rpartition("/")[0], plural(kind)) for version, kind in rendered}


def plural(kind: str) -> str:
    return f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}{'es' if kind.endswith('s') else 's'}"


def test_the_scenarios_are_those_that_are_known() -> None:
    assert set(SCENARIOS) == ADDED.keys()


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize(("environment", "scenario"), COMBINATIONS)
def test_each_document_is_valid_in_the_newest_minors(
    chart: Any, valid: Callable[[dict[str, Any], str], str], environment: str, scenario: str, minor: str
) -> None:
    documents = chart.render(environment, scenario)
    several = {"PodDisruptionBudget"} if environment == "production" else set()
    assert {document["kind"] for document in documents} == ALWAYS | ADDED[scenario] | several
    for document in documents:
        if document["kind"] not in EXTENSIONS:
            assert valid(document, minor) == ".".join(minor.split(".")[:2])


def test_the_validation_would_catch_a_misspelt_field(chart: Any) -> None:
    document = copy.deepcopy(chart.one("Deployment"))
    document["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, MINORS[-1], strict=True)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_object_lies_in_the_release_and_says_so(chart: Any, environment: str, scenario: str) -> None:
    fullname = chart.merged_values({}, environment, scenario)["fullname"]
    for document in chart.render(environment, scenario):
        metadata = document["metadata"]
        assert metadata["namespace"] == f"llm-{environment}"
        assert metadata["name"] == fullname or metadata["name"].startswith(f"{fullname}-")
        assert metadata["labels"]["app.kubernetes.io/instance"] == "tiny-llama"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        assert metadata["labels"]["slipway.dev/environment"] == environment


def test_the_environments_differ(chart: Any) -> None:
    strategies = {name: chart.one("Deployment", name)["spec"]["strategy"] for name in ENVIRONMENTS}
    assert strategies == {
        "development": {"type": "Recreate"},
        "staging": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        "production": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
    }
    replicas = {name: chart.one("Deployment", name)["spec"]["replicas"] for name in ENVIRONMENTS}
    assert replicas["production"] >= 2
    assert replicas["development"] == 1


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_changes_nothing_that_belongs_to_the_candidate(chart: Any, environment: str) -> None:
    values = yaml.safe_load((chart.folder / f"values-{environment}.yaml").read_text(encoding="utf-8"))
    assert values["environment"] == environment
    assert not {"fullname", "model", "candidate", "image", "weights", "engine", "loadBudgetSeconds"} & values.keys()

    engine = chart.container(environment, "full")
    elsewhere = chart.container("production", "full")
    assert engine["image"] == elsewhere["image"]
    mounted = [[mount for mount in found["volumeMounts"] if mount["name"] != "compiled"] for found in (engine, elsewhere)]
    assert mounted[0] == mounted[1]
    timeout = engine["args"].index("--shutdown-timeout") + 1
    assert [a for i, a in enumerate(engine["args"]) if i != timeout] == [a for i, a in enumerate(elsewhere["args"]) if i != timeout]


def test_the_package_holds_the_environments_but_not_the_scenarios(chart: Any, tmp_path: Path) -> None:
    done = chart.run("package", chart.folder, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        names = {name.removeprefix("vllm-deployment/") for name in archive.getnames()}
    assert {"values.schema.json", *(f"values-{name}.yaml" for name in ENVIRONMENTS)} <= names
    assert not [name for name in names if name.startswith("ci")]

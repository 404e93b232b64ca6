"""The shipped objects of Argo CD: fields that it knows, and Applications that are what the flow asks of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from blocks.facts.argocd import application_fact
from flows.delivery.application import sync_policy, unfit
from flows.naming import release_name
from flows.spec import Deployments
from flows.spec.load import ROOT
from sandbox.argocd.definitions import DEFINITIONS
from tests.gitops.layout import applications, documents

ENVIRONMENTS = ("development", "staging", "production")
SCHEMAS = {
    definition["spec"]["names"]["kind"]: definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for definition in DEFINITIONS
}

#: What an ApplicationSet may hold here, by its specification; its template is an Application.
SET_FIELDS = {"goTemplate", "goTemplateOptions", "generators", "syncPolicy", "template"}


def unknown(value: Any, schema: dict[str, Any], place: str = "") -> Iterator[str]:
    """Fields that the schema does not name: an API server would drop them in silence."""
    if isinstance(value, dict) and "properties" in schema:
        for key, below in value.items():
            if key not in schema["properties"]:
                yield f"{place}.{key}"
            else:
                yield from unknown(below, schema["properties"][key], f"{place}.{key}")
        yield from (f"{place}.{key} is missing" for key in schema.get("required", ()) if key not in value)
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from unknown(below, schema.get("items", {}), f"{place}[{number}]")


def spec_of(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = SCHEMAS[kind]["properties"]["spec"]
    return schema


def test_every_field_is_one_that_argo_cd_knows() -> None:
    kinds = []
    for _, document in documents():
        kind = document["kind"]
        kinds.append(kind)
        if kind in ("Application", "AppProject"):
            assert list(unknown(document["spec"], spec_of(kind), kind)) == []
        elif kind == "ApplicationSet":
            # Where Argo CD syncs by itself, people may stop it in an emergency.
            stops = {"ignoreApplicationDifferences"} if "automated" in document["spec"]["template"]["spec"]["syncPolicy"] else set()
            assert set(document["spec"]) == SET_FIELDS | stops
            assert list(unknown(document["spec"]["template"]["spec"], spec_of("Application"), kind)) == []
    assert sorted(set(kinds)) == ["AppProject", "Application", "ApplicationSet", "Role", "RoleBinding"]
    assert list(unknown({"sourceRepo": []}, spec_of("AppProject"))) == [".sourceRepo"]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_application_is_what_the_flow_asks_of_it(name: str) -> None:
    environment = Deployments(root=ROOT / "deployments").environment(name)

    (application,) = applications(name)

    model = "tiny-llama"
    policy = sync_policy(environment, model, application["spec"]["source"]["repoURL"], "zoe")
    assert unfit(application_fact(application), release_name(model, name), environment.argocd_namespace, policy) == ""
    # production is synced when it is asked for, the others by themselves
    assert ("automated" in application["spec"]["syncPolicy"]) == (name != "production") == (not environment.approval.required)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_project_lets_in_its_own_repository_namespace_and_kinds_alone(name: str) -> None:
    environment = Deployments(root=ROOT / "deployments").environment(name)
    (project,) = [document for _, document in documents() if document["kind"] == "AppProject" and document["metadata"]["name"] == name]
    (application,) = applications(name)

    spec = project["spec"]
    assert application["spec"]["project"] == name
    assert spec["sourceRepos"] == [application["spec"]["source"]["repoURL"]]
    assert spec["destinations"] == [application["spec"]["destination"]]
    assert [place["namespace"] for place in spec["destinations"]] == [environment.namespace]
    assert spec["clusterResourceWhitelist"] == []
    for role in spec["roles"]:
        for line in role["policies"]:
            assert line.startswith(f"p, proj:{name}:{role['name']}, applications, ")
            assert line.endswith(f", {name}/*, allow")
            assert line.split(", ")[3] in ("get", "sync")
    # a rollback never waits: every window lets through what is asked for
    assert all(window["manualSync"] and window["kind"] == "deny" for window in spec.get("syncWindows", ()))


def test_a_project_lets_in_what_the_chart_renders() -> None:
    rendered = set()
    for template in (ROOT / "charts" / "vllm-deployment" / "templates").glob("*.yaml"):
        lines = template.read_text().splitlines()
        rendered |= {line.removeprefix("kind: ").strip() for line in lines if line.startswith("kind: ")}

    assert {"Deployment", "Service"} <= rendered
    for _, document in documents():
        if document["kind"] == "AppProject":
            assert {kind["kind"] for kind in document["spec"]["namespaceResourceWhitelist"]} == rendered


def test_the_objects_come_in_waves() -> None:
    waves: dict[str, set[int]] = {}
    for path, document in documents():
        if path.name != "root.yaml":
            annotations = document["metadata"].get("annotations", {})
            waves.setdefault(document["kind"], set()).add(int(annotations.get("argocd.argoproj.io/sync-wave", "0")))

    assert waves == {"Role": {-2}, "RoleBinding": {-2}, "AppProject": {-1}, "ApplicationSet": {1}}


def test_slipway_may_look_at_applications_and_patch_them_and_nothing_else() -> None:
    (role,) = [document for _, document in documents() if document["kind"] == "Role"]

    assert role["rules"] == [{"apiGroups": ["argoproj.io"], "resources": ["applications"], "verbs": ["get", "list", "watch", "patch"]}]


def test_the_examples_of_the_readme_are_the_files() -> None:
    readme = (ROOT / "deployments" / "gitops" / "README.md").read_text()

    for path, _ in documents():
        assert str(Path("argocd") / path.relative_to(ROOT / "deployments" / "gitops" / "argocd")) in readme


def test_yaml_is_written_once() -> None:
    """One line of each file names the repository: whoever copies them changes that."""
    for path, _ in documents():
        text = path.read_text()
        assert yaml.safe_load_all(text)
        assert {line.split()[-1] for line in text.splitlines() if "https://git." in line} <= {"https://git.example/platform/models.git"}

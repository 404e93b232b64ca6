"""Reads `deployments/gitops` as Argo CD would: all documents, and the Applications that its ApplicationSets make."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import ApiClient, CustomObjectsApi
from kubernetes.client.exceptions import ApiException

from flows.naming import release_name
from flows.spec.load import ROOT

#: Where Argo CD's objects lie.
PLACE = ("argoproj.io", "v1alpha1", "argocd")

FOLDER = ROOT / "deployments" / "gitops" / "argocd"


def documents() -> list[tuple[Path, dict[str, Any]]]:
    """Every document, with the file that it is in."""
    return [(path, document) for path in sorted(FOLDER.rglob("*.yaml")) for document in yaml.safe_load_all(path.read_text())]


def applications(environment: str, *, elements: list[dict[str, str]] | None = None) -> list[dict[str, Any]]:
    """The Applications that the environment's ApplicationSet makes, of its own lines or of others.

    Go's templates are more than this: here only `{{.name}}` stands for something.
    """
    made = []
    for _, document in documents():
        if document["kind"] == "ApplicationSet" and document["metadata"]["name"] == f"models-{environment}":
            for element in elements or document["spec"]["generators"][0]["list"]["elements"]:
                text = json.dumps(document["spec"]["template"])
                for key, value in element.items():
                    text = text.replace(f"{{{{.{key}}}}}", value)
                assert "{{" not in text, "something of the template stands for nothing"
                application = json.loads(text)
                application["metadata"]["namespace"] = document["metadata"]["namespace"]
                made.append({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", **application})
    return made


@dataclass(kw_only=True)
class Following:
    """An Application of the shipped ApplicationSet, on a cluster."""

    objects: CustomObjectsApi
    name: str

    def read(self) -> dict[str, Any]:
        """The Application as it is now."""
        found: dict[str, Any] = self.objects.get_namespaced_custom_object(*PLACE, "applications", self.name)
        return found

    def patch(self, patch: dict[str, Any]) -> None:
        """Change the Application as a person would."""
        self._patch("applications", patch)

    def delete(self) -> None:
        """Take the Application and its project away; what was deployed stays."""
        for plural in ("applications", "appprojects"):
            with suppress(ApiException):
                self._patch(plural, {"metadata": {"finalizers": None}})
                self.objects.delete_namespaced_custom_object(*PLACE, plural, self.name)

    def _patch(self, plural: str, patch: dict[str, Any]) -> None:
        self.objects.patch_namespaced_custom_object(*PLACE, plural, self.name, patch, _content_type="application/merge-patch+json")


@contextmanager
def applied(api: ApiClient, environment: str, model: str, url: str, namespace: str) -> Iterator[Following]:
    """A model's Application and its project as they are shipped, but for the repository, the namespace and a project of its own."""
    name = release_name(model, environment)
    (application,) = applications(environment, elements=[{"model": model, "application": name}])
    project = next(document for path, document in documents() if path.parts[-2:] == (environment, "project.yaml"))
    project["metadata"]["name"] = application["spec"]["project"] = name
    following = Following(objects=CustomObjectsApi(api), name=name)
    for plural, body in (("appprojects", project), ("applications", application)):
        text = json.dumps(body).replace("https://git.example/platform/models.git", url).replace(f'"llm-{environment}"', f'"{namespace}"')
        following.objects.create_namespaced_custom_object(*PLACE, plural, json.loads(text))
    try:
        yield following
    finally:
        following.delete()

"""What the tests of Argo CD's stand-in and of its client share: a Git repository with a small chart, and Applications that follow it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kubernetes.client import ApiClient, AppsV1Api, CoreV1Api, CustomObjectsApi

from tests.support.waiting import HANGS_SECONDS

Object = dict[str, Any]
VALUES = "environments/test/app/values.yaml"

_CHART = {
    "charts/small/Chart.yaml": "apiVersion: v2\nname: small\nversion: 1.0.0\n",
    "charts/small/values.yaml": "word: none\nreplicas: 0\nextra: true\n",
    "charts/small/values.schema.json": '{"properties": {"replicas": {"type": "integer"}}}',
    "charts/small/templates/objects.yaml": """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  word: {{ .Values.word | quote }}
---
{{- if .Values.extra }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-extra
---
{{- end }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  annotations: {{ .Values.annotations | default dict | toJson }}
spec:
  replicas: {{ .Values.replicas }}
  progressDeadlineSeconds: {{ .Values.deadline | default 600 }}
  selector:
    matchLabels: {app: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
    spec:
      terminationGracePeriodSeconds: 0
      tolerations: [{operator: Exists}]
      containers:
        - {name: main, image: {{ .Values.image | default "sh" }}, args: ["sleep 1000"]}
""",
}


class Repository:
    """A Git repository of deployments; commits are made in it directly, as a push would."""

    def __init__(self, folder: Path) -> None:
        self.url = f"file://{folder}"
        self._folder = folder
        folder.mkdir()
        self._git("init", "--quiet", "--initial-branch=main")
        self.commit({**_CHART, VALUES: "word: first\n"})

    def commit(self, files: Mapping[str, str]) -> str:
        """Commit these files beside those that are there; the commit."""
        for name, content in files.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message=change")
        return self._git("rev-parse", "HEAD")

    def remove(self, folder: str) -> str:
        """Commit that the folder is gone; the commit."""
        shutil.rmtree(self._folder / folder)
        return self.commit({})

    @property
    def head(self) -> str:
        """The newest commit."""
        return self._git("rev-parse", "HEAD")

    def _git(self, *arguments: str) -> str:
        who = {f"GIT_{role}_{what}": "test@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        done = subprocess.run(
            ["git", *arguments], cwd=self._folder, env={**os.environ, **who}, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()


class Applications:
    """Applications in Argo CD's namespace that deploy a repository's chart to one namespace."""

    def __init__(self, api: ApiClient, repository: Repository, namespace: str) -> None:
        self.repository = repository
        self.namespace = namespace
        self.argo_namespace = "argocd"
        self.core = CoreV1Api(api)
        self.apps = AppsV1Api(api)
        self._objects = CustomObjectsApi(api)
        self.core.create_namespace({"metadata": {"name": namespace}})

    @property
    def _kind(self) -> tuple[str, str, str, str]:
        return "argoproj.io", "v1alpha1", self.argo_namespace, "applications"

    def source(self, **changes: Any) -> Object:
        """Where the manifests come from."""
        helm = {"valueFiles": [f"/{VALUES}"]}
        return {"repoURL": self.repository.url, "targetRevision": "main", "path": "charts/small", "helm": helm, **changes}

    def add(self, name: str, policy: Object | None = None, finalizers: tuple[str, ...] = (), **spec: Any) -> str:
        """Create an Application; its name, which no other test has."""
        name = f"{name}-{self.namespace}"
        destination = {"server": "https://kubernetes.default.svc", "namespace": self.namespace}
        described = {"project": "default", "destination": destination, "syncPolicy": policy or {}, "source": self.source(), **spec}
        metadata = {"name": name, "finalizers": list(finalizers)}
        body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": metadata}
        self._objects.create_namespaced_custom_object(*self._kind, {**body, "spec": {k: v for k, v in described.items() if v is not None}})
        return name

    def project(self, **spec: Any) -> str:
        """Create a project that permits everything but what the spec says; its name, which no other test has."""
        permitted = {"sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}], **spec}
        body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": self.namespace}, "spec": permitted}
        self._objects.create_namespaced_custom_object(*self._kind[:3], "appprojects", body)
        return self.namespace

    def permit_all_times(self) -> None:
        """Take the sync windows out of the project."""
        patch = {"spec": {"syncWindows": None}}
        self._objects.patch_namespaced_custom_object(
            *self._kind[:3], "appprojects", self.namespace, patch, _content_type="application/merge-patch+json"
        )

    def get(self, name: str) -> Object:
        """The Application."""
        found: Object = self._objects.get_namespaced_custom_object(*self._kind, name)
        return found

    def patch(self, name: str, patch: Object) -> None:
        """Merge a patch into the Application."""
        self._objects.patch_namespaced_custom_object(*self._kind, name, patch, _content_type="application/merge-patch+json")

    def delete(self, name: str) -> None:
        """Delete the Application."""
        self._objects.delete_namespaced_custom_object(*self._kind, name)

    def gone(self, name: str) -> None:
        """Wait until there is no such Application."""
        deadline = time.monotonic() + HANGS_SECONDS
        while any(app["metadata"]["name"] == name for app in self._objects.list_namespaced_custom_object(*self._kind)["items"]):
            assert time.monotonic() < deadline, self.get(name)
            time.sleep(0.02)

    def refresh(self, name: str) -> None:
        """Ask for a refresh."""
        self.patch(name, {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}})

    def sync(self, name: str, commit: str, **sync: Any) -> None:
        """Ask for a sync."""
        operation = {"initiatedBy": {"username": "zoe"}, "sync": {"revision": commit, **sync}}
        self.patch(name, {"operation": operation, "status": {"operationState": None}})

    def wait(self, name: str, holds: Callable[[Object], bool]) -> Object:
        """The Application once it is so; an empty status counts as one without fields."""
        deadline = time.monotonic() + HANGS_SECONDS
        while True:
            found = self.get(name)
            found.setdefault("status", {})
            if holds(found):
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.02)

    def synced(self, name: str, commit: str) -> Object:
        """The Application once the commit is in place."""
        return self.wait(name, lambda app: is_synced(app, commit))

    def close(self) -> None:
        """Let go of everything that was made."""
        for app in self._objects.list_namespaced_custom_object(*self._kind)["items"]:
            if app["spec"]["destination"]["namespace"] == self.namespace:
                self.delete(app["metadata"]["name"])
        self.core.delete_namespace(self.namespace)

    def word(self, name: str) -> str:
        """What the Application's values say, as it is on the cluster."""
        return str(self.core.read_namespaced_config_map(name, self.namespace).data["word"])


def is_synced(app: Object, commit: str) -> bool:
    """Whether the Application has the commit in place, and nothing is under way."""
    sync = app["status"].get("sync", {})
    return sync.get("status") == "Synced" and sync.get("revision") == commit and "operation" not in app


def phase(app: Object) -> str:
    """The phase of the Application's operation."""
    return str(app["status"].get("operationState", {}).get("phase", ""))

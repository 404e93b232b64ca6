"""What the server says about itself: versions, groups, resources, and as much OpenAPI as helm and kubectl need to let it validate.

Not emulated: OpenAPI v2, and the schemas in OpenAPI v3 documents; so `kubectl explain` has nothing to show.
"""

from __future__ import annotations

import hashlib
import platform

from sandbox.kubernetes.admission.store import JSON
from sandbox.kubernetes.meta.resources import SUBRESOURCE_KINDS, Registry, Resource

VERSION = "v1.36.2+sandbox"
AGGREGATED = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def version() -> JSON:
    """The answer to `/version`: the release whose behaviour is emulated, marked as a stand-in in each field that may say so."""
    return {
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": VERSION,
        "gitCommit": "stand-in",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "none",
        "platform": f"{platform.system().lower()}/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }",
    }


class Discovery:
    """The discovery documents of the resources served at present."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def answer(self, path: str, accept: str = "") -> JSON | None:
        """The document at a path, or None if there is none.

        Args:
            path: The URL's path.
            accept: The `Accept` header: clients that ask for the aggregated form get all groups in one document.
        """
        parts = path.strip("/").split("/")
        if path.strip("/") in ("api", "apis") and AGGREGATED in accept.partition(",")[0].replace(" ", ""):
            groups = [""] if parts == ["api"] else self._groups()
            items = [self._aggregated(group) for group in groups]
            return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}
        match parts:
            case ["version"]:
                return version()
            case ["api"]:
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
            case ["apis"]:
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [self._group(name) for name in self._groups()]}
            case ["apis", group] if group in self._groups():
                return {**self._group(group), "kind": "APIGroup", "apiVersion": "v1"}
            case ["api", "v1"]:
                return self._resources("", "v1")
            case ["apis", group, served] if served in self._versions(group):
                return self._resources(group, served)
            case ["openapi", "v3"]:
                return {"paths": {prefix.strip("/"): {"serverRelativeURL": self._address(prefix)} for prefix in self._prefixes()}}
            case ["openapi", "v3", *rest] if f"/{'/'.join(rest)}" in self._prefixes():
                return self._openapi(f"/{'/'.join(rest)}")
        return None

    def _groups(self) -> list[str]:
        return sorted({resource.group for resource in self._registry if resource.group})

    def _versions(self, group: str) -> list[str]:
        return sorted({resource.version for resource in self._registry if resource.group == group})

    def _prefixes(self) -> list[str]:
        return sorted({resource.prefix for resource in self._registry})

    def _group(self, name: str) -> JSON:
        versions = [{"groupVersion": f"{name}/{served}", "version": served} for served in self._versions(name)]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, served: str) -> JSON:
        items = []
        for resource in self._registry:
            if (resource.group, resource.version) == (group, served):
                items.append(_entry(resource))
                items += [_subresource_entry(resource, name) for name in resource.subresources]
        group_version = f"{group}/{served}" if group else served
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": items}

    def _aggregated(self, group: str) -> JSON:
        versions = []
        for served in self._versions(group):
            found = [_aggregated_entry(item) for item in self._registry if (item.group, item.version) == (group, served)]
            versions.append({"version": served, "resources": found, "freshness": "Current"})
        return {"metadata": {"name": group} if group else {}, "versions": versions}

    def _of_prefix(self, prefix: str) -> list[Resource]:
        return [resource for resource in self._registry if resource.prefix == prefix]

    def _address(self, prefix: str) -> str:
        # Clients cache the document under its hash, for ever.
        text = ",".join(f"{resource.plural}/{resource.kind}" for resource in self._of_prefix(prefix))
        return f"/openapi/v3{prefix}?hash={hashlib.sha256(text.encode()).hexdigest()[:32].upper()}"

    def _openapi(self, prefix: str) -> JSON:
        parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("fieldValidation", "dryRun", "fieldManager")]
        paths = {}
        for resource in self._of_prefix(prefix):
            kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
            where = "/namespaces/{namespace}" if resource.namespaced else ""
            patch = {"parameters": parameters, "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": kind}
            paths[f"{prefix}{where}/{resource.plural}/{{name}}"] = {"patch": patch}
        return {"openapi": "3.0.0", "info": {"title": "Kubernetes stand-in", "version": VERSION}, "paths": paths, "components": {}}


def _entry(resource: Resource) -> JSON:
    entry: JSON = {
        "name": resource.plural,
        "singularName": resource.singular or resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


def _subresource_entry(resource: Resource, name: str) -> JSON:
    entry: JSON = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced, "kind": resource.kind}
    verbs = {"log": ["get"], "proxy": ["create", "delete", "get", "patch", "update"], "status": ["get", "patch", "update"]}
    verbs |= {"scale": ["get", "patch", "update"], "finalize": ["update"]}
    if api_kind := SUBRESOURCE_KINDS.get(name, ""):
        group_version, _, kind = api_kind.rpartition("/")
        group, _, served = group_version.rpartition("/")
        entry.update(kind=kind, **({"version": served} if served else {}), **({"group": group} if group else {}))
    elif name == "proxy":
        entry["kind"] = f"{resource.kind}ProxyOptions"
    return {**entry, "verbs": verbs.get(name, ["create"])}


def _aggregated_entry(resource: Resource) -> JSON:
    entry: JSON = {
        "resource": resource.plural,
        "responseKind": {"group": "", "version": "", "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular or resource.kind.lower(),
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    subresources = []
    for name in resource.subresources:
        plain = _subresource_entry(resource, name)
        response = {"group": plain.get("group", ""), "version": plain.get("version", ""), "kind": plain["kind"]}
        subresources.append({"subresource": name, "responseKind": response, "verbs": plain["verbs"]})
    return {**entry, "subresources": subresources} if subresources else entry

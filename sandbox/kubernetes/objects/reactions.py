"""What follows a change at once: a namespace's first objects, the emptying of one that ends, and custom resources that begin to be served.

On a real cluster small controllers do this a moment later. Not emulated: conditions of a namespace that cannot be emptied, and
conversion between versions of a custom resource.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from sandbox.kubernetes.admission.access import MASTERS, User
from sandbox.kubernetes.admission.requests import Request, Target
from sandbox.kubernetes.admission.store import JSON, Change, Store
from sandbox.kubernetes.meta.resources import Registry, Resource
from sandbox.kubernetes.meta.types import Types
from sandbox.kubernetes.meta.values import clone, dig, now
from sandbox.kubernetes.objects.deletion import delete
from sandbox.kubernetes.objects.objects import Objects

_CONTROLLER = User(name="system:kube-controller-manager", groups=(MASTERS,))
_ABOUT_CERTIFICATE = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or "
    "kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)
_DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions"


def new_object(api_version: str, kind: str, name: str, namespace: str = "", **content: Any) -> JSON:
    """An object as the server itself creates it."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), "uid": str(uuid.uuid4()), "creationTimestamp": now()}
    return {"kind": kind, "apiVersion": api_version, "metadata": metadata, **content}


class Namespaces:
    """Gives every namespace its service account and the cluster's certificate, and empties those that are deleted."""

    def __init__(self, store: Store, registry: Registry, objects: Objects, ca_pem: str) -> None:
        self._store = store
        self._objects = objects
        self._registry = registry
        self._ca_pem = ca_pem
        self._ending: set[str] = set()
        self._planned = False
        store.react(self._react)

    def _react(self, change: Change) -> None:
        namespace, name = change.key
        if change.resource == "/namespaces" and change.after is not None:
            if "deletionTimestamp" in change.after["metadata"]:
                self._ending.add(name)
            elif change.before is None:
                self._furnish(name)
        # Both come back when somebody deletes them.
        elif change.after is None and (change.resource, name) in (("/serviceaccounts", "default"), ("/configmaps", "kube-root-ca.crt")):
            self._furnish(namespace)
        if namespace in self._ending or name in self._ending:
            self._plan()

    def _furnish(self, namespace: str) -> None:
        found = self._store.get("/namespaces", "", namespace)
        if found is None or "deletionTimestamp" in found["metadata"]:
            return
        if self._store.get("/serviceaccounts", namespace, "default") is None:
            self._create("serviceaccounts", namespace, {"metadata": {"name": "default"}})
        if self._store.get("/configmaps", namespace, "kube-root-ca.crt") is None:
            annotations = {"kubernetes.io/description": _ABOUT_CERTIFICATE}
            metadata = {"name": "kube-root-ca.crt", "annotations": annotations}
            self._create("configmaps", namespace, {"metadata": metadata, "data": {"ca.crt": self._ca_pem}})

    def _create(self, plural: str, namespace: str, body: JSON) -> None:
        resource = self._registry.by_path("", "v1", plural)
        assert resource is not None
        request = Request(method="POST", path="", user=_CONTROLLER, agent="kube-controller-manager", body=body)
        self._objects.create(request, Target(resource=resource, namespace=namespace))

    def _plan(self) -> None:
        # Not within the change: whoever made it may be in the middle of a list of objects to delete.
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._sweep)

    def _sweep(self) -> None:
        self._planned = False
        for namespace in sorted(self._ending):
            found = self._store.get("/namespaces", "", namespace)
            if found is None:
                self._ending.discard(namespace)
            elif self._empty(namespace):
                self._ending.discard(namespace)
                finalizers = [name for name in dig(found, "spec", "finalizers", default=[]) if name != "kubernetes"]
                if finalizers or found["metadata"].get("finalizers"):
                    left = {**found, "metadata": dict(found["metadata"]), "spec": {**found["spec"], "finalizers": finalizers}}
                    self._store.put("/namespaces", "", namespace, left)
                else:
                    self._store.delete("/namespaces", "", namespace)

    def _empty(self, namespace: str) -> bool:
        """Delete what is in the namespace; True if nothing is left."""
        empty = True
        for resource in self._registry.stored():
            if resource.namespaced:
                for obj in list(self._store.objects(resource.key, namespace)):
                    name = obj["metadata"]["name"]
                    if "deletionTimestamp" not in obj["metadata"]:
                        request = Request(method="DELETE", path="", user=_CONTROLLER, body={"propagationPolicy": "Background"})
                        delete(self._store, request, Target(resource=resource, namespace=namespace, name=name))
                    empty = empty and self._store.get(resource.key, namespace, name) is None
        return empty


class Definitions:
    """Serves the resources that CustomResourceDefinitions describe."""

    def __init__(self, store: Store, registry: Registry, types: Types) -> None:
        self._store = store
        self._registry = registry
        self._types = types
        store.react(self._react)

    def _react(self, change: Change) -> None:
        if change.resource != _DEFINITIONS:
            return
        if change.after is None:
            if change.before is not None:
                self._withdraw(change.before)
        elif dig(change.before, "spec") != change.after["spec"]:
            if change.before is not None:
                for resource in _resources(change.before):
                    self._registry.remove(resource)
            self._serve(change.after)

    def _serve(self, definition: JSON) -> None:
        for resource, version in zip(_resources(definition), _served(definition), strict=True):
            self._registry.add(resource)
            self._types.define(resource, dig(version, "schema", "openAPIV3Schema", default={}))
        if not dig(definition, "status", "conditions"):
            established = clone(definition)
            names = definition["spec"]["names"]
            stored = [version["name"] for version in definition["spec"]["versions"] if version.get("storage")]
            established["status"] = {
                "conditions": [
                    _condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                    _condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
                ],
                "acceptedNames": names,
                "storedVersions": stored,
            }
            self._store.put(_DEFINITIONS, "", definition["metadata"]["name"], established)

    def _withdraw(self, definition: JSON) -> None:
        for resource in _resources(definition):
            self._registry.remove(resource)
            for obj in list(self._store.objects(resource.key)):
                self._store.delete(resource.key, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
            self._store.end_subscriptions(resource.key)


def _condition(kind: str, reason: str, message: str) -> JSON:
    return {"type": kind, "status": "True", "lastTransitionTime": now(), "reason": reason, "message": message}


def _served(definition: JSON) -> list[JSON]:
    return [version for version in definition["spec"].get("versions", ()) if version.get("served")]


def _resources(definition: JSON) -> list[Resource]:
    spec = definition["spec"]
    names = spec["names"]
    return [
        Resource(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            singular=names.get("singular", ""),
            namespaced=spec.get("scope") == "Namespaced",
            short_names=tuple(names.get("shortNames", ())),
            categories=tuple(names.get("categories", ())),
            subresources=("status",) if "status" in version.get("subresources", {}) else (),
            generation=True,
            custom=True,
        )
        for version in _served(definition)
    ]

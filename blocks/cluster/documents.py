"""Objects as the API server has them, of the kinds that the chart renders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blocks.kubernetes_api import Document, KubernetesApi, path_of, selector

#: Kinds, as the API's paths call them.
_PLURALS = {
    "ConfigMap": "configmaps",
    "Deployment": "deployments",
    "HTTPRoute": "httproutes",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
    "Ingress": "ingresses",
    "NetworkPolicy": "networkpolicies",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "ScaledObject": "scaledobjects",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
}


class Documents:
    """Single objects: as they are, and as an apply would leave them."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    def get(self, api_version: str, kind: str, namespace: str, name: str) -> Document | None:
        """The object in full; none if it is not there, or its kind is none that the chart renders.

        Raises:
            ClusterRejected: It may not be read.
            ClusterUnreachable: The API server did not answer.
        """
        if kind not in _PLURALS:
            return None
        return self._api.find(path_of(namespace, _PLURALS[kind], name, group="" if api_version == "v1" else api_version))

    def list(self, api_version: str, kind: str, namespace: str, labels: Mapping[str, str]) -> tuple[Document, ...]:
        """The objects of a kind that carry all these labels, in full; one request. Errors as of `get`."""
        path = path_of(namespace, _PLURALS[kind], group="" if api_version == "v1" else api_version)
        # Each without its kind, which only the list has.
        return tuple(Document({"apiVersion": api_version, "kind": kind, **one}) for one in self._api.list(path, labels=selector(labels)))

    def applied(self, wanted: Mapping[str, Any], namespace: str, manager: str) -> Document | None:
        """The object as a server-side apply of the manifest would leave it, by a dry run that changes nothing; none for other kinds.

        Args:
            wanted: The manifest.
            namespace: Its namespace.
            manager: The name that the apply would go by; others' values of the fields that the manifest sets are taken from them.

        Raises:
            ClusterRejected: It may not be applied.
            ClusterUnreachable: The API server did not answer.
        """
        kind, version = str(wanted["kind"]), str(wanted["apiVersion"])
        if kind not in _PLURALS:
            return None
        path = path_of(namespace, _PLURALS[kind], str(wanted["metadata"]["name"]), group="" if version == "v1" else version)
        query = {"fieldManager": manager, "force": "true", "dryRun": "All"}
        return self._api.call("PATCH", path, query, body=wanted, content_type="application/apply-patch+yaml")

    def give(self, seen: Mapping[str, Any], namespace: str, managed_fields: Sequence[Mapping[str, Any]]) -> None:
        """Change who owns which field of an object, and nothing else of it.

        Args:
            seen: The object as it was read.
            namespace: Its namespace.
            managed_fields: Its `managedFields` from now on.

        Raises:
            ClusterConflict: It was changed since it was read; retried.
            ClusterRejected: It may not be changed.
        """
        kind, version, metadata = str(seen["kind"]), str(seen["apiVersion"]), seen["metadata"]
        path = path_of(namespace, _PLURALS[kind], str(metadata["name"]), group="" if version == "v1" else version)
        # With the version that was read, so that nothing is given away that somebody set meanwhile.
        change = [
            {"op": "replace", "path": "/metadata/managedFields", "value": list(managed_fields)},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        ]
        self._api.call("PATCH", path, body=change, content_type="application/json-patch+json")

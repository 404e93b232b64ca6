"""Objects as the API server has them, of the kinds that the chart renders."""

from __future__ import annotations

from typing import Any

from blocks.cluster.connection import Connection

#: Kinds of the core group, as the client's methods are called.
_CORE = {"ConfigMap": "config_map", "Service": "service", "ServiceAccount": "service_account"}

#: Kinds of other groups, as the API's paths are called.
_PLURALS = {"Deployment": "deployments", "NetworkPolicy": "networkpolicies", "PodDisruptionBudget": "poddisruptionbudgets"}


class Documents:
    """Reads single objects."""

    def __init__(self, api: Connection) -> None:
        self._api = api

    def get(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """The object in full; none if it is not there, or its kind is none that the chart renders.

        Raises:
            ClusterRejected: It may not be read.
            ClusterUnreachable: The API server did not answer.
        """
        found: dict[str, Any] | None = None
        if api_version == "v1" and kind in _CORE:
            read = getattr(self._api.core, f"read_namespaced_{_CORE[kind]}")
            # Back to the API's own names: the client's models have Python's.
            found = self._api.client.sanitize_for_serialization(self._api.find(read, name, namespace))  # type: ignore[no-untyped-call]
        elif kind in _PLURALS:
            group, _, version = api_version.partition("/")
            found = self._api.find(
                # For kinds of Kubernetes' own, too: its methods take any group, and give the document as it came.
                self._api.custom.get_namespaced_custom_object,
                group=group,
                version=version,
                namespace=namespace,
                plural=_PLURALS[kind],
                name=name,
            )
        return found

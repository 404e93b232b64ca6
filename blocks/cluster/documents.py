"""Objects as the API server has them, of the kinds that the chart renders."""

from __future__ import annotations

from blocks.kubernetes_api import Document, KubernetesApi, path_of

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
    """Reads single objects."""

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

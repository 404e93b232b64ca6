"""What the parts of `ClusterClient` share: the API groups, selectors, amounts."""

from __future__ import annotations

from collections.abc import Mapping

from kubernetes import client as kubernetes_client
from kubernetes.utils.quantity import parse_quantity

from blocks.kubernetes_api import KubernetesApi


class Connection(KubernetesApi):
    """One pool of connections, and the API groups that the cluster block reads and writes.

    Args:
        configuration: Where the API server is, and who we are.
        timeout_seconds: How long one request may take.
    """

    def __init__(self, configuration: kubernetes_client.Configuration, timeout_seconds: float) -> None:
        super().__init__(configuration, timeout_seconds)
        self.core = kubernetes_client.CoreV1Api(self.client)
        self.apps = kubernetes_client.AppsV1Api(self.client)
        self.discovery = kubernetes_client.DiscoveryV1Api(self.client)
        self.batch = kubernetes_client.BatchV1Api(self.client)
        self.custom = kubernetes_client.CustomObjectsApi(self.client)


def selector(labels: Mapping[str, str]) -> str:
    """Labels as a selector: `key=value,…`, sorted."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def amount(amounts: Mapping[str, str] | None, name: str) -> int:
    """One of an object's amounts as a whole number; 0 where it has none of that name. Kubernetes writes 1000 as `1k`."""
    return int(parse_quantity((amounts or {}).get(name, "0")))  # type: ignore[no-untyped-call]

"""What the parts of `ClusterClient` share: the API groups, selectors, amounts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from kubernetes import client as kubernetes_client
from kubernetes.utils.quantity import parse_quantity

from blocks.kubernetes_api import KubernetesApi


class Connection(KubernetesApi):
    """One pool of connections, and the API groups that the cluster block reads and writes, each imported when it is first used."""

    @cached_property
    def core(self) -> kubernetes_client.CoreV1Api:
        """Pods, nodes, ConfigMaps, volumes."""
        return kubernetes_client.CoreV1Api(self.client)

    @cached_property
    def apps(self) -> kubernetes_client.AppsV1Api:
        """Kubernetes Deployments."""
        return kubernetes_client.AppsV1Api(self.client)

    @cached_property
    def discovery(self) -> kubernetes_client.DiscoveryV1Api:
        """Where Services send to."""
        return kubernetes_client.DiscoveryV1Api(self.client)

    @cached_property
    def batch(self) -> kubernetes_client.BatchV1Api:
        """Jobs."""
        return kubernetes_client.BatchV1Api(self.client)

    @cached_property
    def custom(self) -> kubernetes_client.CustomObjectsApi:
        """Objects of any kind, as documents."""
        return kubernetes_client.CustomObjectsApi(self.client)


def selector(labels: Mapping[str, str]) -> str:
    """Labels as a selector: `key=value,…`, sorted."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def amount(amounts: Mapping[str, str] | None, name: str) -> int:
    """One of an object's amounts as a whole number; 0 where it has none of that name. Kubernetes writes 1000 as `1k`."""
    return int(parse_quantity((amounts or {}).get(name, "0")))  # type: ignore[no-untyped-call]

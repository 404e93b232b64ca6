"""The cluster's nodes, what they have, and what of it is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blocks.cluster.gpu_labels import read_gpu_labels
from blocks.cluster.pods import GPU_RESOURCE, requested_gpus
from blocks.cluster.quantity import amount
from blocks.errors import ClusterRejected
from blocks.facts import GpuQuota, Node, Taint
from blocks.kubernetes_api import Document, KubernetesApi, path_of, selector


class Nodes:
    """Reads nodes and quotas."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    def list(self, labels: Mapping[str, str]) -> tuple[Node, ...]:
        """The nodes that carry all these labels."""
        return tuple(read_node(node) for node in self._api.list("/api/v1/nodes", labels=selector(labels)))

    def gpus_taken(self, nodes: Sequence[str]) -> dict[str, int]:
        """GPUs that pods hold on each of the nodes, whatever their namespace; one request a node.

        Raises:
            ClusterRejected: We may not list pods of all namespaces; the message says what to grant.
        """
        return {name: self._taken(name) for name in nodes}

    def gpu_quotas(self, namespace: str) -> tuple[GpuQuota, ...]:
        """The namespace's quotas that limit GPUs; those with scopes are left to the cluster.

        Raises:
            ClusterRejected: We may not list quotas; the message says what to grant.
        """
        listed = self._allowed("quotas of GPUs", path_of(namespace, "resourcequotas"))
        # Of an extended resource a quota can limit requests only.
        name = f"requests.{GPU_RESOURCE}"
        return tuple(
            GpuQuota(name=quota.metadata.name, hard=amount(quota.status.hard, name), used=amount(quota.status.used, name))
            for quota in listed
            if name in (quota.status.hard or {}) and not quota.spec.scopes and quota.spec.scopeSelector is None
        )

    def _taken(self, node: str) -> int:
        # Pods that have ended keep their node's name, and hold no GPU.
        fields = f"spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed"
        listed = self._allowed("free GPUs", "/api/v1/pods", fields)
        return sum(requested_gpus(pod) for pod in listed)

    def _allowed(self, what: str, path: str, fields: str = "") -> Sequence[Document]:
        try:
            return self._api.list(path, fields=fields)
        except ClusterRejected as exc:
            if exc.facts.get("code") != 403:
                raise
            raise ClusterRejected(
                f"{exc.message.rstrip('.')}: {what} cannot be counted; docs/environments.md says what a worker needs to be granted.",
                **exc.facts,
            ) from exc


def read_node(node: Document) -> Node:
    """A node as the API server has it, as a fact."""
    conditions = {c.type: c.status == "True" for c in node.status.conditions or []}
    gpu = read_gpu_labels(node.metadata.labels or {})
    return Node(
        name=node.metadata.name,
        ready=conditions.get("Ready", False),
        schedulable=not node.spec.unschedulable,
        # Allocatable, which the scheduler counts by; capacity includes what no pod gets.
        gpus=amount(node.status.allocatable, GPU_RESOURCE),
        gpu_memory_bytes=gpu.memory_bytes,
        gpu_memory_said=gpu.said,
        gpu_product=gpu.product,
        gpu_shared_by=gpu.shared_by,
        gpu_sharing=gpu.sharing,
        disk_bytes=amount(node.status.allocatable, "ephemeral-storage"),
        disk_pressure=conditions.get("DiskPressure", False),
        taints=tuple(Taint(key=t.key, value=t.value or "", effect=t.effect) for t in node.spec.taints or []),
    )

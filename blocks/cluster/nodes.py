"""The cluster's nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blocks.cluster.connection import Connection, selector
from blocks.facts import Node

GPU_RESOURCE = "nvidia.com/gpu"


class Nodes(Connection):
    """Reads nodes."""

    def nodes(self, labels: Mapping[str, str]) -> tuple[Node, ...]:
        """The nodes that carry all these labels."""
        listed = self._call(self._core.list_node, label_selector=selector(labels))
        return tuple(_node(node) for node in listed.items)


def _node(node: Any) -> Node:
    ready = any(c.type == "Ready" and c.status == "True" for c in node.status.conditions or [])
    gpus = int((node.status.allocatable or {}).get(GPU_RESOURCE, 0))
    return Node(name=node.metadata.name, ready=ready, schedulable=not node.spec.unschedulable, gpus=gpus)

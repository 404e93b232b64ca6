"""A Kubernetes cluster, through its own Python client: nodes, Jobs, rollouts. Every answer is a fact, every write can be repeated.

The block is imported when it is asked for, so that what only reads does not wait for Prefect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blocks.cluster.client import ClusterClient, ClusterSettings

if TYPE_CHECKING:
    from blocks.cluster.block import Cluster

__all__ = ["Cluster", "ClusterClient", "ClusterSettings"]


def __getattr__(name: str) -> object:
    if name == "Cluster":
        from blocks.cluster.block import Cluster

        return Cluster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

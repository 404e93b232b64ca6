"""A Kubernetes cluster, through its own Python client: nodes, Jobs, rollouts. Every answer is a fact, every write can be repeated."""

from blocks.cluster.block import Cluster, ClusterClient

__all__ = ["Cluster", "ClusterClient"]

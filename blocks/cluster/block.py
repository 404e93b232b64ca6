"""The Prefect block of a cluster."""

from __future__ import annotations

from prefect.blocks.core import Block

from blocks.cluster.client import ClusterSettings


class Cluster(ClusterSettings, Block):
    """A Kubernetes cluster: a kubeconfig file with its context, or the service account of the pod that the flow runs in."""

    _block_type_name = "Slipway cluster"
    _block_type_slug = "slipway-cluster"

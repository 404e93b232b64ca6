"""The block: which cluster, and how to reach it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from prefect.blocks.core import Block
from pydantic import Field

from blocks.cluster.documents import Documents
from blocks.cluster.jobs import Jobs
from blocks.cluster.mounts import Mounts
from blocks.cluster.nodes import Nodes
from blocks.kubeconfig import load_configuration


class Cluster(Block):
    """A Kubernetes cluster: a kubeconfig file with its context, or the service account of the pod that the flow runs in."""

    _block_type_name = "Slipway cluster"
    _block_type_slug = "slipway-cluster"

    kubeconfig: Path | None = Field(default=None, description="Kubeconfig file; empty uses the service account of the pod.")
    context: str | None = Field(default=None, description="A context of that file; empty uses its current one.")
    timeout_seconds: float = Field(default=30.0, gt=0, description="How long one request may take.")

    def client(self) -> ClusterClient:
        """A client for this cluster; use it as a context manager.

        Raises:
            ClusterRejected: The kubeconfig or its context does not exist.
        """
        return ClusterClient(self)


class ClusterClient(Nodes, Jobs, Mounts, Documents):
    """Talks to one API server over one pool of connections."""

    def __init__(self, block: Cluster) -> None:
        super().__init__(load_configuration(block.kubeconfig, block.context), block.timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""Which cluster, and the client that talks to it. Free of Prefect: commands that read use it as it is, and it is the block's base."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field

from blocks.cluster.documents import Documents
from blocks.cluster.groups import Groups
from blocks.cluster.jobs import Jobs
from blocks.cluster.mounts import Mounts
from blocks.cluster.nodes import Nodes
from blocks.cluster.pods import Pods
from blocks.cluster.rollouts import Rollouts
from blocks.cluster.secrets import Secrets
from blocks.kubeconfig import load_access
from blocks.kubernetes_api import KubernetesApi


class ClusterSettings(BaseModel):
    """A kubeconfig file with its context, or the service account of the pod that the flow runs in."""

    kubeconfig: Path | None = Field(default=None, description="Kubeconfig file; empty uses the service account of the pod.")
    context: str | None = Field(default=None, description="A context of that file; empty uses its current one.")
    timeout_seconds: float = Field(default=30.0, gt=0, description="How long one request may take.")

    def client(self) -> ClusterClient:
        """A client for this cluster; use it as a context manager.

        Raises:
            ClusterRejected: The kubeconfig or its context does not exist.
        """
        return ClusterClient(self)


class ClusterClient:
    """Talks to one API server over one pool of connections.

    Attributes:
        nodes: Nodes, what they have, and what of it is taken.
        pods: Pods, and what is said about them.
        jobs: Jobs with the files that they mount.
        rollouts: Kubernetes Deployments, and how far their rollouts are.
        mounts: What pods mount, and what there is to be mounted.
        documents: Single objects as the API server has them.
        secrets: Single texts of Secrets.
        groups: Pods that find and know each other.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        self._api = api = KubernetesApi(load_access(settings.kubeconfig, settings.context), settings.timeout_seconds)
        self.nodes = Nodes(api)
        self.pods = Pods(api)
        self.jobs = Jobs(api, self.pods)
        self.rollouts = Rollouts(api, self.pods)
        self.mounts = Mounts(api)
        self.documents = Documents(api)
        self.secrets = Secrets(api)
        self.groups = Groups(api)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

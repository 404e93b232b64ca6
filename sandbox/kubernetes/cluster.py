"""A whole stand-in cluster in one process: API server, controllers, scheduler and node agents on one loop.

Not emulated, besides what the parts say of themselves: a cluster network (network policies are stored and bind nobody, Services have
no address that works), DNS, storage classes, and anything that outlives the process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from sandbox.kubernetes.controllers import ControllerManager
from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.node import AgentOptions, Image, NodeAgent, NodeSpec
from sandbox.kubernetes.node.group import WithNodes
from sandbox.kubernetes.server.server import ApiServer
from sandbox.names import VARIABLE
from sandbox.serving import LoopThread

__all__ = ["AgentOptions", "Cluster", "Image", "NodeSpec"]


class Cluster(WithNodes):
    """A cluster that starts in a moment and ends without a trace.

    Args:
        folder: Where certificates, kubeconfigs and the nodes' folders are.
        loop: The loop on which everything runs.
        nodes: The nodes to begin with.
        images: Image repository → local command, shared by all nodes; a table that is changed later counts from then on.
        options: How the agents behave in time.
        node_grace_seconds: How old a node's lease may be before the node counts as lost.
        job_backoff_seconds: The wait before a Job's first failed pod is replaced.
        job_sync_seconds: How long after a change of its pods a Job is looked at.
        patience_seconds: The longest wait before what was refused is tried again; Kubernetes waits for up to 1,000 s.
        port: The API server's port; 0 takes a free one.

    Attributes:
        server: The API server.
    """

    def __init__(
        self,
        folder: Path,
        loop: LoopThread,
        *,
        nodes: Sequence[NodeSpec],
        images: Mapping[str, Image],
        options: AgentOptions | None = None,
        node_grace_seconds: float = 50.0,
        job_backoff_seconds: float = 10.0,
        job_sync_seconds: float = 1.0,
        patience_seconds: float = 5.0,
        port: int = 0,
    ) -> None:
        self.server = ApiServer(folder, loop, port=port)
        self._loop = loop
        self._manager = ControllerManager(
            self.server.local_client(),
            node_grace_seconds=node_grace_seconds,
            job_backoff_seconds=job_backoff_seconds,
            job_sync_seconds=job_sync_seconds,
            patience_seconds=patience_seconds,
            names=folder / "names",
        )
        address = urlsplit(self.server.url)
        in_cluster = {
            "KUBERNETES_SERVICE_HOST": str(address.hostname),
            "KUBERNETES_SERVICE_PORT": str(address.port),
            VARIABLE: str(folder / "names"),
        }
        self._agents = {
            spec.name: NodeAgent(
                self.server.local_client(f"system:node:{spec.name}"),
                loop,
                spec,
                images=images,
                folder=folder / "nodes" / spec.name,
                options=options,
                variables=in_cluster,
            )
            for spec in nodes
        }

    @property
    def url(self) -> str:
        """The API server's address."""
        return self.server.url

    @property
    def ca_file(self) -> Path:
        """The certificate authority that clients are to trust, PEM."""
        return self.server.ca_file

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of a user who may do everything."""
        return self.server.admin_kubeconfig

    def client(self, user: str) -> Client:
        """A client for a further controller, as a user who may do everything; to be used on the loop."""
        return self.server.local_client(user)

    def start(self) -> None:
        """Start everything; returns when all nodes are ready."""
        self.server.start()
        self._loop.run(self._manager.start())
        for agent in self._agents.values():
            agent.start()

    def close(self) -> None:
        """End everything, containers included. Safe to call twice."""
        for agent in self._agents.values():
            agent.stop()
        self._loop.run(self._manager.close())
        self.server.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

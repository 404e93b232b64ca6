"""The node agent: a kubelet with its own HTTP server, started and stopped from another thread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.node.addresses import Subnet, claim
from sandbox.kubernetes.node.container import Container
from sandbox.kubernetes.node.images import Image
from sandbox.kubernetes.node.kubelet import Kubelet
from sandbox.kubernetes.node.probes import probe_http_client
from sandbox.kubernetes.node.process import LocalRuntime
from sandbox.kubernetes.node.spec import AgentOptions, NodeSpec
from sandbox.serving import HttpServer, LoopThread


class NodeAgent:
    """One node.

    Starting it again on the same folder finds no container running; the pods' restart policies decide what happens to them.

    Args:
        client: The API server.
        loop: The loop on which everything runs.
        spec: What the node claims to be.
        images: Image repository → local command.
        folder: Where the node keeps its disk, its pods' folders and logs.
        options: Back-off and periods.
        subnet: The addresses of the node and its pods; a free one out of 127.0.0.0/8 by default.
        variables: Environment variables for every container.
    """

    def __init__(
        self,
        client: Client,
        loop: LoopThread,
        spec: NodeSpec,
        *,
        images: Mapping[str, Image],
        folder: Path,
        options: AgentOptions | None = None,
        subnet: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.spec = spec
        self.disk = folder / "disk"
        self._client = client
        self._loop = loop
        self._images = images
        self._folder = folder
        self._options = options or AgentOptions()
        self._wanted_subnet = subnet
        self._variables = dict(variables or {})
        self._kubelet: Kubelet | None = None
        self._server: HttpServer | None = None

    @property
    def running(self) -> bool:
        """Whether the agent was started and not stopped."""
        return self._server is not None

    def start(self) -> None:
        """Join the cluster; returns when the node is registered and ready. Not to be called on the loop itself."""
        self.disk.mkdir(parents=True, exist_ok=True)
        subnet, self._server = claim(self._wanted_subnet, self._find, self._loop)
        self._server.start()
        self._loop.run(self._start(subnet, self._server.port))

    async def _start(self, subnet: Subnet, port: int) -> None:
        self._kubelet = Kubelet(
            self._client,
            self.spec,
            images=self._images,
            folder=self._folder,
            options=self._options,
            variables=self._variables,
            runtime=LocalRuntime(),
            http=probe_http_client(),
        )
        await self._kubelet.start(subnet, port)

    def stop(self) -> None:
        """Leave without a word, as when a machine is switched off: all containers end, the API keeps what it last heard."""
        if self._server is None:
            return
        if self._kubelet is not None:
            self._loop.run(self._kubelet.stop())
        self._server.close()
        self._server = None

    def freeze(self) -> None:
        """Have the kubelet stand still, as if stopped or cut off: its containers run on, and nothing is heard of it."""
        self._loop.run(self._stand(still=True))

    def thaw(self) -> None:
        """Have it go on."""
        self._loop.run(self._stand(still=False))

    async def _stand(self, *, still: bool) -> None:
        if self._kubelet is not None:
            self._kubelet.freeze() if still else self._kubelet.thaw()

    def _find(self, namespace: str, name: str) -> list[Container] | None:
        return self._kubelet.find(namespace, name) if self._kubelet is not None else None

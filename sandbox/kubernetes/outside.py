"""A cluster that is not the sandbox's own, joined by the sandbox's node agents: it may be a bare API server with its controllers.

A real API server sends nothing to loopback addresses and takes none as endpoints, so the pods need a network (`subnet`) that this
machine answers for and that the API server has a route to.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from sandbox.kubernetes.controllers.nodes import LEASE_NAMESPACE
from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.client import LEASES, NODES, PODS, HttpClient
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.kubeconfig import read_kubeconfig
from sandbox.kubernetes.node import AgentOptions, Image, NodeAgent, NodeSpec
from sandbox.kubernetes.node.group import WithNodes
from sandbox.serving import LoopThread

LEAVE_SECONDS = 60.0
"""How long pods may take to end before the nodes leave the cluster anyway."""


class OutsideCluster(WithNodes):
    """Somebody else's cluster, and the nodes that this process brings to it.

    Args:
        kubeconfig: How to reach it, as a user who may create nodes.
        folder: Where the nodes keep their disks, pods and logs.
        loop: The loop on which the agents run.
        nodes: The nodes to bring along; their names must be new to the cluster.
        images: Image repository → local command, shared by all nodes.
        options: How the agents behave in time.
        subnet: The network of the nodes and their pods, divided among them; loopback addresses by default.

    Attributes:
        kubeconfig: As it was given.
        url: The API server's address.
    """

    def __init__(
        self,
        kubeconfig: Path,
        folder: Path,
        loop: LoopThread,
        *,
        nodes: Sequence[NodeSpec],
        images: Mapping[str, Image],
        options: AgentOptions | None = None,
        subnet: str | None = None,
    ) -> None:
        self.kubeconfig = kubeconfig
        self._folder = folder
        self._loop = loop
        self._client = loop.run(_connect(kubeconfig))
        self.url = self._client.url
        address = urlsplit(self.url)
        variables = {"KUBERNETES_SERVICE_HOST": str(address.hostname), "KUBERNETES_SERVICE_PORT": str(address.port or 443)}
        shares = _shares(subnet, len(nodes))
        self._agents = {
            spec.name: NodeAgent(
                self._client,
                loop,
                spec,
                images=images,
                folder=folder / "nodes" / spec.name,
                options=options,
                subnet=share,
                variables=variables,
            )
            for spec, share in zip(nodes, shares, strict=True)
        }

    @property
    def ca_file(self) -> Path:
        """The certificate authority that clients are to trust, PEM, as the kubeconfig has it."""
        authority = read_kubeconfig(self.kubeconfig).authority
        if authority is None:
            raise ValueError(f"{self.kubeconfig} names no certificate authority")
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "ca.pem"
        path.write_text(authority)
        return path

    def client(self, user: str) -> Client:
        """A client for a further controller; it acts as the user of the kubeconfig, whoever it is for."""
        return self._client

    def start(self) -> None:
        """Let the nodes join; returns when all are ready."""
        for agent in self._agents.values():
            agent.start()

    def close(self) -> None:
        """Let the nodes' pods end, and leave the cluster without a trace of them. Safe to call twice."""
        if any(agent.running for agent in self._agents.values()):
            self._loop.run(self._leave(), timeout_seconds=LEAVE_SECONDS + 30)
        for agent in self._agents.values():
            agent.stop()
        self._loop.run(self._client.close())

    async def _leave(self) -> None:
        for name in self._agents:
            with contextlib.suppress(*_IN_VAIN):
                await self._client.request("PATCH", NODES.one("", name), body={"spec": {"unschedulable": True}}, content_type=_MERGE)
        deadline = time.monotonic() + LEAVE_SECONDS
        while await self._terminating() and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        for name in self._agents:
            for path in (NODES.one("", name), LEASES.one(LEASE_NAMESPACE, name)):
                with contextlib.suppress(*_IN_VAIN):
                    await self._client.request("DELETE", path)

    async def _terminating(self) -> bool:
        """Whether a pod on one of the nodes is about to end, by itself or with its namespace: its node must still be there for that."""
        with contextlib.suppress(*_IN_VAIN):
            namespaces = await self._client.request("GET", "/api/v1/namespaces")
            ending = {item["metadata"]["name"] for item in namespaces["items"] if "deletionTimestamp" in item["metadata"]}
            for name in self._agents:
                pods = await self._client.request("GET", PODS.everywhere, query={"fieldSelector": f"spec.nodeName={name}"})
                about = [pod["metadata"] for pod in pods["items"]]
                if any("deletionTimestamp" in metadata or metadata["namespace"] in ending for metadata in about):
                    return True
        return False


#: A cluster that is gone, or that knows the node no more, need not be left.
_IN_VAIN = (ApiError, httpx.HTTPError)
_MERGE = "application/merge-patch+json"


async def _connect(kubeconfig: Path) -> HttpClient:
    return HttpClient.from_kubeconfig(kubeconfig)


def _shares(subnet: str | None, count: int) -> list[str | None]:
    """Equal parts of the network, one for each node."""
    if subnet is None:
        return [None] * count
    parts = ipaddress.IPv4Network(subnet).subnets(prefixlen_diff=max(count - 1, 0).bit_length())
    return [str(part) for _, part in zip(range(count), parts, strict=False)]

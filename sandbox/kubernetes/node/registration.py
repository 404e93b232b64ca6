"""The Node object and its Lease: how an agent makes its node known and says that it lives."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping
from typing import Any

import httpx

from sandbox.kubernetes.controllers.nodes import LEASE_NAMESPACE
from sandbox.kubernetes.controllers.objects import condition, micro_time
from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.client import LEASES, NODES, Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import now
from sandbox.kubernetes.node.spec import NodeSpec

MAX_PODS = 110
"""The kubelet's default limit of pods on a node."""

_HEALTHY = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def allocatable(spec: NodeSpec) -> dict[str, str]:
    """What the node has to give, as quantities."""
    amounts = {
        "cpu": str(spec.cpus),
        "memory": f"{spec.memory_bytes // 1024}Ki",
        "ephemeral-storage": f"{spec.disk_bytes // 1024}Ki",
        "pods": str(MAX_PODS),
    }
    return amounts | ({"nvidia.com/gpu": str(spec.gpus)} if spec.gpus else {})


def gpu_labels(spec: NodeSpec) -> dict[str, str]:
    """The labels by which NVIDIA's GPU feature discovery tells what GPUs a node has."""
    if not spec.gpus or not spec.gpu_memory_mib:
        return {}
    return {
        "nvidia.com/gpu.count": str(spec.gpus),
        "nvidia.com/gpu.memory": str(spec.gpu_memory_mib),
        "nvidia.com/gpu.product": spec.gpu_product,
        "nvidia.com/gpu.replicas": "1",
    }


class Registration:
    """Makes a node known and keeps it so.

    Args:
        client: The API server.
        spec: What the node claims to be.
        ip: The node's address.
        port: Where the agent serves logs.
        lease_seconds: How often the lease is renewed.
    """

    def __init__(self, client: Client, spec: NodeSpec, *, ip: str, port: int, lease_seconds: float) -> None:
        self._client = client
        self._spec = spec
        self._ip = ip
        self._port = port
        self._lease_seconds = lease_seconds

    async def register(self) -> Object:
        """Create the Node, or take over the one of that name; renew the lease; return the node."""
        labels: Mapping[str, str] = {
            "kubernetes.io/hostname": self._spec.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            **gpu_labels(self._spec),
            **self._spec.labels,
        }
        spec: dict[str, Any] = {"taints": [dict(taint) for taint in self._spec.taints]} if self._spec.taints else {}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._spec.name, "labels": dict(labels)}, "spec": spec}
        await self._renew()
        try:
            await self._client.request("POST", NODES.everywhere, body=body)
        except ApiError as exc:
            if exc.code != 409:
                raise
            patch = {"metadata": {"labels": dict(labels)}}
            await self._client.request(
                "PATCH", NODES.one("", self._spec.name), body=patch, content_type="application/strategic-merge-patch+json"
            )
        return await self._report()

    async def _report(self) -> Object:
        moment = now()
        conditions = [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": moment,
                "lastTransitionTime": moment,
            }
            for kind, status, reason, message in _HEALTHY
        ]
        amounts = allocatable(self._spec)
        status = {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": conditions,
            "addresses": [{"type": "InternalIP", "address": self._ip}, {"type": "Hostname", "address": self._spec.name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port}},
            "nodeInfo": {
                "architecture": platform.machine(),
                "bootID": "",
                "containerRuntimeVersion": "sandbox://1",
                "kernelVersion": platform.release(),
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.36.2-sandbox",
                "machineID": self._spec.name,
                "operatingSystem": "linux",
                "osImage": "Slipway sandbox",
                "systemUUID": self._spec.name,
            },
        }
        path = NODES.one("", self._spec.name, "status")
        return await self._client.request("PATCH", path, body={"status": status}, content_type="application/strategic-merge-patch+json")

    async def keep_alive(self) -> None:
        """Renew the lease, and report again if somebody believed the node lost, until cancelled."""
        while True:
            await asyncio.sleep(self._lease_seconds)
            try:
                await self._renew()
                node = await self._client.request("GET", NODES.one("", self._spec.name))
                if (condition(node, "Ready") or {"status": "Unknown"})["status"] != "True":
                    await self._report()
            except ApiError as exc:
                if exc.code == 404:
                    await self.register()
            except (httpx.HTTPError, OSError):
                continue

    async def _renew(self) -> None:
        name = self._spec.name
        spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": micro_time()}
        try:
            await self._client.request(
                "PATCH", LEASES.one(LEASE_NAMESPACE, name), body={"spec": spec}, content_type="application/merge-patch+json"
            )
        except ApiError as exc:
            if exc.code != 404:
                raise
            await self._create_lease(name, spec)

    async def _create_lease(self, name: str, spec: Object) -> None:
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec}
        try:
            await self._client.request("POST", LEASES.within(LEASE_NAMESPACE), body=lease)
        except ApiError as exc:
            if exc.code != 404:
                raise
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEASE_NAMESPACE}}
            await self._client.request("POST", "/api/v1/namespaces", body=namespace)
            await self._client.request("POST", LEASES.within(LEASE_NAMESPACE), body=lease)

"""The node agent's work on one loop: joins an API server as a node and runs the pods that are bound to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx

from sandbox import confine
from sandbox.kubernetes.admission.informer import Informer
from sandbox.kubernetes.controllers.events import EventRecorder
from sandbox.kubernetes.controllers.objects import is_deleting, is_finished
from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.client import PODS, Object
from sandbox.kubernetes.node.addresses import Subnet
from sandbox.kubernetes.node.container import Container
from sandbox.kubernetes.node.gate import Gate
from sandbox.kubernetes.node.gpus import Gpus
from sandbox.kubernetes.node.host import Host
from sandbox.kubernetes.node.images import Image
from sandbox.kubernetes.node.memory import enforce
from sandbox.kubernetes.node.pod import PodWorker, remove_finished
from sandbox.kubernetes.node.process import Runtime
from sandbox.kubernetes.node.registration import Registration, allocatable
from sandbox.kubernetes.node.spec import AgentOptions, NodeSpec


class Kubelet:
    """One node's pods, from when it joins until it leaves.

    Args:
        client: The API server.
        spec: What the node claims to be.
        images: Image repository → local command.
        folder: Where the node keeps its disk, its pods' folders and logs.
        options: Back-off and periods.
        variables: Environment variables for every container.
        runtime: Starts containers.
        http: The client for probes and hooks.
    """

    def __init__(
        self,
        client: Client,
        spec: NodeSpec,
        *,
        images: Mapping[str, Image],
        folder: Path,
        options: AgentOptions,
        variables: Mapping[str, str],
        runtime: Runtime,
        http: httpx.AsyncClient,
    ) -> None:
        self._client = Gate(client)
        self._spec = spec
        self._images = images
        self._folder = folder
        self._options = options
        self._variables = variables
        self._runtime = runtime
        self._http = http
        self._workers: dict[str, PodWorker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pod_tasks: dict[str, asyncio.Task[None]] = {}
        self._subnet: Subnet | None = None
        self._host: Host | None = None

    async def start(self, subnet: Subnet, port: int) -> None:
        """Join the cluster; returns when the node is registered and its pods are known.

        Args:
            subnet: The addresses of the node and its pods.
            port: Where logs are served.
        """
        self._subnet = subnet
        recorder = EventRecorder(self._client, "kubelet", host=self._spec.name)
        self._host = Host(
            name=self._spec.name,
            ip=subnet.node_ip,
            client=self._client,
            recorder=recorder,
            images=self._images,
            disk=self._folder / "disk",
            folder=self._folder,
            allocatable=allocatable(self._spec),
            options=self._options,
            runtime=self._runtime,
            http=self._http,
            gpus=Gpus(self._spec.gpus),
            variables=self._variables,
        )
        registration = Registration(self._client, self._spec, ip=subnet.node_ip, port=port, lease_seconds=self._options.lease_seconds)
        node = await registration.register()
        recorder.tell(node, "Normal", "Starting", "Starting kubelet.")
        if not confine.available():
            why = "This kernel has no Landlock of version 3 or later: nothing stops a container from writing to a read-only mount."
            recorder.tell(node, "Warning", "ReadOnlyNotEnforced", why)
        informer = Informer(self._client, PODS, query={"fieldSelector": f"spec.nodeName={self._spec.name}"})
        informer.subscribe(self._pod_changed)
        loops = (recorder.run(), registration.keep_alive(), enforce(self._containers, self._options.memory_check_seconds), informer.run())
        self._tasks = {asyncio.create_task(loop) for loop in loops}
        await informer.synced.wait()

    def freeze(self) -> None:
        """Hear and say nothing from now on, while the containers run on: a kubelet that was stopped, or a network that is gone."""
        self._client.open.clear()

    def thaw(self) -> None:
        """Go on with what came meanwhile."""
        self._client.open.set()

    async def stop(self) -> None:
        """Leave without a word: all containers end, the API keeps what it last heard."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(worker.halt() for worker in self._workers.values()))
        for task in self._pod_tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks, *self._pod_tasks.values(), return_exceptions=True)
        self._tasks.clear()
        self._workers.clear()
        self._pod_tasks.clear()
        await self._http.aclose()
        self._runtime.close()

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        if pod is None or self._host is None:
            return
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if worker is not None:
            if new is None:
                worker.vanish()
            else:
                worker.update(new)
        elif new is not None:
            self._accept(new)

    def _accept(self, pod: Object) -> None:
        assert self._host is not None
        assert self._subnet is not None
        uid = pod["metadata"]["uid"]
        if is_finished(pod) and is_deleting(pod):
            self._pod_tasks[uid] = asyncio.create_task(remove_finished(self._host, pod))
            self._pod_tasks[uid].add_done_callback(lambda _: self._pod_tasks.pop(uid, None))
            return
        worker = PodWorker(self._host, pod, self._subnet.take({other.ip for other in self._workers.values()}))
        self._workers[uid] = worker
        # Its deletion began while no agent was here.
        if is_deleting(pod):
            worker.update(pod)
        task = asyncio.create_task(worker.run())
        self._pod_tasks[uid] = task
        task.add_done_callback(lambda _: self._forget(uid))

    def _forget(self, uid: str) -> None:
        self._workers.pop(uid, None)
        self._pod_tasks.pop(uid, None)

    def _containers(self) -> Iterable[Container]:
        return [container for worker in self._workers.values() for container in worker.containers]

    def find(self, namespace: str, name: str) -> list[Container] | None:
        """The containers of a pod on this node; none if there is no such pod."""
        for worker in self._workers.values():
            metadata = worker.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name):
                return worker.containers
        return None

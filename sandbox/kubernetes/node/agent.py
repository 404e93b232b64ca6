"""The node agent: joins an API server as a node and runs the pods that are bound to it. It talks the Kubernetes API and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from sandbox.kubernetes.admission.informer import Informer
from sandbox.kubernetes.controllers.events import EventRecorder
from sandbox.kubernetes.controllers.objects import is_deleting, is_finished
from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.client import PODS, Object
from sandbox.kubernetes.node import confine
from sandbox.kubernetes.node.addresses import Subnet, claim
from sandbox.kubernetes.node.container import Container
from sandbox.kubernetes.node.gpus import Gpus
from sandbox.kubernetes.node.host import Host
from sandbox.kubernetes.node.images import Image
from sandbox.kubernetes.node.memory import enforce
from sandbox.kubernetes.node.pod import PodWorker, remove_finished
from sandbox.kubernetes.node.probes import probe_http_client
from sandbox.kubernetes.node.process import Watchdog
from sandbox.kubernetes.node.registration import Registration, allocatable
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
        self._workers: dict[str, PodWorker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pod_tasks: dict[str, asyncio.Task[None]] = {}
        self._subnet: Subnet | None = None
        self._server: HttpServer | None = None
        self._host: Host | None = None

    @property
    def running(self) -> bool:
        """Whether the agent was started and not stopped."""
        return self._server is not None

    def start(self) -> None:
        """Join the cluster; returns when the node is registered and ready. Not to be called on the loop itself."""
        self.disk.mkdir(parents=True, exist_ok=True)
        self._subnet, self._server = claim(self._wanted_subnet, self._find, self._loop)
        self._server.start()
        self._loop.run(self._start(self._subnet, self._server.port))

    async def _start(self, subnet: Subnet, port: int) -> None:
        recorder = EventRecorder(self._client, "kubelet", host=self.spec.name)
        self._host = Host(
            name=self.spec.name,
            ip=subnet.node_ip,
            client=self._client,
            recorder=recorder,
            images=self._images,
            disk=self.disk,
            folder=self._folder,
            allocatable=allocatable(self.spec),
            options=self._options,
            watchdog=Watchdog(),
            http=probe_http_client(),
            gpus=Gpus(self.spec.gpus),
            variables=self._variables,
        )
        registration = Registration(self._client, self.spec, ip=subnet.node_ip, port=port, lease_seconds=self._options.lease_seconds)
        node = await registration.register()
        recorder.tell(node, "Normal", "Starting", "Starting kubelet.")
        if not confine.available():
            why = "This kernel has no Landlock of version 3 or later: nothing stops a container from writing to a read-only mount."
            recorder.tell(node, "Warning", "ReadOnlyNotEnforced", why)
        informer = Informer(self._client, PODS, query={"fieldSelector": f"spec.nodeName={self.spec.name}"})
        informer.subscribe(self._pod_changed)
        loops = (recorder.run(), registration.keep_alive(), enforce(self._containers, self._options.memory_check_seconds), informer.run())
        self._tasks = {asyncio.create_task(loop) for loop in loops}
        await informer.synced.wait()

    def stop(self) -> None:
        """Leave without a word, as when a machine is switched off: all containers end, the API keeps what it last heard."""
        if self._server is None:
            return
        self._loop.run(self._stop())
        self._server.close()
        self._server = None

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(worker.halt() for worker in self._workers.values()))
        for task in self._pod_tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks, *self._pod_tasks.values(), return_exceptions=True)
        self._tasks.clear()
        self._workers.clear()
        self._pod_tasks.clear()
        if self._host is not None:
            await self._host.http.aclose()
            self._host.watchdog.close()

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

    def _find(self, namespace: str, name: str) -> list[Container] | None:
        for worker in self._workers.values():
            metadata = worker.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name):
                return worker.containers
        return None

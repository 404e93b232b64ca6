"""One pod on the node: volumes, init containers in order, containers together, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from sandbox.kubernetes.controllers.objects import FINISHED_PHASES, age_seconds, find_condition, is_deleting
from sandbox.kubernetes.meta.client import PODS, Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import clone, dig, now
from sandbox.kubernetes.node.container import Container
from sandbox.kubernetes.node.host import Host
from sandbox.kubernetes.node.status import conditions_of, phase_of
from sandbox.kubernetes.node.volumes import Volume, VolumeFailed, Volumes

#: When the final phase of a pod that was deleted is told, as a share of the time until it is gone.
FIRST_HALF = 0.4

#: The longest wait before a volume that cannot be had is tried again.
MAX_MOUNT_SECONDS = 122.0

DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"


class PodWorker:
    """Runs one pod from its arrival on the node to its removal.

    Args:
        host: The node.
        pod: The pod as it arrived.
        ip: The pod's own address.
    """

    def __init__(self, host: Host, pod: Object, ip: str) -> None:
        self.ip = ip
        self._host = host
        self._pod = clone(pod)
        self._changes = asyncio.Event()
        self._deletion = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._failed: tuple[str, str] | None = None
        self._gone = False
        self._muted = False
        self._has_sandbox = False
        self._settled = False
        self._ending = False
        self._sent: Object | None = None
        status = self._pod.setdefault("status", {})
        status["podIP"], status["hostIP"] = ip, host.ip
        status.setdefault("startTime", now())
        spec = self._pod["spec"]
        self._init = [self._container(entry, is_init=True) for entry in spec.get("initContainers") or []]
        self._containers = [self._container(entry, is_init=False) for entry in spec["containers"]]
        if self._init:
            for container in self._containers:
                container.state = {"waiting": {"reason": "PodInitializing"}}
        self._resume()

    def _container(self, spec: Object, *, is_init: bool) -> Container:
        return Container(self._host, lambda: self._pod, spec, is_init=is_init, changed=self._changes.set)

    def _resume(self) -> None:
        for kind, containers in (("initContainerStatuses", self._init), ("containerStatuses", self._containers)):
            reported = {entry["name"]: entry for entry in dig(self._pod, "status", kind, default=[])}
            for container in containers:
                if container.name in reported:
                    container.resume(reported[container.name])

    @property
    def containers(self) -> list[Container]:
        """All containers of the pod, init containers first."""
        return [*self._init, *self._containers]

    @property
    def pod(self) -> Object:
        """The newest version of the pod, with this node's view of its status."""
        return self._pod

    @property
    def folder(self) -> Path:
        """Where the pod's volumes, homes and logs are."""
        return self._host.pod_folder(self._pod["metadata"]["uid"])

    def update(self, pod: Object) -> None:
        """Take over a newer version of the pod; a deletion begins its end."""
        own_status = self._pod["status"]
        if self._sent is not None and _readiness(pod.get("status") or {}) != _readiness(self._sent):
            # Somebody else said otherwise, as the node's controller does while nothing is heard of the node.
            self._sent = None
            self._changes.set()
        self._pod = {**clone(pod), "status": {**clone(pod.get("status") or {}), **_addresses(own_status)}}
        if is_deleting(pod):
            self._deletion.set()

    def vanish(self) -> None:
        """The pod is no longer in the API: end it and tell nobody."""
        self._gone = True
        self._deletion.set()

    async def run(self) -> None:
        """Run the pod; returns when it is gone from the node and from the API."""
        publishing = asyncio.create_task(self._publish_changes())
        self._work = asyncio.create_task(self._run_containers())
        deadline = asyncio.create_task(self._keep_deadline())
        settling = asyncio.create_task(self._settle())
        try:
            self._changes.set()
            # A finished pod stays in the API, with its logs on the node, until somebody deletes it.
            await self._deletion.wait()
            await self._end()
        finally:
            for task in (publishing, self._work, deadline, settling):
                task.cancel()
            await asyncio.gather(publishing, self._work, deadline, settling, return_exceptions=True)
            for container in self.containers:
                await container.close()
                self._host.gpus.release(f"{self._pod['metadata']['uid']}/{container.name}")

    async def halt(self) -> None:
        """End all processes at once, as when the node loses its power; the API is told nothing."""
        self._muted = True
        await self._stop_containers(0.0)

    async def _keep_deadline(self) -> None:
        deadline_seconds = self._pod["spec"].get("activeDeadlineSeconds")
        if deadline_seconds is None or self._work is None:
            return
        left_seconds = deadline_seconds - age_seconds(self._pod["status"]["startTime"])
        done, _ = await asyncio.wait({self._work}, timeout=max(0.0, left_seconds))
        if done:
            return
        self._failed = ("DeadlineExceeded", DEADLINE_MESSAGE)
        self._tell("Normal", "DeadlineExceeded", DEADLINE_MESSAGE)
        await self._stop_containers(self._grace_seconds())
        self._changes.set()

    async def _run_containers(self) -> None:
        if phase_of(self._init, self._containers) in FINISHED_PHASES:
            return
        volumes = await self._mount()
        self._has_sandbox = True
        for container in self.containers:
            container.volumes = volumes
        for container in self._init:
            await container.run()
            if not container.succeeded:
                return
        async with asyncio.TaskGroup() as group:
            for container in self._containers:
                group.create_task(container.run())

    async def _settle(self) -> None:
        """After the last container's end, the pod's."""
        if self._work is not None:
            await asyncio.wait({self._work})
            await asyncio.sleep(self._host.options.settle_seconds)
            self._settled = True
            self._changes.set()

    async def _mount(self) -> dict[str, Volume]:
        volumes = Volumes(self._host.client, disk=self._host.disk, folder=self.folder, allocatable=self._host.allocatable)
        wait_seconds = self._host.options.retry_seconds
        while True:
            try:
                return await volumes.realise(self._pod)
            except VolumeFailed as exc:
                self._tell("Warning", "FailedMount", str(exc))
            except httpx.HTTPError:
                self._changes.set()
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 2, MAX_MOUNT_SECONDS)

    def _tell(self, kind: str, reason: str, message: str) -> None:
        self._host.recorder.tell(self._pod, kind, reason, message)

    def _grace_seconds(self) -> float:
        metadata = self._pod["metadata"]
        return float(metadata.get("deletionGracePeriodSeconds", self._pod["spec"].get("terminationGracePeriodSeconds", 30)))

    async def _end(self) -> None:
        """Stop everything, report the last states, and remove the pod from the API."""
        self._settled = True
        self._ending = True
        if any(not container.done for container in self.containers):
            for container in self.containers:
                container.stop_waiting()
        await self._stop_containers(self._grace_seconds())
        if not self._gone:
            await asyncio.sleep(self._host.options.settle_seconds * FIRST_HALF)
            self._ending = False
            for container in self.containers:
                container.give_up()
                await container.close()
            await self._publish()
            await asyncio.sleep(self._host.options.settle_seconds * (1 - FIRST_HALF))
            await self._remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _stop_containers(self, grace_seconds: float) -> None:
        running = [container for container in self.containers if container.process is not None]
        for container in running if not self._muted else ():
            container.tell("Normal", "Killing", f"Stopping container {container.name}")
        await asyncio.gather(*(container.stop(grace_seconds) for container in self.containers))
        if self._work is not None:
            # Those that ran are about to report their end; what still waits for an image or its back-off will never run.
            await asyncio.gather(*(container.ended.wait() for container in running))
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        for container in self.containers:
            container.done = container.done or "terminated" in container.state

    async def _remove(self) -> None:
        metadata = self._pod["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": metadata["uid"]},
        }
        await self._insist(lambda: self._host.client.request("DELETE", PODS.one(metadata["namespace"], metadata["name"]), body=body))

    async def _publish_changes(self) -> None:
        while True:
            await self._changes.wait()
            self._changes.clear()
            if not self._muted:
                await self._publish()

    async def _publish(self) -> None:
        status = self._status()
        if status == self._sent:
            return
        metadata = self._pod["metadata"]
        # With the uid: a pod that was made anew under the name must not get this one's status.
        body = {"metadata": {"uid": metadata["uid"]}, "status": status}
        path = PODS.one(metadata["namespace"], metadata["name"], "status")

        async def send() -> Object:
            return await self._host.client.request("PATCH", path, body=body, content_type="application/strategic-merge-patch+json")

        written = await self._insist(send)
        if written is not None:
            self._sent = status
            self._pod["status"] = {**written["status"], **_addresses(self._pod["status"])}

    async def _insist(self, send: Callable[[], Awaitable[Object]]) -> Object | None:
        """Repeat a request until the API server has answered it; None when the pod is gone or the answer is no."""
        delay_seconds = 0.05
        while True:
            try:
                return await send()
            except ApiError as exc:
                if exc.code < 500:
                    return None
            except (httpx.HTTPError, OSError):
                pass
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(delay_seconds * 2, 5.0)

    def _status(self) -> Object:
        final = phase = "Failed" if self._failed is not None else phase_of(self._init, self._containers)
        if self._ending:
            # What ends one after another is told when the last one has ended.
            final = phase = dig(self._pod, "status", "phase", default="Pending")
        if final in FINISHED_PHASES and not self._settled and self._failed is None:
            # The containers' ends are told first, the pod's own one later.
            phase = "Running" if any(container.has_run for container in self._containers) else "Pending"
        own = self._pod["status"]
        status: Object = {
            "phase": phase,
            "conditions": conditions_of(
                self._pod, phase, final, self._init, self._containers, has_sandbox=self._has_sandbox, ending=self._ending
            ),
            "hostIP": self._host.ip,
            "hostIPs": [{"ip": self._host.ip}],
            "startTime": own["startTime"],
            "containerStatuses": [container.told(ending=self._ending) for container in self._containers],
        }
        if generation := self._pod["metadata"].get("generation"):
            status["observedGeneration"] = generation
        # Told with the first container that runs, and kept.
        if any(container.ran for container in self.containers):
            status |= {"podIP": self.ip, "podIPs": [{"ip": self.ip}]}
        if self._init:
            status["initContainerStatuses"] = [container.status for container in self._init]
        if self._failed is not None:
            status["reason"], status["message"] = self._failed
        return status


def _readiness(status: Object) -> str | None:
    found = find_condition(status.get("conditions") or [], "Ready")
    return None if found is None else str(found["status"])


def _addresses(status: Object) -> Object:
    return {key: status[key] for key in ("podIP", "hostIP", "startTime") if key in status}


async def remove_finished(host: Host, pod: Object) -> None:
    """Let go of a pod that had ended before this agent came and is being deleted now."""
    metadata = pod["metadata"]
    body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
    with contextlib.suppress(ApiError):
        await host.client.request("DELETE", PODS.one(metadata["namespace"], metadata["name"]), body=body)
    shutil.rmtree(host.pod_folder(metadata["uid"]), ignore_errors=True)

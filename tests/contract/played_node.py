"""A node that only sets the statuses of its pods, as the one did when the exchanges were recorded."""

from __future__ import annotations

import asyncio
from typing import Any

from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import now

MERGE = "application/strategic-merge-patch+json"


class PlayedNode:
    """Registers a node, says of each pod bound to it that it runs, finished or failed, and lets deleted pods go.

    Args:
        client: The API server.
        name: The node's name.
        capacity: What it claims to have.
    """

    def __init__(self, client: Client, name: str, capacity: dict[str, str]) -> None:
        self._client = client
        self._name = name
        self._capacity = capacity
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        node = {
            "metadata": {"name": self._name, "labels": {"kubernetes.io/hostname": self._name}},
            "status": {
                "capacity": self._capacity,
                "allocatable": self._capacity,
                "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": now(), "lastTransitionTime": now()}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            },
        }
        await self._client.request("POST", "/api/v1/nodes", body=node)
        self._task = asyncio.create_task(self._play())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _play(self) -> None:
        # A watch without a resource version begins with what is there.
        async for event in self._client.watch("/api/v1/pods", query={"fieldSelector": f"spec.nodeName={self._name}"}):
            pod = event["object"]
            path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
            try:
                if event["type"] == "DELETED":
                    continue
                if "deletionTimestamp" in pod["metadata"]:
                    await self._client.request("DELETE", path, query={"gracePeriodSeconds": "0"})
                elif pod["status"]["phase"] == "Pending":
                    await self._client.request("PATCH", f"{path}/status", body={"status": self._status(pod)}, content_type=MERGE)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

    def _status(self, pod: dict[str, Any]) -> dict[str, Any]:
        container = pod["spec"]["containers"][0]
        image, time = container["image"], now()
        shared = {"name": container["name"], "lastState": {}, "restartCount": 0, "image": image}
        if container.get("args") == ["prefetch"]:
            failed = "fail" in pod["metadata"]["name"]
            ended = {"exitCode": int(failed), "reason": "Error" if failed else "Completed", "startedAt": time, "finishedAt": time}
            status = {**shared, "state": {"terminated": ended}, "ready": False, "imageID": ""}
            conditions = [{"type": "Ready", "status": "False"}]
            return {"phase": "Failed" if failed else "Succeeded", "conditions": conditions, "containerStatuses": [status]}
        if image.endswith("bad:1"):
            waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
            return {"containerStatuses": [{**shared, "state": {"waiting": waiting}, "ready": False, "imageID": ""}]}
        conditions = [{"type": name, "status": "True", "lastTransitionTime": time} for name in ("Initialized", "ContainersReady", "Ready")]
        running = {**shared, "state": {"running": {"startedAt": time}}, "ready": True, "started": True}
        return {
            "phase": "Running",
            "conditions": conditions,
            "hostIP": "10.0.0.1",
            "podIP": "10.1.0.7",
            "podIPs": [{"ip": "10.1.0.7"}],
            "startTime": time,
            "containerStatuses": [{**running, "imageID": f"docker-pullable://{image}"}],
        }

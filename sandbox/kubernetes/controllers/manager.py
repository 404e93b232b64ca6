"""Starts and stops all controllers together."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sandbox.kubernetes.controllers.deployment import DeploymentController
from sandbox.kubernetes.controllers.disruption import DisruptionController
from sandbox.kubernetes.controllers.endpoints import EndpointsController
from sandbox.kubernetes.controllers.garbage import GarbageCollector
from sandbox.kubernetes.controllers.job import JobController
from sandbox.kubernetes.controllers.nodes import NodeController
from sandbox.kubernetes.controllers.queue import LAST_RETRY_SECONDS
from sandbox.kubernetes.controllers.replicaset import ReplicaSetController
from sandbox.kubernetes.controllers.scheduler import Scheduler
from sandbox.kubernetes.controllers.view import Controller, View
from sandbox.kubernetes.controllers.volumes import VolumeController
from sandbox.kubernetes.meta.api import Client


class ControllerManager:
    """All controllers on one client. Everything waits for watches; an idle manager costs nothing.

    Args:
        client: The API server; the in-process client makes the controllers almost free.
        node_grace_seconds: How old a node's lease may be before the node counts as lost.
        job_backoff_seconds: The wait before a Job's first failed pod is replaced.
        job_sync_seconds: How long after a change of its pods a Job is looked at.
        patience_seconds: The longest wait before what was refused is tried again.
        names: The folder in which names of headless Services are looked up; none if nobody looks.
    """

    def __init__(
        self,
        client: Client,
        *,
        node_grace_seconds: float = 50.0,
        job_backoff_seconds: float = 10.0,
        job_sync_seconds: float = 1.0,
        patience_seconds: float = LAST_RETRY_SECONDS,
        names: Path | None = None,
    ) -> None:
        self._view = View(client, patience_seconds=patience_seconds)
        self._controllers: list[Controller] = [
            DeploymentController(self._view),
            ReplicaSetController(self._view),
            JobController(self._view, backoff_seconds=job_backoff_seconds, sync_seconds=job_sync_seconds),
            EndpointsController(self._view, names),
            DisruptionController(self._view),
            NodeController(self._view, grace_seconds=node_grace_seconds),
            VolumeController(self._view),
            Scheduler(self._view),
            GarbageCollector(self._view),
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start; returns once every collection was read once."""
        self._tasks = [asyncio.create_task(loop) for loop in self._view.loops()]
        await self._view.synced()
        self._tasks += [asyncio.create_task(controller.queue.run()) for controller in self._controllers]

    async def close(self) -> None:
        """Stop. Safe to call twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

"""What a pod's containers need of the node that runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from sandbox.kubernetes.controllers.events import EventRecorder
from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.node.gpus import Gpus
from sandbox.kubernetes.node.images import Image
from sandbox.kubernetes.node.process import Runtime
from sandbox.kubernetes.node.spec import AgentOptions

MAX_BACKOFF_SECONDS = 300.0
"""The kubelet's cap on the wait before a crashed container is started again."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """One node, as its pods see it.

    Attributes:
        name: The node's name.
        ip: The node's address.
        client: The API server.
        recorder: Tells events in the kubelet's name.
        images: Image repository → local command. Looked up at every attempt, so an image can be added later.
        pulled: The images that were used on this node before.
        disk: The folder that plays the node's file system.
        folder: Where pods have their folders and logs.
        allocatable: What the node has to give.
        options: Back-off and periods.
        runtime: Starts containers.
        http: The client for probes and hooks.
        gpus: Which GPU belongs to which container.
        variables: Environment variables for every container, e.g. where the API server is.
    """

    name: str
    ip: str
    client: Client
    recorder: EventRecorder
    images: Mapping[str, Image]
    disk: Path
    folder: Path
    allocatable: Mapping[str, str]
    options: AgentOptions
    runtime: Runtime
    http: httpx.AsyncClient
    gpus: Gpus
    variables: Mapping[str, str]
    pulled: set[str] = field(default_factory=set)

    def pod_folder(self, uid: str) -> Path:
        """Where a pod's volumes, homes and logs are."""
        return self.folder / "pods" / uid

    @property
    def most_backoff_seconds(self) -> float:
        """The longest wait before a crashed container is started again."""
        return MAX_BACKOFF_SECONDS * self.options.restart_backoff_seconds / 10.0

    def backoff_seconds(self, attempt: int) -> float:
        """The wait before the given repetition (1 is the first)."""
        return float(min(self.options.restart_backoff_seconds * 2 ** (attempt - 1), MAX_BACKOFF_SECONDS))

"""What the API server says of nodes, Jobs and pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Taint:
    """A node's taint: Kubernetes' own fields."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, kw_only=True)
class Node:
    """A cluster node.

    Attributes:
        name: Its name.
        ready: Whether it is well.
        schedulable: Whether it takes new pods.
        gpus: GPUs that it offers to pods in all.
        gpu_memory_bytes: Memory of one of them, by the labels of NVIDIA's GPU feature discovery; none without them. A GPU that is
            shared counts with its share.
        gpu_product: Its name, by the same labels; empty without them.
        disk_bytes: Ephemeral storage that it offers to pods in all.
        disk_pressure: Whether its disk is nearly full.
        taints: What pods must tolerate.
        gpu_memory_said: What the label of the memory says, where that is no GPU's memory.
        gpu_shared_by: Pods that share one GPU; 0 if they do and nothing says how many.
        gpu_sharing: How they share it: `time-slicing` or `mps`; empty if they do not.
    """

    name: str
    ready: bool
    schedulable: bool
    gpus: int
    gpu_memory_bytes: int | None
    gpu_product: str
    disk_bytes: int
    disk_pressure: bool
    taints: tuple[Taint, ...]
    gpu_memory_said: str = ""
    gpu_shared_by: int = 1
    gpu_sharing: str = ""


@dataclass(frozen=True, kw_only=True)
class GpuQuota:
    """What a ResourceQuota of a namespace says of GPUs."""

    name: str
    hard: int
    used: int


@dataclass(frozen=True, kw_only=True)
class JobState:
    """Where a Kubernetes Job stands. `outcome` is none while it runs; `message` says why it failed; `labels` are its own."""

    name: str
    outcome: Literal["succeeded", "failed"] | None
    message: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ContainerExit:
    """How a container's process ended: Kubernetes' reason (`Error`, `OOMKilled`, …), its exit code, and its last words if it left any."""

    reason: str
    code: int
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container as its pod's status tells it.

    Attributes:
        name: Its name.
        is_init: Whether it must end before the pod's others begin.
        state: What it does now.
        reason: Why it waits or how it ended; empty while it runs.
        message: Kubernetes' own words about that.
        restarts: How often it was started again.
        started: Whether its startup probe has passed.
        ready: Whether its readiness probe passes.
        last_exit: How it ended when it last did; none if it never did.
    """

    name: str
    is_init: bool = False
    state: Literal["waiting", "running", "terminated"] = "running"
    reason: str = ""
    message: str = ""
    restarts: int = 0
    started: bool = False
    ready: bool = False
    last_exit: ContainerExit | None = None


@dataclass(frozen=True, kw_only=True)
class ClusterEvent:
    """An event about one object, as `kubectl describe` lists it: its reason (`FailedMount`, …) and its message."""

    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod as its status tells it.

    Attributes:
        name: Its name.
        labels: Its labels.
        ready: Whether it takes traffic.
        phase: Kubernetes' phase.
        node: Where it runs; none before it is scheduled.
        restarts: Restarts of its containers, together.
        gpus: GPUs that it holds or asks for.
        problem: What Kubernetes says is wrong now, as `Reason: message`; empty when nothing is.
        terminating: Whether it is being deleted.
        containers: Its containers, those that initialise it first.
        annotations: Its annotations.
        image: The image that its spec asks for, of the first container.
        address: Its IP address; empty before it has one.
        weights_digest: The hash that its init container `check-weights` demands of the mounted weights; empty where it has none.
        times: When it came to each point, whole seconds, as Kubernetes keeps them: `created`, `scheduled`, `initialised` (init containers
            are done), `started` (the first container runs), `ready`. A point that it has not come to is not there.
    """

    name: str
    labels: Mapping[str, str]
    ready: bool
    phase: str
    node: str | None
    restarts: int
    gpus: int
    problem: str
    terminating: bool
    containers: tuple[Container, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    address: str = ""
    weights_digest: str = ""
    times: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """A Kubernetes Deployment's progress.

    Attributes:
        wanted: Replicas that its spec asks for.
        updated: Replicas of the present template.
        available: Replicas that have been ready for long enough.
        total: All replicas, old ones included.
        observed: Whether the controller has seen the present spec.
        deadline_exceeded: Whether Kubernetes itself gave up on progress.
        problem: What the controllers say is wrong (a refused pod, for example); empty when nothing is.
        pods: Its pods.
        routed: Names of the pods that its Service sends to.
        surges: Whether a new pod is made before an old one goes.
    """

    wanted: int
    updated: int
    available: int
    total: int
    observed: bool
    deadline_exceeded: bool
    problem: str
    pods: tuple[Pod, ...]
    routed: frozenset[str]
    surges: bool = False


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What is to be seen of one pod that does not serve.

    Attributes:
        pod: The pod.
        events: What was said about it, oldest first.
        log: The last lines of the container that failed last; empty where none did.
    """

    pod: Pod
    events: tuple[ClusterEvent, ...] = ()
    log: str = ""

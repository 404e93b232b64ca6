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


#: The label by which the chart's Services and Deployments find their pods.
INSTANCE = "app.kubernetes.io/instance"

#: Containers of the chart's pods, by their names in `charts/vllm-deployment`, and those of the Jobs on nodes: where they stand in the pod
#: says nothing, as what is injected may be put before them.
ENGINE, CHECK_WEIGHTS, PREPARE_COMPILED = "vllm", "check-weights", "prepare-compiled"
PREFETCH, SCRUB = "prefetch", "scrub"
OWN_CONTAINERS = (ENGINE, CHECK_WEIGHTS, PREPARE_COMPILED, PREFETCH, SCRUB)


@dataclass(frozen=True, kw_only=True)
class JobState:
    """Where a Kubernetes Job stands.

    Attributes:
        name: Its name.
        outcome: How it ended; none while it runs.
        reason: Kubernetes' word for why it failed, or is going to (`DeadlineExceeded`, `BackoffLimitExceeded`); empty otherwise.
        message: The same as a sentence.
        labels: Its labels.
        failing: Whether it will fail (`FailureTarget`) as soon as its pods have ended, which on a silent node they do not.
        uid: Tells it from another of its name, which was there before.
        suspended: Whether somebody holds it back, such as a queue for batch jobs: it gets no pod until that is over.
    """

    name: str
    outcome: Literal["succeeded", "failed"] | None
    reason: str = ""
    message: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    failing: bool = False
    uid: str = ""
    suspended: bool = False


@dataclass(frozen=True, kw_only=True)
class ContainerExit:
    """How a container's process ended: Kubernetes' reason (`Error`, `OOMKilled`, …), its exit code, and its last words if it left any."""

    reason: str
    code: int
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container as its pod tells it.

    Attributes:
        name: Its name.
        kind: `main`; `init` if it must end before the pod's others begin; `sidecar` if it begins among those and stays (an init container
            that is always restarted); `debug` if it was put into the pod while that ran (an ephemeral one).
        image: The image that the pod's spec asks for.
        probed: Whether it has a startup or a readiness probe: without one it counts as ready as soon as it runs.
        state: What it does now; `waiting` without a reason before the kubelet has said anything.
        reason: Why it waits or how it ended; empty while it runs.
        message: Kubernetes' own words about that.
        restarts: How often it was started again.
        started: Whether its startup probe has passed.
        ready: Whether its readiness probe passes.
        last_exit: How it ended when it last did; none if it never did.
    """

    name: str
    kind: Literal["main", "init", "sidecar", "debug"] = "main"
    image: str = ""
    probed: bool = True
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
        restarts: Restarts of its engine.
        gpus: GPUs that it holds or asks for.
        problem: What Kubernetes says is wrong now, as `Reason: message`; empty when nothing is.
        terminating: Whether it is being deleted.
        disrupted: Why the cluster itself ends it, as `Reason: message` (evicted, preempted, its node is lost); empty if it does not.
        containers: All of its containers, those that initialise it first.
        annotations: Its annotations.
        image: The image that its spec asks for its engine; empty where it has none.
        address: Its IP address; empty before it has one.
        weights_digest: The hash that its init container `check-weights` demands of the mounted weights; empty where it has none.
        times: When it came to each point, whole seconds, as Kubernetes keeps them: `created`, `scheduled`, `initialised` (init containers
            are done), `started` (its engine runs), `ready`. A point that it has not come to is not there.
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
    disrupted: str = ""
    times: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def failed(self) -> Container | None:
        """The container whose log says why the pod does not serve: one that ended in an error, our own before what is injected."""
        ended = [c for c in self.containers if c.kind != "debug" and c.last_exit is not None and c.last_exit.code != 0]
        return min(ended, key=lambda container: container.name not in OWN_CONTAINERS, default=None)


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

"""What the systems were seen to say: plain frozen data that clients return and decisions are made of. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file of a hub commit: its path, size, and the hash that the hub states (SHA-256 of large files, git's blob SHA-1 of others)."""

    path: str
    size_bytes: int
    digest: str
    algorithm: Literal["sha256", "git-sha1"]


@dataclass(frozen=True, kw_only=True)
class HubCommit:
    """One commit of a hub repository with all its files.

    Attributes:
        repository: `organisation/name`.
        commit: Its SHA.
        files: All its files.
        licences: What its model card names, in lower case; the licence's own name where the card says `other`. Empty if it names none.
        gated: Whether its terms must be accepted first (they were, if this could be read).
    """

    repository: str
    commit: str
    files: tuple[HubFile, ...]
    licences: tuple[str, ...]
    gated: bool


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


@dataclass(frozen=True, kw_only=True)
class HelmRevision:
    """One line of `helm history`, and what its values say.

    Attributes:
        release: The Helm release.
        revision: Its number.
        status: In Helm's words: deployed, superseded, failed, uninstalled, pending-install, pending-upgrade, pending-rollback, …
        fingerprint: The candidate that it carries.
        strategy: How its pods replace others.
        replicas: Pods that it asks for; none if it does not say.
        values_sha256: What tells its values from others.
        updated_at: When the operation began, by the clock of the machine where `helm` ran.
    """

    release: str
    revision: int
    status: str
    fingerprint: str | None
    strategy: str | None
    replicas: int | None
    values_sha256: str
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A line of `/v1/models`: the served name, the path or repository that was loaded, and the context window in tokens."""

    name: str
    root: str
    max_model_len: int | None


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A function that the model wants called; `arguments` is what it wrote, which should be JSON."""

    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer to a completion or a chat completion, whole or streamed.

    Attributes:
        status: The HTTP status; none where no answer came in time.
        seconds: From sending the request to the last byte of the answer.
        text: What was generated; empty on an error.
        finish_reason: Why it ended.
        prompt_tokens: Tokens that were read, by the answer's usage.
        completion_tokens: Tokens that were generated, by the same.
        total_tokens: Both, by the same.
        tool_calls: Functions to be called.
        tokens: The tokens of the text, where log-probabilities were asked for.
        logprobs: Their natural-log probabilities.
        error: The endpoint's message where the status is not 200.
        flaw: What of the answer is not as the protocol has it (a stream without its end, for example); empty when nothing is.
    """

    status: int | None
    seconds: float
    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    tokens: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    error: str = ""
    flaw: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One request of a load.

    Attributes:
        status: The HTTP status; 0 where the connection broke, none where no answer came in time.
        seconds: From the first byte sent to the last byte received.
        first_seconds: Until the first token came; none where the answer was not streamed.
        gaps_seconds: Between one token and the next.
        tokens: Generated tokens, by the answer's usage.
        error: What was wrong; empty where it is a good answer.
    """

    status: int | None
    seconds: float
    first_seconds: float | None = None
    gaps_seconds: tuple[float, ...] = ()
    tokens: int = 0
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a closed loop of requests took: its samples in the order of their ends, its length, and how many were under way at a time."""

    samples: tuple[Sample, ...]
    seconds: float
    concurrency: int


@dataclass(frozen=True, kw_only=True)
class EngineMetrics:
    """What an engine says of itself, summed over the engines of its pod.

    Attributes:
        generated_tokens: Tokens generated since it started.
        errors: Requests that ended in an error since it started.
        preemptions: Requests that lost their place in the KV cache since it started.
        kv_cache_usage: Share of the KV cache in use now, 0 to 1.
    """

    generated_tokens: int
    errors: int
    preemptions: int
    kv_cache_usage: float

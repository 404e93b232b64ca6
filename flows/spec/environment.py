"""An environment as `deployments/environments/NAME.yaml` describes it: where a candidate runs, and what it must meet there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from flows.spec.approval import ApprovalPolicy
from flows.spec.types import STRICT, DnsLabel, EnvironmentName, ImageByDigest, Licence, Seconds


@dataclass(frozen=True, kw_only=True)
class Toleration:
    """A taint that pods may stand: Kubernetes' own fields."""

    __pydantic_config__ = STRICT

    key: str
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute", ""] = ""


@dataclass(frozen=True, kw_only=True)
class LatencyPolicy:
    """What the endpoint must answer within, and how that is measured.

    Attributes:
        p50_seconds: Limit of the median end-to-end latency.
        p95_seconds: Limit of its 95th percentile.
        samples: Requests that are measured, after the warm-up.
        warmup: Requests before them that do not count; vLLM compiles on the first.
        prompt: What is sent.
        max_tokens: Tokens that each answer may have.
    """

    __pydantic_config__ = STRICT

    p50_seconds: Seconds = 0.1
    p95_seconds: Seconds = 0.3
    samples: Annotated[int, Field(ge=20, le=10_000)] = 40
    warmup: Annotated[int, Field(ge=1, le=100)] = 3
    prompt: Annotated[str, Field(min_length=1)] = "Say hello."
    max_tokens: Annotated[int, Field(ge=1, le=512)] = 8


@dataclass(frozen=True, kw_only=True)
class PrefetchPolicy:
    """How weights reach the nodes.

    Attributes:
        image: The image that holds Slipway's own fetch program, by digest.
        store: The folder on each node that holds all snapshots.
        timeout_seconds: How long a node may take.
        disk_gib: Size of the disk that holds `store`, in GiB, where it is not the one that the kubelet counts as ephemeral storage.
        reserve_percent: Share of the node's disk that stays free; the kubelet evicts pods and deletes images above 85 % use.
        token_secret: A Secret in the namespace whose key `token` is the hub token; none for public models.
    """

    __pydantic_config__ = STRICT

    image: ImageByDigest
    store: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]+$")] = "/var/lib/slipway"
    timeout_seconds: Seconds = 3600
    disk_gib: Annotated[float, Field(gt=0)] | None = None
    reserve_percent: Annotated[float, Field(ge=0, lt=100)] = 15
    token_secret: DnsLabel | None = None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A cluster's namespace with its policy.

    Attributes:
        name: Its name; also the file's name.
        after: The environment that a candidate must be verified in first; none for the first one.
        namespace: The Kubernetes namespace.
        blocks: The name under which its `Cluster`, `Helm` and `Endpoint` blocks are saved in Prefect.
        node_selector: Labels of the nodes that may run the engine.
        tolerations: Their taints that its pods tolerate.
        gpu_memory_gib: Memory of one GPU of those nodes in GiB, where no label of theirs says it (`nvidia.com/gpu.memory`).
        licences: Licences that models may have here, as the hub names them, in lower case; none for any.
        prefetch: How weights reach those nodes.
        latency: The latency limits of verification.
        approval: Whether and how people must agree first.
        values: Further chart values (chart's own keys), below those that the pipeline sets.
    """

    __pydantic_config__ = STRICT

    name: EnvironmentName
    namespace: DnsLabel
    prefetch: PrefetchPolicy
    after: EnvironmentName | None = None
    blocks: DnsLabel = "default"
    node_selector: Mapping[str, str] = field(default_factory=lambda: {"node-type": "gpu"})
    tolerations: tuple[Toleration, ...] = (Toleration(key="gpu-workload", value="true", effect="NoSchedule"),)
    gpu_memory_gib: Annotated[float, Field(gt=0)] | None = None
    licences: tuple[Licence, ...] | None = None
    latency: LatencyPolicy = LatencyPolicy()
    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    values: Mapping[str, Any] = field(default_factory=dict)

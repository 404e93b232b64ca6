"""An environment as `deployments/environments/NAME.yaml` describes it: where a candidate runs, and what it must meet there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from flows.spec.approval import ApprovalPolicy
from flows.spec.canary import CanaryStep, Minutes
from flows.spec.differences import IgnoredDifference
from flows.spec.foreign import DriftPolicy, InjectionPolicy
from flows.spec.harm import HarmSizes
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
        samples: Requests that are measured first, after the warm-up.
        max_samples: How far that number is doubled while a limit lies within its percentile's confidence interval.
        budget_seconds: How long one concurrency is measured at most.
        warmup: Requests before them that do not count; vLLM compiles on the first.
        prompt_tokens: Length of each prompt; prompts are seeded and all different.
        max_tokens: Length of each answer.
        concurrency: Requests under way at a time. The limits are for the first number; the others are reported.
    """

    __pydantic_config__ = STRICT

    p50_seconds: Seconds = 0.1
    p95_seconds: Seconds = 0.3
    # Of fewer than 20 the 95th percentile, by nearest rank, is just the slowest.
    samples: Annotated[int, Field(ge=20, le=10_000)] = 40
    max_samples: Annotated[int, Field(ge=20, le=10_000)] = 640
    budget_seconds: Annotated[float, Field(gt=0, le=3600)] = 120
    warmup: Annotated[int, Field(ge=1, le=100)] = 3
    prompt_tokens: Annotated[int, Field(ge=1, le=100_000)] = 16
    max_tokens: Annotated[int, Field(ge=1, le=512)] = 8
    concurrency: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1, max_length=8)] = (1, 4)


@dataclass(frozen=True, kw_only=True)
class StabilityPolicy:
    """What the engine may do while the load runs.

    Attributes:
        max_kv_cache_usage: Share of the KV cache that may be in use, 0 to 1.
        max_preemptions_per_request: More preemptions than this are a storm: the cache is too small for the load.
    """

    __pydantic_config__ = STRICT

    max_kv_cache_usage: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_preemptions_per_request: Annotated[float, Field(ge=0)] = 0.05


@dataclass(frozen=True, kw_only=True)
class BehaviourPolicy:
    """What becomes of answers that differ from those of the release that is replaced.

    Attributes:
        mode: `report` shows the differences to whoever approves; `gate` fails the release beyond the two limits below.
        same_commit: The same for a release of the hub revision that serves already: `gate` fails it beyond numerical noise.
        min_exact_share: Share of golden answers that must be the same, token by token.
        max_mean_nats: Mean difference of log-probabilities, in nats.
        runs: How often the golden prompts are asked, to learn how much one release differs from itself.
    """

    __pydantic_config__ = STRICT

    mode: Literal["report", "gate"] = "report"
    same_commit: Literal["report", "gate"] = "gate"
    min_exact_share: Annotated[float, Field(ge=0, le=1)] = 0.8
    max_mean_nats: Annotated[float, Field(gt=0)] = 0.1
    runs: Annotated[int, Field(ge=2, le=20)] = 3


_ADDRESS = re.compile(r"https?://[A-Za-z0-9.\[\]:-]{1,253}(/[A-Za-z0-9._~/-]{0,200})?")


def _address(text: str) -> str:
    with suppress(ValueError):  # a port beyond 65535, or half of the brackets of IPv6
        if _ADDRESS.fullmatch(text) and urlsplit(text).hostname and urlsplit(text).port != 0:
            return text
    raise ValueError("must be where a router tells its metrics: http://HOST:PORT/PATH, without a password")


#: Where a router tells what it has counted.
RouterMetrics = Annotated[str, AfterValidator(_address)]


@dataclass(frozen=True, kw_only=True)
class RolloutPolicy:
    """How a candidate takes the place of another.

    Attributes:
        strategy: `surge` (the new pod first: needs GPUs to spare), `inPlace` (one old pod first), `recreate` (all old pods first),
            `auto`: surge where there are GPUs for it, in place otherwise; or `canary`: beside what serves, with a share of requests that
            rises by `steps` while both are compared. A first release has nothing to be compared with, and goes as with `auto`.
        interruption: Whether nothing may answer while a pod loads, where it cannot be helped; `refused` refuses such a release.
        steps: Of a canary: the shares, and for how long each.
        shadow: Of a canary: share of the other requests, in per cent, that are sent to the candidate, too; its answers are only judged.
        keep_minutes: For how long what a canary replaced stays up, with its GPUs: the fastest way back.
        without_room: Where there are no GPUs for a second engine: `refuse` the release, or go as with `auto`.
        inconclusive: Where a step's time is up and there was too little traffic to tell: `extend` it by `extend_minutes`, at most `extends`
            times, and end the canary then; `ask` a person and wait for `slipway canary`; `go_on`; or `end` the canary.
        extend_minutes: By how much a step is extended.
        extends: How often, over all steps.
        ask_hours: For how long a person is waited for.
        harm: How much worse than what serves is too much.
        routers: Where each router tells what it has counted (docs/router.md): `http://10.0.0.7:9090/metrics`. Where none is named, the
            engines' own metrics are compared: they know neither of requests that never reached them nor of the length of prompts.
    """

    __pydantic_config__ = STRICT

    strategy: Literal["auto", "surge", "inPlace", "recreate", "canary"] = "auto"
    interruption: Literal["allowed", "refused"] = "allowed"
    steps: Annotated[tuple[CanaryStep, ...], Field(max_length=20)] = ()
    shadow: Annotated[int, Field(ge=0, le=100)] = 0
    keep_minutes: Annotated[float, Field(ge=0, le=10_080)] = 0
    without_room: Literal["refuse", "auto"] = "refuse"
    inconclusive: Literal["extend", "ask", "go_on", "end"] = "extend"
    extend_minutes: Minutes = 10
    extends: Annotated[int, Field(ge=0, le=100)] = 3
    ask_hours: Annotated[float, Field(gt=0, le=168)] = 24
    harm: HarmSizes = field(default_factory=HarmSizes)
    routers: Annotated[tuple[RouterMetrics, ...], Field(max_length=100)] = ()


@dataclass(frozen=True, kw_only=True)
class FailurePolicy:
    """What becomes of the environment when a candidate fails in it.

    Attributes:
        go_back: Where another candidate served: back to it by itself, or `ask` a person first (the run waits, nothing is routed).
        first: Where none served: `remove` what failed, or `keep` it for inspection.
    """

    __pydantic_config__ = STRICT

    go_back: Literal["automatic", "ask"] = "automatic"
    first: Literal["remove", "keep"] = "remove"


@dataclass(frozen=True, kw_only=True)
class PrefetchPolicy:
    """How weights reach the nodes.

    Attributes:
        image: The image that holds Slipway's own fetch program, by digest.
        store: The folder on each node that holds all snapshots, as `store.path` of the environment's chart says; what environments share is
            scrubbed once.
        timeout_seconds: How long a node may take.
        disk_gib: Size of the disk that holds `store`, in GiB, where it is not the one that the kubelet counts as ephemeral storage.
        reserve_percent: Share of the node's disk that stays free; the kubelet evicts pods and deletes images above 85 % use.
        token_secret: A Secret in the namespace whose key `token` is the hub token; none for public models.
        share: Whether nodes share one download, and those that have the weights give them to those that lack them.
        share_mbit: The most that one node sends to others, in megabits (10^6) a second; none for no limit.
    """

    __pydantic_config__ = STRICT

    image: ImageByDigest
    store: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]+$")] = "/var/lib/slipway"
    timeout_seconds: Seconds = 3600
    disk_gib: Annotated[float, Field(gt=0, le=1e7)] | None = None
    reserve_percent: Annotated[float, Field(ge=0, lt=100)] = 15
    token_secret: DnsLabel | None = None
    share: bool = False
    share_mbit: Annotated[float, Field(gt=0, le=1e6)] | None = None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A cluster's namespace with its policy.

    Attributes:
        name: Its name; also the file's name.
        after: The environment that a candidate must be verified in first; none for the first one.
        namespace: The Kubernetes namespace.
        blocks: The name under which its blocks are saved in Prefect: `Cluster`, `Helm` and `Endpoint`; `GitOps` and `Argo`, too, where
            Argo CD delivers.
        delivery: Who changes the cluster: `helm`, run by the flow, or `argocd`, which follows the flow's commits.
        argocd_namespace: Where Argo CD's Applications lie.
        ignore_differences: Fields in which the cluster may differ from Git, or from what Helm rendered.
        node_selector: Labels of the nodes that may run the engine.
        tolerations: Their taints that its pods tolerate.
        gpu_memory_gib: Memory of one GPU of those nodes in GiB, where no label of theirs says it (`nvidia.com/gpu.memory`).
        api_key_secret: A Secret in the namespace whose key `api-key` engines ask their clients for; none for engines that ask for none.
        licences: Licences that models may have here, as the hub names them, in lower case; none for any.
        prefetch: How weights reach those nodes.
        latency: The latency limits of verification.
        approval: Whether and how people must agree first.
        stability: What the engine may do under its load.
        behaviour: What becomes of answers that differ from before.
        rollout: How a candidate takes the place of another.
        failure: What becomes of it when a candidate fails there.
        injected: What may be in a pod beside what the chart renders.
        drift: What becomes of fields that somebody added to its Helm releases' objects.
        values: Further chart values (chart's own keys), below those that the pipeline sets.
    """

    __pydantic_config__ = STRICT

    name: EnvironmentName
    namespace: DnsLabel
    prefetch: PrefetchPolicy
    after: EnvironmentName | None = None
    blocks: DnsLabel = "default"
    delivery: Literal["helm", "argocd"] = "helm"
    argocd_namespace: DnsLabel = "argocd"
    ignore_differences: tuple[IgnoredDifference, ...] = ()
    node_selector: Mapping[str, str] = field(default_factory=lambda: {"node-type": "gpu"})
    tolerations: tuple[Toleration, ...] = (Toleration(key="gpu-workload", value="true", effect="NoSchedule"),)
    gpu_memory_gib: Annotated[float, Field(ge=1, le=4096)] | None = None
    api_key_secret: DnsLabel | None = None
    licences: tuple[Licence, ...] | None = None
    latency: LatencyPolicy = LatencyPolicy()
    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    stability: StabilityPolicy = StabilityPolicy()
    behaviour: BehaviourPolicy = BehaviourPolicy()
    rollout: RolloutPolicy = RolloutPolicy()
    failure: FailurePolicy = FailurePolicy()
    injected: InjectionPolicy = field(default_factory=InjectionPolicy)
    drift: DriftPolicy = field(default_factory=DriftPolicy)
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def asks_people(self) -> bool:
        """Whether people must agree, before a candidate enters or before a step of its canary."""
        return self.approval.required or any(step.approval for step in self.rollout.steps)

    @property
    def pull_secrets(self) -> tuple[str, ...]:
        """Secrets in the namespace with which every image of its pods is pulled, engine and Slipway's own program alike."""
        return tuple(self.values.get("image", {}).get("pullSecrets") or ())

"""What a release will do in one environment: names, places, deadlines. Refuses what cannot work before anything is touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from blocks.facts import GpuQuota, HelmRevision, Node, Pod
from blocks.facts.cluster import INSTANCE
from flows import naming
from flows.candidate.admission import refuse_licence
from flows.errors import PromotionRefused, Refusal, SpecInvalid, raise_first
from flows.naming import Slot, canary_name, engine_name, other_slot, slot_of
from flows.placement.budget import LoadBudget, load_budget
from flows.placement.capacity import Capacity, RolloutDemand, StrategyName, Way, find_capacity
from flows.placement.nodes import Target, find_target
from flows.placement.strategy import Current, Strategy, choose_rollback_strategy, choose_rollback_strategy_anew, choose_strategy
from flows.spec import Candidate, Environment, Model

if TYPE_CHECKING:
    from flows.fit.verdict import Fit


@dataclass(frozen=True, kw_only=True)
class ReleasePlan:
    """A candidate's way into an environment.

    Attributes:
        helm_release: Name of the Helm release and the Service.
        endpoint: `host:port` inside the cluster.
        nodes: Nodes that get the weights.
        budget: Deadlines.
        strategy: How its pods replace others.
        interruption_seconds: How long nothing may answer meanwhile.
        replicas: Pods that shall serve.
        gpu: The GPU's name, where all of those nodes have the same one.
        newest: Of a way back: the newest Helm revision when it was planned; none where there is none.
        carrying: Of a way back: the Helm revision that carried the candidate; none if none is kept.
        slot: Where the candidate lies in the release, or will.
        by_canary: Whether it comes beside what serves, and takes over by steps.
        canary_endpoint: `host:port` at which a candidate that is tried answers.
    """

    helm_release: str
    endpoint: str
    nodes: tuple[str, ...]
    budget: LoadBudget
    strategy: StrategyName
    interruption_seconds: float
    replicas: int
    gpu: str = ""
    newest: HelmRevision | None = None
    carrying: HelmRevision | None = None
    slot: Slot = "a"
    by_canary: bool = False
    canary_endpoint: str = ""

    @property
    def service(self) -> str:
        """The Service that leads to it before anything else does."""
        return canary_name(self.helm_release) if self.by_canary else self.helm_release

    @property
    def answers_at(self) -> str:
        """`host:port` at which it is verified: the endpoint, or that of a canary."""
        return self.canary_endpoint if self.by_canary else self.endpoint

    @property
    def engine(self) -> str:
        """Name of its Kubernetes Deployment, and the instance label of its pods."""
        return engine_name(self.helm_release, self.slot)


@dataclass(frozen=True, kw_only=True)
class ClusterState:
    """What was seen of an environment.

    Attributes:
        nodes: The nodes that match its selector.
        gpus_taken: GPUs that pods hold on them, by node.
        pods: Pods of the current release of the model, of both of its engines.
        quotas: The namespace's quotas of GPUs.
        claims: The namespace's claims that have a volume.
        replicas: Pods that shall serve, by the chart's values.
        grace_seconds: What an old pod may take to end, by the chart's values.
        slot: The slot that the endpoint leads to.
    """

    nodes: tuple[Node, ...]
    gpus_taken: Mapping[str, int]
    pods: tuple[Pod, ...]
    quotas: tuple[GpuQuota, ...]
    claims: tuple[str, ...]
    replicas: int
    grace_seconds: float
    slot: Slot = "a"

    def serving(self, release: str) -> tuple[Pod, ...]:
        """Pods of the engine that the endpoint of the release leads to."""
        return tuple(pod for pod in self.pods if slot_of(pod.labels.get(INSTANCE, ""), release) == self.slot)


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What would happen to a candidate in an environment.

    Attributes:
        candidate: The candidate.
        environment: The environment.
        plan: Its way there.
        target: The nodes for it.
        fit: How memory adds up on one of their GPUs; none if that cannot be told.
        way: How it takes the place of what is there, with the GPUs for it; none without nodes.
        seen: What this was made of.
        refusals: Why it must not go there; empty if it may.
    """

    candidate: Candidate
    environment: Environment
    plan: ReleasePlan
    target: Target
    fit: Fit | None
    way: Strategy | None
    seen: ClusterState
    refusals: tuple[Refusal, ...]


def assess(model: Model, candidate: Candidate, environment: Environment, seen: ClusterState, chart_digest: str) -> Assessment:
    """Say what would happen to the candidate in the environment, and everything that speaks against it.

    Args:
        model: What its file says.
        candidate: What to release.
        environment: Where to.
        seen: What is there now.
        chart_digest: Digest of the chart that lies here now.

    Raises:
        SpecInvalid: The model's name cannot become a DNS label.
    """
    # A way back is not judged so, and does not wait for it.
    from flows.placement.engine import refuse_latency_window, refuse_parallelism
    from flows.placement.fit import judge_fit
    from flows.placement.memory import refuse_memory

    target, about, engine = find_target(candidate, environment, seen.nodes), candidate.about, candidate.engine
    fit, way = None, None
    refusals: list[Refusal] = [*_other_chart(candidate, chart_digest), *_not_installed(environment, seen.claims)]
    if about is not None:
        refusals += refuse_licence(candidate.model, about, environment)
    refusals += target.refusals
    refusals += [*refuse_parallelism(candidate), *refuse_latency_window(candidate, environment)]
    if about is not None:
        if target.gpu_bytes is not None:
            fit = judge_fit(about, engine, model, target.gpu_bytes, target.gpu)
        refusals += refuse_memory(model, about, engine, target, fit)
    if target.nodes:
        way = choose_strategy(environment.rollout, *_choice(candidate, environment, target, seen))
        refusals += way.room.refusals
    plan = _plan(candidate, environment, target, seen, way)
    return Assessment(
        candidate=candidate, environment=environment, plan=plan, target=target, fit=fit, way=way, seen=seen, refusals=tuple(refusals)
    )


def plan_release(assessment: Assessment) -> ReleasePlan:
    """The assessment's plan.

    Raises:
        Refusal: Something speaks against it: the first thing, and how many more there are.
    """
    raise_first(placed(assessment), assessment.candidate.model)
    return assessment.plan


def plan_rollback(candidate: Candidate, environment: Environment, seen: ClusterState, stored: StrategyName | None) -> ReleasePlan:
    """The environment's way back to a candidate that ran there before.

    It ran, so neither memory nor licence is judged anew.

    Args:
        candidate: What to go back to.
        environment: Where.
        seen: What is there now.
        stored: The strategy of the Helm revision that carried it; none if that is not kept.

    Raises:
        DoesNotFit: No node could run it.
    """
    target = find_target(candidate, environment, seen.nodes)
    if not target.nodes:
        # Only where no node is left: it ran, so neither disks nor unknown GPU memory stand in its way.
        raise target.refusals[0]
    current, capacity_for = _choice(candidate, environment, target, seen)
    if environment.delivery == "argocd":  # the commit says it, whatever was said before
        way = choose_rollback_strategy_anew(environment.rollout, current, capacity_for)
    else:
        way = choose_rollback_strategy(stored, current, capacity_for)
    plan = _plan(candidate, environment, target, seen, way)
    up = [pod for pod in seen.pods if pod.ready and not pod.terminating and pod.labels.get("slipway.dev/candidate") == candidate.label]
    if len(up) < seen.replicas:
        return plan
    # It stayed warm: only the endpoint goes over.
    return replace(plan, strategy="surge", interruption_seconds=0.0, slot=slot_of(up[0].labels.get(INSTANCE, ""), plan.helm_release))


def _choice(
    candidate: Candidate, environment: Environment, target: Target, seen: ClusterState
) -> tuple[Current, Callable[[Way], Capacity]]:
    """What a way is chosen by."""
    release = naming.release_name(candidate.model, environment.name)
    serving = [
        pod
        for pod in seen.serving(release)
        if pod.ready and not pod.terminating and pod.labels.get("slipway.dev/candidate") != candidate.label
    ]
    beside = frozenset(pod.name for pod in seen.pods) - {pod.name for pod in seen.serving(release)}
    current = Current(
        model=candidate.model,
        environment=environment.name,
        serving=len(serving),
        replicas=seen.replicas,
        down_seconds=seen.grace_seconds + load_budget(candidate.size_bytes).load_seconds,
    )

    def capacity_for(strategy: Way) -> Capacity:
        wanted = RolloutDemand(
            model=candidate.model,
            label=candidate.label,
            replicas=seen.replicas,
            gpus=candidate.engine.gpus,
            strategy=strategy,
            beside=beside,
        )
        return find_capacity(wanted, target.nodes, seen.gpus_taken, seen.pods, seen.quotas)

    return current, capacity_for


def in_place(plan: ReleasePlan) -> ReleasePlan:
    """The plan of a canary for where nothing is routed that it could get a share of: in the place of what is there."""
    return replace(plan, by_canary=False, slot=other_slot(plan.slot))


def placed(assessment: Assessment) -> list[Refusal]:
    """The assessment's refusals, each with the environment in front of its sentence."""
    name = assessment.environment.name
    return [type(refusal)(f"{name}: {refusal.message}", environment=name, **refusal.facts) for refusal in assessment.refusals]


def _plan(candidate: Candidate, environment: Environment, target: Target, seen: ClusterState, way: Strategy | None) -> ReleasePlan:
    by_canary = way is not None and way.strategy == "canary"
    products = {node.gpu_product for node in target.nodes}
    return ReleasePlan(
        helm_release=naming.release_name(candidate.model, environment.name),
        endpoint=naming.endpoint(candidate.model, environment.name, environment.namespace),
        nodes=tuple(node.name for node in target.nodes),
        budget=load_budget(candidate.size_bytes, replicas=seen.replicas),
        # Without nodes there is no way; such a plan is refused, and only shown.
        strategy=way.strategy if way is not None and way.strategy != "canary" else "inPlace",
        interruption_seconds=way.interruption_seconds if way is not None else 0.0,
        replicas=seen.replicas,
        gpu=products.pop() if len(products) == 1 else "",
        slot=other_slot(seen.slot) if by_canary else seen.slot,
        by_canary=by_canary,
        canary_endpoint=naming.canary_endpoint(candidate.model, environment.name, environment.namespace),
    )


def _other_chart(candidate: Candidate, chart_digest: str) -> list[Refusal]:
    if chart_digest == candidate.chart_digest:
        return []
    return [
        PromotionRefused(
            f"The chart changed since candidate {candidate.short} was made (its digest {candidate.chart_digest[:12]}…, "
            f"here {chart_digest[:12]}…): start a new release, so that every environment gets the same chart."
        )
    ]


def _not_installed(environment: Environment, claims: Sequence[str]) -> list[Refusal]:
    missing = [claim for claim in (naming.STORE_CLAIM, naming.WEIGHTS_CLAIM) if claim not in claims]
    if not missing:
        return []
    return [
        SpecInvalid(
            f"The namespace {environment.namespace} has no volume for {' and '.join(missing)}: install the environment with "
            f"helm install {environment.name} charts/environment (docs/environments.md)."
        )
    ]


def chosen_environments(known: Sequence[Environment], wanted: Sequence[str] | None) -> tuple[Environment, ...]:
    """The environments of a release, in the order of promotion.

    Args:
        known: All environments, in that order.
        wanted: Names to release to; none means all.

    Raises:
        SpecInvalid: A name is not an environment, or the list is empty.
    """
    if wanted is None:
        return tuple(known)
    names = [environment.name for environment in known]
    for name in wanted:
        if name not in names:
            raise SpecInvalid(f"There is no environment {name!r}: deployments/environments knows {', '.join(names)}.")
    if not wanted:
        raise SpecInvalid(f"environments: is empty; name at least one of {', '.join(names)}, or leave it out for all.")
    return tuple(environment for environment in known if environment.name in wanted)

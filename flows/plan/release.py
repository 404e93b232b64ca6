"""What a release will do in one environment: names, places, deadlines. Refuses what cannot work before anything is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blocks.facts import Node
from flows.errors import DoesNotFit, PromotionRefused, SpecInvalid
from flows.plan import naming
from flows.plan.budget import LoadBudget, load_budget
from flows.spec import Candidate, Environment


@dataclass(frozen=True, kw_only=True)
class ReleasePlan:
    """A candidate's way into an environment.

    Attributes:
        helm_release: Name of the Helm release, the Kubernetes Deployment and the Service.
        endpoint: `host:port` inside the cluster.
        nodes: Nodes that get the weights.
        budget: Deadlines.
    """

    helm_release: str
    endpoint: str
    nodes: tuple[str, ...]
    budget: LoadBudget


def plan_release(
    candidate: Candidate, environment: Environment, nodes: Sequence[Node], chart_digest: str, replicas: int = 1
) -> ReleasePlan:
    """Plan the candidate's release into the environment.

    Args:
        candidate: What to release.
        environment: Where to.
        nodes: The nodes that match the environment's selector.
        chart_digest: Digest of the chart that lies here now.
        replicas: Pods that will serve it.

    Raises:
        DoesNotFit: No node could ever run it.
        PromotionRefused: The chart is no longer the candidate's.
        SpecInvalid: The model's name cannot become a DNS label.
    """
    if chart_digest != candidate.chart_digest:
        raise PromotionRefused(
            f"The chart changed since candidate {candidate.short} was made (its digest {candidate.chart_digest[:12]}…, "
            f"here {chart_digest[:12]}…): start a new release, so that every environment gets the same chart.",
        )
    selector = ",".join(f"{key}={value}" for key, value in sorted(environment.node_selector.items()))
    usable = [node for node in nodes if node.ready and node.schedulable]
    if not usable:
        raise DoesNotFit(f"No ready node carries {selector}, which environment {environment.name} asks for; {len(nodes)} carry it in all.")
    gpus = candidate.engine.tensor_parallel_size
    fitting = [node for node in usable if node.gpus >= gpus]
    if not fitting:
        most = max(node.gpus for node in usable)
        raise DoesNotFit(
            f"{candidate.model} needs {gpus} GPU(s) on one node (tensor_parallel_size); "
            f"the largest of {len(usable)} node(s) with {selector} has {most}.",
            gpus_wanted=gpus,
            gpus_most=most,
        )
    return ReleasePlan(
        helm_release=naming.release_name(candidate.model, environment.name),
        endpoint=naming.endpoint(candidate.model, environment.name, environment.namespace),
        nodes=tuple(sorted(node.name for node in fitting)),
        budget=load_budget(candidate.size_bytes, replicas=replicas),
    )


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

"""Looks at the cluster and the chart, and says what a release into one environment would do. Creates nothing."""

from __future__ import annotations

from typing import Any, get_args

from prefect import task

from blocks.cluster import Cluster
from blocks.helm import Helm
from flows.errors import SpecInvalid
from flows.plan import release
from flows.plan.capacity import Strategy
from flows.plan.naming import release_name
from flows.plan.nodes import takes_pods
from flows.plan.release import Assessment, ReleasePlan, Surroundings
from flows.plan.values import merged
from flows.spec import Candidate, Environment, Model
from flows.tasks.policy import OBSERVES


def _assess(cluster: Cluster, helm: Helm, model: Model, candidate: Candidate, environment: Environment) -> Assessment:
    with helm.client() as charts:
        chart_digest = charts.chart_digest()
        values = merged(merged(charts.default_values(), charts.environment_values(environment.name)), environment.values)
    strategy, replicas = _rollout_values(values, environment)
    with cluster.client() as client:
        nodes = client.nodes(environment.node_selector)
        seen = Surroundings(
            nodes=nodes,
            gpus_taken=client.gpus_taken([node.name for node in nodes if node.gpus and takes_pods(node, environment)]),
            pods=client.pods(environment.namespace, {"app.kubernetes.io/instance": release_name(candidate.model, environment.name)}),
            quotas=client.gpu_quotas(environment.namespace),
            chart_digest=chart_digest,
            replicas=replicas,
            strategy=strategy,
        )
    return release.assess(model, candidate, environment, seen)


@task(task_run_name="assess {environment.name}", **OBSERVES)
def assess(cluster: Cluster, helm: Helm, model: Model, candidate: Candidate, environment: Environment) -> Assessment:
    """Say what would happen to the candidate in the environment, with everything that speaks against it. Reads only; never cached.

    Raises:
        ClusterUnreachable: The cluster did not answer; retried.
        ClusterRejected: Something may not be read; the message says what to grant.
    """
    return _assess(cluster, helm, model, candidate, environment)


@task(task_run_name="plan {environment.name}", **OBSERVES)
def plan(cluster: Cluster, helm: Helm, model: Model, candidate: Candidate, environment: Environment) -> ReleasePlan:
    """Plan the candidate's release into the environment from what is there now. Reads only; never cached.

    Raises:
        DoesNotFit: Memory, GPUs, quota or disk are too small for it, or cannot be told.
        PromotionRefused: The chart is no longer the candidate's.
        Refusal: Its licence is not allowed there.
        ClusterUnreachable: The cluster did not answer; retried.
        ClusterRejected: Something may not be read; the message says what to grant.
    """
    return release.plan_release(_assess(cluster, helm, model, candidate, environment))


@task(task_run_name="plan return {environment.name}", **OBSERVES)
def plan_return(cluster: Cluster, candidate: Candidate, environment: Environment) -> ReleasePlan:
    """Plan the environment's way back to a candidate that ran there before; its chart is Helm's, not the one that lies here.

    Raises:
        DoesNotFit: No node could run it.
        ClusterUnreachable: The cluster did not answer; retried.
    """
    with cluster.client() as client:
        nodes = client.nodes(environment.node_selector)
    return release.plan_return(candidate, environment, nodes)


def _rollout_values(values: dict[str, Any], environment: Environment) -> tuple[Strategy, int]:
    rollout, replicas = values.get("rollout"), values.get("replicas")
    strategy: Any = rollout.get("strategy") if isinstance(rollout, dict) else None
    if strategy not in get_args(Strategy):
        raise SpecInvalid(
            f"deployments/environments/{environment.name}.yaml: values.rollout.strategy: must be one of {', '.join(get_args(Strategy))}."
        )
    if type(replicas) is not int or replicas < 1:
        raise SpecInvalid(f"deployments/environments/{environment.name}.yaml: values.replicas: must be a number of pods, 1 or more.")
    return strategy, replicas

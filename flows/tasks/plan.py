"""Looks at the cluster and the chart, and plans the release into one environment."""

from __future__ import annotations

from prefect import task

from blocks.cluster import Cluster
from blocks.helm import Helm
from flows.plan.release import ReleasePlan, plan_release
from flows.plan.values import merged
from flows.spec import Candidate, Environment
from flows.tasks.policy import OBSERVES


@task(task_run_name="plan {environment.name}", **OBSERVES)
def plan(cluster: Cluster, helm: Helm, candidate: Candidate, environment: Environment) -> ReleasePlan:
    """Plan the candidate's release into the environment from what is there now. Reads only; never cached.

    Raises:
        DoesNotFit: No node could run it.
        PromotionRefused: The chart is no longer the candidate's.
        ClusterUnreachable: The cluster did not answer; retried.
    """
    with cluster.client() as client:
        nodes = client.nodes(environment.node_selector)
    with helm.client() as charts:
        chart_digest = charts.chart_digest()
        values = merged(charts.environment_values(environment.name), environment.values)
    return plan_release(candidate, environment, nodes, chart_digest, replicas=int(values.get("replicas", 1)))


@task(task_run_name="plan return {environment.name}", **OBSERVES)
def plan_return(cluster: Cluster, candidate: Candidate, environment: Environment) -> ReleasePlan:
    """Plan the environment's way back to a candidate that ran there before; its chart is Helm's, not the one that lies here.

    Raises:
        DoesNotFit: No node could run it.
        ClusterUnreachable: The cluster did not answer; retried.
    """
    with cluster.client() as client:
        nodes = client.nodes(environment.node_selector)
    return plan_release(candidate, environment, nodes, candidate.chart_digest)

"""Watches the rollout until the candidate's pods serve, or until they never will."""

from __future__ import annotations

from functools import partial

from prefect import task

from blocks.cluster import Cluster
from blocks.errors import RolloutStalled
from flows.plan.rollout import judge_rollout
from flows.spec import Candidate, Environment
from flows.tasks.policy import WRITES
from flows.tasks.waiting import looks


@task(task_run_name="rollout {environment.name}", **WRITES)
def rollout(cluster: Cluster, candidate: Candidate, environment: Environment, helm_release: str, limit_seconds: int) -> None:
    """Wait until every pod of the release serves the candidate. Reads only.

    Raises:
        RolloutStalled: It does not go on; the message says what Kubernetes says.
        ClusterUnreachable: The cluster did not answer; retried.
    """
    with cluster.client() as client:
        for waited in looks(limit_seconds, partial(client.wait_for_deployment, environment.namespace, helm_release)):
            seen = client.rollout(environment.namespace, helm_release)
            if seen is None:
                raise RolloutStalled(f"The Kubernetes Deployment {helm_release} in {environment.namespace} is gone.")
            judgement = judge_rollout(seen, candidate.label, waited, limit_seconds)
            if judgement.state == "complete":
                return
            if judgement.state == "stalled":
                break
        raise RolloutStalled(f"The rollout of {helm_release} in {environment.name} stalled: {judgement.sentence}")

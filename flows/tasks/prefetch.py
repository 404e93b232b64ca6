"""Brings the candidate's files to one node: a Job there runs Slipway's own fetch program."""

from __future__ import annotations

import json
from functools import partial

from prefect import task

from blocks import errors
from blocks.cluster import Cluster, ClusterClient
from flows.plan.prefetch import prefetch_files, prefetch_job
from flows.plan.rollout import is_hopeless
from flows.spec import Candidate, Environment
from flows.tasks.policy import WRITES
from flows.tasks.waiting import looks

#: How the fetch program's last words become errors again.
_ERRORS: dict[str, type[errors.PipelineError]] = {
    kind.__name__: kind for kind in (errors.HubUnreachable, errors.HubRejected, errors.SnapshotCorrupt)
}


@task(task_run_name="prefetch {environment.name}, {node}", **WRITES)
def prefetch(cluster: Cluster, candidate: Candidate, environment: Environment, node: str, run_id: str, hub_endpoint: str) -> None:
    """Have the candidate's snapshot on the node, every byte hashed.

    Idempotent: within a run the Job is found again by its name, and the program on the node leaves a complete snapshot alone.

    Raises:
        HubUnreachable: The hub did not answer the node; retried.
        HubRejected: The hub refused the node.
        SnapshotCorrupt: What came is not what the hub's own list says.
        ClusterRejected: The Job cannot run, or did not end in time.
    """
    job = prefetch_job(candidate, environment, node, run_id, hub_endpoint)
    name, namespace = job["metadata"]["name"], environment.namespace
    with cluster.client() as client:
        client.ensure_namespace(namespace, {"slipway.dev/environment": environment.name})
        client.ensure_job(namespace, job, prefetch_files(candidate))
        for _ in looks(environment.prefetch.timeout_seconds, partial(client.wait_for_job, namespace, name)):
            state = client.job(namespace, name)
            if state is not None and state.outcome == "succeeded":
                return
            problem = "; ".join(pod.problem for pod in client.job_pods(namespace, name) if pod.problem)
            if state is not None and state.outcome == "failed":
                raise _failure(client, namespace, name, node, problem or state.message)
            if is_hopeless(problem):
                client.delete_job(namespace, name)
                raise errors.ClusterRejected(f"The prefetch on node {node} cannot start: {problem}.")
        client.delete_job(namespace, name)
        raise errors.ClusterRejected(
            f"The prefetch on node {node} did not end within {environment.prefetch.timeout_seconds:.0f} s: {problem or 'it still runs'}."
        )


def _failure(client: ClusterClient, namespace: str, name: str, node: str, problem: str) -> errors.PipelineError:
    last = client.job_log(namespace, name, lines=1).strip()
    try:
        said = json.loads(last)
        return _ERRORS[said["error"]](f"Prefetch on node {node}: {said['message']}")
    except (ValueError, KeyError, TypeError):
        # The program always has a last word; without one its node or its pod was lost.
        return errors.ClusterUnreachable(f"The prefetch on node {node} was lost ({problem or 'no word from it'}).")

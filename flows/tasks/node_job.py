"""Runs Slipway's program on a node as a Job, to its end, and makes errors of its last words again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from blocks import errors
from blocks.cluster import ClusterClient
from flows.errors import DoesNotFit, SpecInvalid
from flows.plan.node_report import said
from flows.plan.rollout import is_hopeless
from flows.spec import Environment
from flows.tasks.waiting import looks

#: Between two looks at the log, in seconds.
PAUSE_SECONDS = 1.0

_ERRORS: dict[str, type[errors.PipelineError]] = {
    kind.__name__: kind
    for kind in (errors.HubUnreachable, errors.HubRejected, errors.SnapshotCorrupt, errors.NodeRejected, DoesNotFit, SpecInvalid)
}


def run_on_node(
    client: ClusterClient,
    environment: Environment,
    node: str,
    job: Mapping[str, Any],
    files: Mapping[str, str],
    tell: Callable[[Mapping[str, Any]], None],
) -> Mapping[str, Any]:
    """Have the Job run to its end; what its program said last.

    Idempotent: a Job of that name that runs or has succeeded is not started again; one that failed is.

    Args:
        client: The cluster.
        environment: Whose namespace, and how long it may take.
        node: The node's name, for messages.
        job: Its manifest.
        files: What it mounts as its request.
        tell: Called with the newest line of the log while it runs.

    Raises:
        PipelineError: What the program says went wrong.
        ClusterUnreachable: Its node or pod was lost; retried.
        ClusterRejected: It cannot run, or did not end in time.
    """
    name, namespace, limit = job["metadata"]["name"], environment.namespace, environment.prefetch.timeout_seconds
    what = f"The Job {name} on node {node}"
    client.ensure_namespace(namespace, {"slipway.dev/environment": environment.name})
    client.ensure_job(namespace, job, files)
    for _ in looks(limit, partial(client.wait_for_job, namespace, name), PAUSE_SECONDS):
        state = client.job(namespace, name)
        problem = "; ".join(pod.problem for pod in client.job_pods(namespace, name) if pod.problem)
        line = said(client.job_log(namespace, name, lines=1).strip())
        if state is not None and state.outcome == "succeeded":
            return line
        if state is not None and state.outcome == "failed":
            kind = _ERRORS.get(str(line.get("error")))
            if kind is None:  # the program always has a last word; without one its node or its pod was lost
                raise errors.ClusterUnreachable(f"{what} was lost ({problem or state.message or 'no word from it'}).")
            raise kind(f"Node {node}: {line['message']}")
        if is_hopeless(problem):
            client.delete_job(namespace, name)
            raise errors.ClusterRejected(f"{what} cannot start: {problem}.")
        tell(line)
    client.delete_job(namespace, name)
    raise errors.ClusterRejected(f"{what} did not end within {limit:.0f} s: {problem or 'it still runs'}.")

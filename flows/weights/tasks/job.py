"""Runs Slipway's program on a node as a Job, to its end, and makes errors of its last words again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from blocks import errors
from blocks.cluster import ClusterClient
from blocks.facts import Pod
from flows.errors import DoesNotFit, SpecInvalid
from flows.rollout.containers import container_finding
from flows.runtime.tasks import looks
from flows.spec import Environment
from flows.weights.progress import said

#: Between two looks at the log, in seconds.
PAUSE_SECONDS = 1.0

# What the program itself raises, and nothing else: a word in a log must not choose any class there is.
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
    client.jobs.create(namespace, job, files)
    for waited in looks(limit, partial(client.jobs.wait, namespace, name), PAUSE_SECONDS):
        state = client.jobs.get(namespace, name)
        pods = client.jobs.pods(namespace, name)
        problem = "; ".join(pod.problem for pod in pods if pod.problem)
        # One line is enough: the last is the newest progress, or the end.
        line = said(client.jobs.log(namespace, name, lines=1).strip())
        if state is not None and state.outcome == "succeeded":
            return line
        if state is not None and state.outcome == "failed":
            kind = _ERRORS.get(str(line.get("error")))
            if kind is None:  # the program always has a last word; without one its node or its pod was lost
                raise errors.ClusterUnreachable(f"{what} was lost ({problem or state.message or 'no word from it'}).")
            raise kind(f"Node {node}: {line['message']}")
        why = _hopeless(client, namespace, pods, waited)
        if why:
            client.jobs.delete(namespace, name)
            raise errors.ClusterRejected(f"{what} cannot start: {why}.")
        tell(line)
    # Nobody waits for it any longer, so it must not work on.
    client.jobs.delete(namespace, name)
    raise errors.ClusterRejected(f"{what} did not end within {limit:.0f} s: {problem or 'it still runs'}.")


def _hopeless(client: ClusterClient, namespace: str, pods: Sequence[Pod], waited: float) -> str:
    """Why a pod on its node will never start, as its image or what it mounts will not be there; empty if it may yet."""
    for pod in pods:
        if pod.phase == "Pending" and pod.node is not None:
            finding = container_finding(client.pods.trouble(namespace, pod))
            if finding is not None and finding.patience_seconds is not None and waited >= finding.patience_seconds:
                return finding.message
    return ""

"""Runs Slipway's program on a node as a Job, to its end, and makes errors of its last words again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from blocks import errors
from blocks.cluster import ClusterClient
from blocks.facts import JobState, Pod
from flows.errors import DoesNotFit, SpecInvalid
from flows.rollout.finding import Finding
from flows.runtime.tasks import get_run_log, looks
from flows.spec import Environment
from flows.weights.obstacles import begins, diagnosis_of_job, ended_beside_others, failure, last_words, lost, obstacle, with_remedy
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
        ClusterRejected: Quota, policy, room or its node keep it from beginning, its program failed without a report, or it did not end
            in time.
    """
    name, namespace, limit = job["metadata"]["name"], environment.namespace, environment.prefetch.timeout_seconds
    what, program = f"The Job {name} on node {node}", job["spec"]["template"]["spec"]["containers"][0]["name"]
    client.jobs.create(namespace, job, files)
    was_deleted, problem, held = False, "", ""
    for waited in looks(limit, partial(client.jobs.wait, namespace, name), PAUSE_SECONDS):
        state = client.jobs.get(namespace, name)
        pods = client.jobs.pods(namespace, name)
        was_deleted = was_deleted or any(pod.terminating for pod in pods)
        # One line is enough: the last is the newest progress, or the end. What could not be read of the log is in the pod's status.
        line = said(client.jobs.log(namespace, name, program, lines=1).strip()) or said(last_words(pods))
        if (ended := ended_beside_others(state, pods)) is not None:
            # Nobody waits for what was injected, and the next attempt must not find this one.
            client.jobs.delete(namespace, name)
            state = ended
        # The last word of a program that shares comes before its end: it stays for the others, and nobody waits for that.
        if (state is not None and state.outcome == "succeeded") or (line.get("event") == "complete" and "peer_bytes" in line):
            return line
        if state is not None and state.outcome == "failed" and (kind := _ERRORS.get(str(line.get("error")))) is not None:
            raise kind(f"Node {node}: {line.get('message', 'it does not say why')}")
        ends = state is None or state.failing or state.outcome is not None
        if why := lost(state, pods, client.nodes.list({}) if ends else (), was_deleted):
            raise errors.ClusterUnreachable(f"{what} was lost: {why}.")
        if state is not None and state.outcome == "failed":
            raise _failed(client, namespace, what, state, pods, problem)
        problem = "; ".join(pod.problem for pod in pods if pod.problem) or problem
        if state is not None and (finding := _obstacle(client, namespace, state, node, pods)) is not None:
            problem = with_remedy(finding)
            if finding.patience_seconds is not None and waited >= finding.patience_seconds:
                client.jobs.delete(namespace, name)
                raise errors.ClusterRejected(f"{what} cannot start: {problem}{_waited(finding)}.", **diagnosis_of_job(finding).document())
            held = _hold(what, finding, held)
            line = {"event": "held", "message": finding.message}
        tell(line)
    # Nobody waits for it any longer, so it must not work on.
    client.jobs.delete(namespace, name)
    raise errors.ClusterRejected(f"{what} did not end within {limit:.0f} s: {problem or 'it still runs'}.")


def _obstacle(client: ClusterClient, namespace: str, state: JobState, node: str, pods: Sequence[Pod]) -> Finding | None:
    if begins(pods):
        return None
    troubles = [client.pods.trouble(namespace, pod) for pod in pods if not pod.terminating]
    homeless = any(trouble.pod.node is None for trouble in troubles)
    events = () if troubles else client.jobs.events(namespace, state.name, state.uid)
    return obstacle(state, events, troubles, client.nodes.list({}) if homeless else (), node)


def _waited(finding: Finding) -> str:
    return f". It was waited for {finding.patience_seconds:.0f} s" if finding.patience_seconds else ""


def _hold(what: str, finding: Finding, before: str) -> str:
    """Say once of each kind of obstacle that it is waited for, and for how long; the kind. (Each pod that is refused has another name.)"""
    if finding.category != before:
        until = "until its time is up" if finding.patience_seconds is None else f"for {finding.patience_seconds:.0f} s in all"
        get_run_log().warning("%s cannot start yet: %s. Others may make room, which is waited for %s.", what, with_remedy(finding), until)
    return finding.category


def _failed(client: ClusterClient, namespace: str, what: str, state: JobState, pods: Sequence[Pod], problem: str) -> errors.ClusterRejected:
    """Why a Job has failed whose program left no report, and which nothing outside of it ended: it would fail so again."""
    if state.reason == "DeadlineExceeded":
        return errors.ClusterRejected(f"{what} did not end in time: {problem or state.message}.")
    told = failure([client.pods.trouble(namespace, pod) for pod in pods])
    return errors.ClusterRejected(f"{what} failed: {told or problem or state.message or state.reason or 'nothing tells why'}.")

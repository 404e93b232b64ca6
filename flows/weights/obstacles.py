"""Why a Job on a node does not begin, or was lost: read from the Job, its events, its pods and its node, by the rules of a rollout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from blocks.facts import ClusterEvent, JobState, Node, Pod, Trouble
from flows.rollout.containers import container_finding, is_foreign, outgrew
from flows.rollout.diagnosis import Diagnosis, diagnosis, silent_nodes
from flows.rollout.engine_log import quoted, read_log
from flows.rollout.finding import OTHERS_LEAVE_SECONDS, Category, Finding
from flows.rollout.scheduling import Holders, refused_pod_finding, scheduling_finding

#: What a Job's controller says of itself: that it could not make a pod, and that it made one.
_REFUSED, _MADE = "FailedCreate", "SuccessfulCreate"

#: Reasons of containers that did not end by themselves; what became of them is no word about what they did.
_NOT_BY_ITSELF = ("ContainerStatusUnknown", "Unknown")
_SIGNALLED = (137, 143)

#: What the kubelet says of a whole pod that it threw out, or did not let begin although the scheduler had chosen its node
#: (kubernetes/pkg/kubelet: eviction, preemption, nodeshutdown, lifecycle/predicate.go).
_THROWN_OUT = re.compile(
    r"(?:Evicted|Preempting|NodeShutdown|Shutdown|Terminated|NodeAffinity|NodePorts|OutOf\S+|UnexpectedAdmissionError): "
)


def begins(pods: Sequence[Pod]) -> bool:
    """Whether a pod of the Job is at work, so that there is nothing to look for."""
    return any(pod.phase != "Pending" for pod in pods)


def ended_beside_others(state: JobState | None, pods: Sequence[Pod]) -> JobState | None:
    """Where the Job would stand without what is injected into its pod and goes on after its program has ended; none if nothing does.

    A sidecar that is no init container keeps the Job from ever ending.
    """
    if state is None or state.outcome is not None or state.failing:
        return None
    for pod in pods:
        main = [each for each in pod.containers if each.kind == "main" and not pod.terminating]
        ended = next((each.last_exit for each in main if not is_foreign(each) and each.state == "terminated"), None)
        if ended is not None and any(is_foreign(each) and each.state == "running" for each in main):
            return replace(state, outcome="failed" if ended.code else "succeeded")
    return None


def obstacle(
    state: JobState, events: Sequence[ClusterEvent], troubles: Sequence[Trouble], nodes: Sequence[Node], node: str
) -> Finding | None:
    """Why the Job has not begun; none if it may just need its time.

    Args:
        state: Where the Job stands.
        events: What was said about the Job, oldest first.
        troubles: What is to be seen of its pods that are not being deleted.
        nodes: All nodes.
        node: The one that it is to run on.
    """
    if state.suspended:
        held = f"Job {state.name} is suspended (spec.suspend), as a queue for batch jobs does"
        return Finding("admission-refused", held, OTHERS_LEAVE_SECONDS, (held,))
    if not troubles:
        said = next((event for event in reversed(events) if event.reason in (_REFUSED, _MADE)), None)
        return refused_pod_finding(said.message, Holders()) if said is not None and said.reason == _REFUSED else None
    found = (_pod_obstacle(trouble, nodes, node) for trouble in troubles)
    return next((finding for finding in found if finding is not None), None)


def _pod_obstacle(trouble: Trouble, nodes: Sequence[Node], node: str) -> Finding | None:
    finding = scheduling_finding(trouble, Holders(silent=tuple(name for name in silent_nodes(nodes) if name == node)))
    if finding is None:
        return container_finding(trouble)
    if all(node != known.name for known in nodes):
        return Finding("no-matching-node", f"there is no node {node} any longer ({finding.message})", 0.0, finding.evidence)
    # A release does not hold its lock for an hour because one node is silent.
    return finding._replace(patience_seconds=OTHERS_LEAVE_SECONDS) if finding.category == "node-lost" else finding


#: What to do about the Job where that is not what one does about an engine.
_REMEDIES: dict[Category, str] = {
    "image-not-found": "Correct prefetch.image in the environment's file.",
    "image-pull-denied": "Correct prefetch.image in the environment's file, or let the namespace pull from that registry.",
    "no-room": "Free memory or CPU on that node.",
    "no-matching-node": "Uncordon that node, tolerate its taints in the environment's file, or have node_selector leave it out.",
    "scratch-full": "See whether a LimitRange of the namespace limits ephemeral storage: the program writes little beside the store.",
    "out-of-memory": "Look at what else is in the pod, and at the node: the program needs far less than its limit.",
}


def diagnosis_of_job(finding: Finding) -> Diagnosis:
    """The finding with what to do about it."""
    return diagnosis(finding, _REMEDIES.get(finding.category, ""))


def with_remedy(finding: Finding) -> str:
    """What is wrong and what to do about it, without a full stop."""
    found = diagnosis_of_job(finding)
    return f"{found.message.rstrip('. ')} ({found.category}). {found.remedy.rstrip('.')}"


def lost(state: JobState | None, pods: Sequence[Pod], nodes: Sequence[Node], was_deleted: bool) -> str:
    """Why the Job's program came to no end of its own; empty if it did, or may yet.

    Args:
        state: Where the Job stands; none if it is gone.
        pods: Its pods.
        nodes: All nodes; may be left out while the Job neither is gone nor fails.
        was_deleted: Whether a pod of it was seen that was being deleted.
    """
    if state is None:
        return "somebody deleted it"
    disrupted = next((pod.disrupted for pod in pods if pod.disrupted), "")
    silent = [pod.node for pod in pods if pod.node in silent_nodes(nodes)]
    if state.failing and silent:
        # It has failed (`FailureTarget`), and says so only when the kubelet is back: nobody waits for that.
        return f"node {silent[0]} does not report" + (f"; {disrupted}" if disrupted else "")
    # Its own deadline ends it for want of time, and takes its pods away.
    if state.outcome != "failed" or state.reason == "DeadlineExceeded":
        return ""
    thrown_out = next((pod.problem for pod in pods if pod.phase == "Failed" and _THROWN_OUT.match(pod.problem) and not outgrew(pod)), "")
    if disrupted or thrown_out:
        return quoted(disrupted or thrown_out).rstrip(". ")
    # One that is deleted counts as failed at once, whatever its program says afterwards (Kubernetes 1.36).
    if was_deleted or not pods:
        return "its pod was deleted"
    # What is injected is killed whenever the program has ended.
    exits = [each.last_exit for pod in pods for each in pod.containers if each.last_exit is not None and not is_foreign(each)]
    killed = next((one for one in exits if one.reason in _NOT_BY_ITSELF or (one.code in _SIGNALLED and one.reason != "OOMKilled")), None)
    return f"its process was killed ({killed.reason} with exit code {killed.code})" if killed is not None else ""


def last_words(pods: Sequence[Pod]) -> str:
    """The last line that the program left in its pod's status, which can be read when its log cannot; empty if it left none."""
    words = [each.last_exit.message for pod in pods for each in pod.containers if each.last_exit is not None and not is_foreign(each)]
    return next((lines[-1] for text in words if (lines := [line for line in text.splitlines() if line.strip()])), "")


def failure(troubles: Sequence[Trouble]) -> str:
    """How the program ended, where it left no report: a fault of its own, so that it would end so again."""
    for trouble in troubles:
        finding = container_finding(trouble)
        if finding is not None and finding.category != "crash-loop":
            return with_remedy(finding)
        for each in sorted(trouble.pod.containers, key=is_foreign):
            if each.last_exit is not None and each.last_exit.code:
                words = read_log(trouble.log) or read_log(each.last_exit.message)
                said = f": {words.line}" if words is not None else ", and it left no word"
                return f"container {each.name} ended with exit code {each.last_exit.code}{said}"
    return ""

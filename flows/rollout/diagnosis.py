"""Why a rollout does not go on: from pods, events and logs to one category, one sentence, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from blocks.errors import ClusterRejected, ClusterUnreachable, HelmRejected, PipelineError, RolloutStalled
from blocks.facts import Node, Pod, Rollout, Trouble
from flows.rollout.containers import container_finding
from flows.rollout.finding import Category, Finding
from flows.rollout.scheduling import Holders, refused_pod_finding, scheduling_finding
from flows.text.markdown import Markdown, md, page, verbatim

#: What to do about each category, as a sentence of its own.
REMEDIES: dict[Category, str] = {
    "quota-exceeded": (
        "Raise the namespace's ResourceQuota, or free what it counts, and run again; until then Kubernetes may take a minute to notice it."
    ),
    "admission-refused": "Change what the message names, or the cluster's policy for the namespace.",
    "no-gpu": "Free a GPU, add a node, or let the old pod go first (rollout: {strategy: inPlace} in the environment's file).",
    "no-room": "Free memory or CPU on the nodes, or lower the chart's resources.",
    "no-matching-node": "Label a node, or uncordon it, or change node_selector and tolerations of the environment.",
    "node-disk-full": "Free disk space on the node: old images and snapshots that nothing serves.",
    "shared-memory-full": "Raise sharedMemory.size in the environment's values; what is used of it counts against the memory limit.",
    "scratch-full": "Raise scratch.size in the environment's values, or find out what the engine writes: its node has room left.",
    "node-lost": "Look at the node: kubectl describe node tells since when it is silent.",
    "image-not-found": "Correct the image's name and digest in deployments/models.",
    "image-pull-denied": "Create a pull Secret for that registry and name it in image.pullSecrets, or correct the image's name.",
    "image-not-pulled": "See whether the node reaches the registry.",
    "container-refused": "Create what the message names, or take it out of the values.",
    "weights-missing": "Run the release again: the prefetch brings the snapshot back. Something removed it after it was proven.",
    "weights-refused": "Run the release again: the prefetch replaces a snapshot that is not what its manifest says.",
    "weights-unloadable": "Correct the engine settings in deployments/models, or release another revision: this one cannot be served so.",
    "gpu-out-of-memory": "Lower engine.max_model_len or gpu_memory_utilization, raise tensor_parallel_size, or use GPUs with more memory.",
    "no-kv-cache-memory": "Lower engine.max_model_len, raise gpu_memory_utilization or tensor_parallel_size, or use GPUs with more memory.",
    "out-of-memory": "Raise the memory limit in the chart's resources.",
    "killed-while-loading": "Find out why loading is slow (a cold disk?), or raise the budget with a faster store.",
    "hung-engine": "Look at the engine's log; an engine that stops answering while idle is a fault of image or driver.",
    "crash-loop": "Look at the engine's log: kubectl logs --previous.",
    "cluster-unreachable": "Check the API server, the kubeconfig and the network, then run again: a run carries on from what it finds.",
    "progress-deadline": "Look at the pods: kubectl describe tells what they wait for.",
}


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Why a rollout does not go on.

    Attributes:
        category: What kind of trouble it is.
        message: What is wrong, with Kubernetes' or the engine's own words.
        remedy: What to do about it.
        evidence: The statuses, events and lines that it was read from.
        patience_seconds: How long after the rollout's begin waiting may still cure it; 0 if never, none if until the deadline.
    """

    category: Category
    message: str
    remedy: str
    evidence: tuple[str, ...] = ()
    patience_seconds: float | None = None

    def document(self) -> dict[str, Any]:
        """The diagnosis as JSON-able data, under the names that kept evidence has."""
        facts = asdict(self)
        return {"category": facts.pop("category"), "sentence": facts.pop("message"), **facts}


def diagnose(rollout: Rollout, label: str, troubles: Sequence[Trouble], nodes: Sequence[Node], gpus_wanted: int) -> Diagnosis | None:
    """What stands in the way of the candidate's pods, the most certain first; none if nothing is to be seen.

    Args:
        rollout: The Kubernetes Deployment's progress.
        label: The candidate's label, which its pods carry.
        troubles: What is to be seen of its pods that do not serve.
        nodes: The nodes that match the environment's selector.
        gpus_wanted: GPUs that one pod needs.
    """
    found = sorted(_findings(rollout, label, troubles, nodes, gpus_wanted), key=lambda f: _certainty(f.patience_seconds))
    return _diagnosis(found[0], [line for finding in found for line in finding.evidence]) if found else None


def overdue(rollout: Rollout, label: str, troubles: Sequence[Trouble]) -> Diagnosis:
    """The diagnosis of a rollout whose time is up though nothing is seen to be wrong."""
    pods = [pod for pod in rollout.pods if is_of(pod, label)]
    idle = [c for pod in pods for c in pod.containers if c.state == "running" and c.started and not c.ready]
    evidence = [f"event of {t.pod.name}: {e.reason}: {e.message}" for t in troubles for e in t.events]
    serving = sum(pod.ready for pod in pods)
    if idle:
        return _diagnosis(Finding("hung-engine", "the engine loaded, but is not ready: its health check does not answer", None), evidence)
    return _diagnosis(Finding("progress-deadline", f"{serving} of {rollout.wanted} pods are ready", None), evidence)


def is_of(pod: Pod, label: str) -> bool:
    """Whether the pod is one of the candidate's that is to stay: not one that goes, nor one that the node threw out."""
    return pod.labels.get("slipway.dev/candidate") == label and not pod.terminating and pod.phase != "Failed"


def silent_nodes(nodes: Sequence[Node]) -> tuple[str, ...]:
    """The nodes that do not report, or have only just begun to: their taints stay for some seconds more (12 s with Kubernetes 1.36)."""
    return tuple(node.name for node in nodes if not node.ready or any(taint.key in _SILENT_TAINTS for taint in node.taints))


_SILENT_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def _findings(rollout: Rollout, label: str, troubles: Sequence[Trouble], nodes: Sequence[Node], gpus_wanted: int) -> Iterator[Finding]:
    # Evicted pods stay as objects in phase Failed, and hold no GPU.
    others = [pod for pod in rollout.pods if pod.labels.get("slipway.dev/candidate") != label and pod.phase != "Failed"]
    holders = Holders(
        old_stay=rollout.surges and any(not pod.terminating for pod in others),
        some_leave=any(pod.terminating for pod in rollout.pods),
        largest_node_gpus=max((node.gpus for node in nodes), default=0),
        gpus_wanted=gpus_wanted,
        silent=silent_nodes(nodes),
    )
    if rollout.problem:
        yield refused_pod_finding(rollout.problem, holders)
    for trouble in troubles:
        pod = trouble.pod
        # First, since what a silent kubelet said last of its pods may be long untrue.
        if pod.node in holders.silent:
            yield Finding("node-lost", f"node {pod.node}, where {pod.name} runs, does not report", None, (f"{pod.name} on {pod.node}",))
        elif (finding := scheduling_finding(trouble, holders) or container_finding(trouble)) is not None:
            yield finding


def _certainty(patience_seconds: float | None) -> float:
    return float("inf") if patience_seconds is None else patience_seconds


def diagnosis(finding: Finding, remedy: str = "") -> Diagnosis:
    """The diagnosis of one finding, with the remedy of its category unless there is a better one."""
    return _diagnosis(finding, finding.evidence, remedy)


def _diagnosis(finding: Finding, evidence: Sequence[str], remedy: str = "") -> Diagnosis:
    return Diagnosis(
        category=finding.category,
        message=finding.message,
        remedy=remedy or REMEDIES[finding.category],
        evidence=tuple(dict.fromkeys(evidence)),
        patience_seconds=finding.patience_seconds,
    )


def diagnosis_of(exc: PipelineError) -> Diagnosis | None:
    """The diagnosis that an error of a release carries or amounts to; none for errors that say all there is to say."""
    # It has none where there was nothing to judge: the Kubernetes Deployment was gone.
    if isinstance(exc, (RolloutStalled, ClusterRejected)) and "category" in exc.facts:
        return TypeAdapter(Diagnosis).validate_python({**exc.facts, "message": exc.facts["sentence"]})
    if isinstance(exc, ClusterUnreachable):
        return _diagnosis(Finding("cluster-unreachable", exc.message, None), [])
    if isinstance(exc, HelmRejected) and _ADMISSION.search(exc.message):
        return _diagnosis(Finding("admission-refused", exc.message, 0.0), [])
    return None


#: How an API server says that policy, not the object itself, is why it refuses. `is forbidden: User "…" cannot` is about rights, and a
#: namespace that is being deleted takes nothing from anybody.
_ADMISSION = re.compile(
    r"admission webhook|violates PodSecurity|ValidatingAdmissionPolicy|is forbidden: (?!User \"|unable to create new content in namespace)"
)


def diagnosis_page(diagnosis: Diagnosis, where: str) -> Markdown:
    """Why a rollout did not go on: category, sentence, what to do, and what it was read from."""
    title, message = md("## {}: {}", where, diagnosis.category), md("{}.", diagnosis.message)
    lines = [title, md(""), message, md(""), md("**What to do**: {}", diagnosis.remedy)]
    if diagnosis.evidence:
        lines += [md(""), md("Read from:"), md(""), verbatim(diagnosis.evidence)]
    return page(*lines)

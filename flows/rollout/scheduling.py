"""Pods that do not exist because they were refused, and pods that find no node."""

from __future__ import annotations

import re
from dataclasses import dataclass

from blocks.facts import Trouble
from blocks.wording import one_line
from flows.rollout.finding import OTHERS_LEAVE_SECONDS, Category, Finding
from flows.text.quantities import listed, quantity

_QUOTA = re.compile(r"exceeded quota: (?P<name>[^,]+), requested: (?P<requested>.+?), used: .+?, limited: (?P<limited>.+)$")
_AMOUNT = re.compile(r"([\w./-]{1,317})=([\w.+-]{1,40})")
#: What begins an event of a controller that cannot make a pod.
_CREATING = re.compile(r"^(?:\(combined from similar events\): )?Error creating: ")

#: The scheduler's words, by what they mean; the first that matches counts. The numbers before them are nodes.
_NO_NODE: tuple[tuple[Category, str], ...] = (
    # First, since it comes as a taint, too.
    ("node-disk-full", "node.kubernetes.io/disk-pressure"),
    ("no-gpu", "Insufficient nvidia.com/gpu"),
    ("no-room", "Insufficient"),
    ("no-room", "Too many pods"),
    ("no-room", "exceed max volume count"),
    # Kubernetes' own taints, which it takes away again; no pod is meant to tolerate them.
    ("no-room", "node.kubernetes.io/memory-pressure"),
    ("no-room", "node.kubernetes.io/pid-pressure"),
    # A claim that is not there, or has no volume: what is mounted may come a moment after the pod that mounts it.
    ("container-refused", "persistentvolumeclaim "),
    ("container-refused", "unbound immediate PersistentVolumeClaims"),
    ("container-refused", "didn't find available persistent volumes to bind"),
    ("no-matching-node", "didn't match Pod's node affinity/selector"),
    # The same of an affinity to a node by its name: that node is gone (Kubernetes 1.36).
    ("no-matching-node", "didn't satisfy plugin(s) [NodeAffinity]"),
    ("no-matching-node", "untolerated taint"),
    ("no-matching-node", "were unschedulable"),
)


@dataclass(frozen=True, kw_only=True)
class Holders:
    """Who holds what a new pod may be waiting for.

    Attributes:
        old_stay: Old pods of this release stay until a new one is ready (a surge).
        some_leave: Pods of this release are going.
        largest_node_gpus: GPUs of the largest node that may run it.
        gpus_wanted: GPUs that one pod needs.
        silent: Nodes that do not report: their taints keep pods away until their kubelet is back.
    """

    old_stay: bool = False
    some_leave: bool = False
    largest_node_gpus: int = 0
    gpus_wanted: int = 1
    silent: tuple[str, ...] = ()

    def patience_seconds(self) -> float:
        """How long it may take until they let go: never, if those that hold it wait for the new pod themselves."""
        return 0.0 if self.old_stay and not self.some_leave else OTHERS_LEAVE_SECONDS


def refused_pod_finding(problem: str, holders: Holders) -> Finding:
    """Why the API server does not let the pod be made, as a Kubernetes Deployment's `ReplicaFailure` or a Job's `FailedCreate` tells."""
    said = one_line(_CREATING.sub("", problem))
    evidence = (one_line(problem),)
    if (quota := _QUOTA.search(problem)) is not None:
        requested, limits = dict(_AMOUNT.findall(quota["requested"])), dict(_AMOUNT.findall(quota["limited"]))
        # More than the quota has in all: it would not do if everybody else left.
        never = any(_is_more(amount, limits.get(name)) for name, amount in requested.items())
        return Finding("quota-exceeded", said, 0.0 if never else holders.patience_seconds(), evidence)
    # A webhook that does not answer may answer soon; one that answers no says no again, whatever it quotes.
    passing = "denied the request" not in problem and _PASSING.search(problem) is not None
    return Finding("admission-refused", said, OTHERS_LEAVE_SECONDS if passing else 0.0, evidence)


#: What keeps a pod from being made for a moment only, and is tried again by whoever makes it: the API server is in trouble, a quota is
#: new or was changed in between, the namespace's service account is not there yet (Kubernetes 1.36, apiserver/pkg/admission/plugin).
_PASSING = re.compile(
    r"failed calling webhook|context deadline exceeded|Internal error occurred|object has been modified|status unknown for quota"
    r"|error looking up service account|etcdserver|timed out|Timeout: |connection refused|time allotted|too many requests"
    r"|unable to handle the request"
)


def _is_more(amount: str, limit: str | None) -> bool:
    wanted, most = quantity(amount), quantity(limit)
    return wanted is not None and most is not None and wanted > most


def scheduling_finding(trouble: Trouble, holders: Holders) -> Finding | None:
    """Why no node takes the pod; none if one has."""
    pod = trouble.pod
    if pod.node is not None or not pod.problem.startswith(("Unschedulable", "SchedulingGated")):
        return None
    evidence = (f"{pod.name}: {pod.problem}",)
    if pod.problem.startswith("SchedulingGated"):
        gated = f"pod {pod.name} is held back by what put a scheduling gate on it: {pod.problem.partition(': ')[2].rstrip('. ')}"
        return Finding("admission-refused", gated, OTHERS_LEAVE_SECONDS, evidence)
    # What is said of preemption is no reason, only why that does not help.
    said = _PREEMPTION.split(pod.problem.partition(": ")[2], maxsplit=1)[0].rstrip(". ")
    category: Category = next((category for category, words in _NO_NODE if words in said), "no-matching-node")
    if holders.silent and "untolerated taint" in said:
        silent = f"node(s) {listed(holders.silent)} do not report, and no other takes pod {pod.name}: {said}"
        return Finding("node-lost", silent, None, evidence)
    sentence = f"no node takes pod {pod.name}: {said}"
    if category == "no-gpu" and holders.old_stay and not holders.some_leave:
        sentence += ". The old pod keeps its GPU until the new one is ready"
    return Finding(category, sentence, _patience(category, trouble, holders), evidence)


#: Where the scheduler goes on about preemption (Kubernetes 1.36).
_PREEMPTION = re.compile(r"\. (?:no new claims to deallocate, )?preemption: ")


def _patience(category: Category, trouble: Trouble, holders: Holders) -> float | None:
    # The cluster autoscaler says of each pod whether a node is on its way.
    scaling = [event.reason for event in trouble.events if event.reason in ("TriggeredScaleUp", "NotTriggerScaleUp")]
    if scaling:
        return None if scaling[-1] == "TriggeredScaleUp" else 0.0
    if category == "no-matching-node":
        return 0.0
    if category == "no-gpu":
        return 0.0 if holders.largest_node_gpus < holders.gpus_wanted else holders.patience_seconds()
    return OTHERS_LEAVE_SECONDS

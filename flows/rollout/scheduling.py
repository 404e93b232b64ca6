"""Pods that do not exist because they were refused, and pods that find no node."""

from __future__ import annotations

import re
from dataclasses import dataclass

from blocks.facts import Trouble
from flows.rollout.finding import OTHERS_LEAVE_SECONDS, Category, Finding

_QUOTA = re.compile(r"exceeded quota: (?P<name>[^,]+), requested: (?P<requested>.+?), used: .+?, limited: (?P<limited>.+)$")
# Whole numbers, as GPUs are counted; amounts with a unit (16Gi) do not match and are not compared.
_AMOUNT = re.compile(r"([\w./-]+)=(\d+)\b")

#: The scheduler's words, by what they mean; the first that matches counts. The numbers before them are nodes.
_NO_NODE: tuple[tuple[Category, str], ...] = (
    # First, since it comes as a taint, too.
    ("node-disk-full", "node.kubernetes.io/disk-pressure"),
    ("no-gpu", "Insufficient nvidia.com/gpu"),
    ("no-room", "Insufficient"),
    ("no-matching-node", "didn't match Pod's node affinity/selector"),
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
    """

    old_stay: bool = False
    some_leave: bool = False
    largest_node_gpus: int = 0
    gpus_wanted: int = 1

    def patience_seconds(self) -> float:
        """How long it may take until they let go: never, if those that hold it wait for the new pod themselves."""
        return 0.0 if self.old_stay and not self.some_leave else OTHERS_LEAVE_SECONDS


def refused_pod_finding(problem: str, holders: Holders) -> Finding:
    """Why the API server does not let the pod be made, from the Kubernetes Deployment's `ReplicaFailure`."""
    evidence = (f"ReplicaFailure: {problem}",)
    if (quota := _QUOTA.search(problem)) is not None:
        limits = {name: int(amount) for name, amount in _AMOUNT.findall(quota["limited"])}
        # More than the quota has in all: it would not do if everybody else left.
        never = any(int(amount) > limits.get(name, int(amount)) for name, amount in _AMOUNT.findall(quota["requested"]))
        return Finding("quota-exceeded", problem, 0.0 if never else holders.patience_seconds(), evidence)
    # A webhook that does not answer may answer soon; one that answers no says no again.
    passing = "failed calling webhook" in problem or "context deadline exceeded" in problem
    return Finding("admission-refused", problem, OTHERS_LEAVE_SECONDS if passing else 0.0, evidence)


def scheduling_finding(trouble: Trouble, holders: Holders) -> Finding | None:
    """Why no node takes the pod; none if one has."""
    pod = trouble.pod
    if pod.node is not None or not pod.problem.startswith("Unschedulable"):
        return None
    category: Category = next((category for category, words in _NO_NODE if words in pod.problem), "no-matching-node")
    patience = _patience(category, trouble, holders)
    sentence = f"no node takes pod {pod.name}: {pod.problem.partition(': ')[2]}"
    if category == "no-gpu" and holders.old_stay and not holders.some_leave:
        sentence += " The old pod keeps its GPU until the new one is ready"
    return Finding(category, sentence.rstrip("."), patience, (f"{pod.name}: {pod.problem}",))


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

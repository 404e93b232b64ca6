"""Whether a rollout goes on, is done, or never will be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from blocks.facts import Container, Node, Pod, Rollout, Trouble
from flows.rollout.diagnosis import Diagnosis, diagnose, is_of, overdue

#: How long a container without a probe must have run, in seconds: one that cannot work ends in its first seconds.
BEGUN_SECONDS = 10.0

#: The same after it was started again: longer than the first wait between two attempts (10 s and up to 5 s more, Kubernetes 1.36).
SETTLED_SECONDS = 30.0


class Restarts:
    """Which containers may only seem to run: without a probe, one that crashes again and again counts as ready whenever it runs.

    The chart's engine has probes; what is injected beside it may have none.
    """

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], tuple[int, float]] = {}

    def unsettled(self, pods: Sequence[Pod], waited_seconds: float) -> tuple[Pod, ...]:
        """The pods with a container without a probe that has not run for long enough since it was first seen, or seen to be started again.

        Args:
            pods: The pods as they are now.
            waited_seconds: How long the rollout has been waited for.
        """
        return tuple(pod for pod in pods if self._unsettled(pod, waited_seconds))

    def _unsettled(self, pod: Pod, waited_seconds: float) -> bool:
        # Each of them is looked at, since each look counts from the one before.
        found = [each.name for each in pod.containers if self._is_unsettled(pod, each, waited_seconds)]
        return bool(found)

    def _is_unsettled(self, pod: Pod, container: Container, waited_seconds: float) -> bool:
        if container.kind not in ("main", "sidecar") or container.probed:
            return False
        known = self._begun.get((pod.name, container.name))
        if known is None or known[0] != container.restarts:
            known = self._begun[pod.name, container.name] = container.restarts, waited_seconds
        return waited_seconds - known[1] < (SETTLED_SECONDS if container.restarts else BEGUN_SECONDS)


def is_complete(rollout: Rollout, label: str) -> bool:
    """Whether every pod of the Kubernetes Deployment serves the candidate with this label, and the Service sends to no other."""
    pods = [pod for pod in rollout.pods if is_of(pod, label)]
    return (
        # Until the controller has seen the new generation, its counts are those of the old one.
        rollout.observed
        # `total` counts the pods of old ReplicaSets, too: all equal means that none of those is left.
        and rollout.updated == rollout.available == rollout.total == rollout.wanted
        and sum(pod.ready for pod in pods) == len(pods) == rollout.wanted
        # Endpoints follow readiness a moment later: an old pod may still be sent to, or a new one not yet.
        and rollout.routed == {pod.name for pod in pods}
    )


def judge_rollout(
    rollout: Rollout,
    label: str,
    waited_seconds: float,
    limit_seconds: float,
    *,
    troubles: Sequence[Trouble] = (),
    nodes: Sequence[Node] = (),
    gpus_wanted: int = 1,
    settled: bool = True,
) -> Literal["progressing", "complete"] | Diagnosis:
    """Judge a Kubernetes Deployment's rollout of the candidate with this label; the diagnosis of one that stalled is why.

    Args:
        rollout: What the cluster shows.
        label: The candidate's label, which every new pod carries.
        waited_seconds: How long it has been waited for.
        limit_seconds: How long it may take.
        troubles: What is to be seen of the candidate's pods that do not serve.
        nodes: The nodes that match the environment's selector.
        gpus_wanted: GPUs that one pod needs.
        settled: Whether none of the candidate's pods only seems to run (`Restarts`).
    """
    if settled and is_complete(rollout, label):
        return "complete"
    diagnosis = diagnose(rollout, label, troubles, nodes, gpus_wanted)
    if diagnosis is not None and diagnosis.patience_seconds is not None and waited_seconds >= diagnosis.patience_seconds:
        return diagnosis
    if rollout.deadline_exceeded or waited_seconds > limit_seconds:
        return diagnosis or overdue(rollout, label, troubles)
    return "progressing"


def still_serves(pods: Sequence[Pod], label: str) -> bool:
    """Whether the endpoint answers with the candidate of this label and with no other: by the pods that are ready."""
    ready = {pod.labels.get("slipway.dev/candidate") for pod in pods if pod.ready and not pod.terminating}
    return ready == {label}

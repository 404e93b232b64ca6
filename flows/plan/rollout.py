"""Whether a rollout goes on, is done, or never will be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from blocks.facts import Rollout

#: Container states in which Kubernetes only tries the same again.
_STUCK_REASONS = ("CrashLoopBackOff", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError")


#: How long a pod may find no node: an old pod's grace period and its GPU's release, which in-place rollouts wait for, fit in.
UNSCHEDULABLE_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class RolloutJudgement:
    """A rollout's state, and a sentence about it (what is waited for, or what is wrong)."""

    state: Literal["progressing", "complete", "stalled"]
    sentence: str


def judge_rollout(rollout: Rollout, label: str, waited_seconds: float, limit_seconds: float) -> RolloutJudgement:
    """Judge a Kubernetes Deployment's rollout of the candidate with this label.

    Args:
        rollout: What the cluster shows.
        label: The candidate's label, which every new pod carries.
        waited_seconds: How long it has been waited for.
        limit_seconds: How long it may take.
    """
    pods = [pod for pod in rollout.pods if pod.labels.get("slipway.dev/candidate") == label and not pod.terminating]
    serving = sum(pod.ready for pod in pods)
    if (
        rollout.observed
        and rollout.updated == rollout.available == rollout.total == rollout.wanted
        and serving == len(pods) == rollout.wanted
    ):
        return RolloutJudgement(state="complete", sentence=f"{serving} of {rollout.wanted} pods serve the candidate.")
    problems = [f"pod {pod.name}: {pod.problem}" for pod in pods if pod.problem]
    if rollout.problem:
        problems.insert(0, rollout.problem)
    hopeless = [p for p in problems if is_hopeless(p) or ("Unschedulable" in p and waited_seconds > UNSCHEDULABLE_SECONDS)]
    what = "; ".join(hopeless or problems) or f"{serving} of {rollout.wanted} pods are ready"
    if hopeless:
        return RolloutJudgement(state="stalled", sentence=f"waiting cannot cure this: {what}.")
    if rollout.deadline_exceeded or waited_seconds > limit_seconds:
        return RolloutJudgement(state="stalled", sentence=f"no progress within {min(waited_seconds, limit_seconds):.0f} s: {what}.")
    return RolloutJudgement(state="progressing", sentence=f"{what}.")


def is_hopeless(problem: str) -> bool:
    """Whether Kubernetes will only try the same again, so that waiting cures nothing."""
    return any(reason in problem for reason in _STUCK_REASONS)

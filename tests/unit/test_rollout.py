"""A rollout is complete only when every pod serves the candidate; what waiting cannot cure is said at once."""

from __future__ import annotations

import pytest

from blocks.facts import Pod, Rollout
from flows.plan.rollout import judge_rollout
from tests.examples import candidate, pod, rollout

LABEL = candidate().label


def test_it_is_complete_when_every_pod_serves_the_candidate() -> None:
    assert judge_rollout(rollout(pod(LABEL)), LABEL, 1, 100).state == "complete"


@pytest.mark.parametrize(
    "seen",
    [
        rollout(pod("another")),
        rollout(pod(LABEL, ready=False), available=0),
        rollout(pod(LABEL), pod("another"), total=2),
        rollout(pod(LABEL), observed=False),
        rollout(pod(LABEL), updated=0),
        rollout(pod(LABEL, terminating=True)),
        rollout(),
    ],
    ids=["another candidate", "not ready", "old pods left", "not observed", "not updated", "terminating", "no pods"],
)
def test_anything_less_goes_on(seen: Rollout) -> None:
    assert judge_rollout(seen, LABEL, 1, 100).state == "progressing"


@pytest.mark.parametrize(
    "problem",
    [
        "CrashLoopBackOff: back-off 10s restarting failed container",
        "ImagePullBackOff: Back-off pulling image",
        'CreateContainerConfigError: secret "hub-token" not found',
    ],
)
def test_what_waiting_cannot_cure_stalls_at_once_with_kubernetes_own_words(problem: str) -> None:
    judgement = judge_rollout(rollout(pod(LABEL, ready=False, problem=problem), available=0), LABEL, 1, 100)

    assert judgement.state == "stalled"
    assert problem in judgement.sentence


def test_a_problem_of_the_old_pods_does_not_stop_the_new_ones() -> None:
    old: Pod = pod("another", ready=False, problem="CrashLoopBackOff: back-off")

    assert judge_rollout(rollout(old, pod(LABEL, ready=False), available=0, total=2), LABEL, 1, 100).state == "progressing"


def test_the_deadline_stalls_it_and_the_reason_is_kept() -> None:
    waiting = rollout(pod(LABEL, ready=False, problem="Unschedulable: 0/2 nodes are available"), available=0)

    assert judge_rollout(waiting, LABEL, 99, 100).state == "progressing"
    assert judge_rollout(waiting, LABEL, 101, 100).state == "stalled"
    assert "0/2 nodes are available" in judge_rollout(waiting, LABEL, 101, 100).sentence


def test_a_pod_that_no_node_takes_is_not_waited_for_until_the_deadline() -> None:
    homeless = rollout(
        pod(LABEL, ready=False, problem="Unschedulable: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu"), available=0
    )

    assert judge_rollout(homeless, LABEL, 60, 3600).state == "progressing"
    judgement = judge_rollout(homeless, LABEL, 181, 3600)
    assert judgement.state == "stalled"
    assert "Insufficient nvidia.com/gpu" in judgement.sentence


def test_a_refused_pod_is_told_though_it_does_not_exist() -> None:
    refused = rollout(problem='FailedCreate: pods "x" is forbidden: exceeded quota: gpus', deadline_exceeded=True, updated=0, available=0)

    judgement = judge_rollout(refused, LABEL, 1, 100)

    assert judgement.state == "stalled"
    assert "exceeded quota" in judgement.sentence

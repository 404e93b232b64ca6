"""A rollout is complete only when every pod serves the candidate, and stalls as soon as waiting cannot cure what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blocks.facts import Container, Rollout
from flows.rollout.diagnosis import Diagnosis
from flows.rollout.judge import Restarts, judge_rollout
from tests.support.examples import candidate, crashed, node, pod, rollout, trouble, waiting_pod

LABEL = candidate().label


def test_it_is_complete_when_every_pod_serves_the_candidate() -> None:
    assert judge_rollout(rollout(pod(LABEL)), LABEL, 1, 100) == "complete"


def test_a_pod_that_its_node_threw_out_does_not_count() -> None:
    evicted = pod(LABEL, name="evicted", ready=False, phase="Failed", problem="Evicted: The node was low on resource: ephemeral-storage.")

    assert judge_rollout(rollout(pod(LABEL), evicted), LABEL, 1, 100) == "complete"


@pytest.mark.parametrize(
    "seen",
    [
        rollout(pod("another")),
        rollout(pod(LABEL, ready=False), available=0),
        rollout(pod(LABEL), pod("another"), total=2),
        rollout(pod(LABEL), observed=False),
        rollout(pod(LABEL), routed=frozenset({"a pod that ends"})),
        rollout(pod(LABEL), routed=frozenset()),
        rollout(pod(LABEL), updated=0),
        rollout(pod(LABEL, terminating=True)),
        rollout(),
    ],
    ids=[
        "other candidate",
        "not ready",
        "old pods left",
        "not observed",
        "old pod routed",
        "not routed",
        "not updated",
        "terminating",
        "no pods",
    ],
)
def test_anything_less_goes_on(seen: Rollout) -> None:
    assert judge_rollout(seen, LABEL, 1, 100) == "progressing"


def test_a_first_crash_without_a_known_cause_may_be_the_last() -> None:
    once = waiting_pod(LABEL, phase="Running", containers=(crashed(state="running", reason="", message=""),))

    assert judge_rollout(rollout(once, available=0), LABEL, 1, 100, troubles=[trouble(once)]) == "progressing"


def test_a_first_crash_whose_cause_will_be_the_same_again_stalls_at_once() -> None:
    once = waiting_pod(LABEL, phase="Running", containers=(crashed(state="running", reason="", message=""),))
    log = "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.\nRuntimeError: Engine core failed"

    judged = judge_rollout(rollout(once, available=0), LABEL, 1, 100, troubles=[trouble(once, log=log)])

    assert isinstance(judged, Diagnosis)
    assert judged.category == "no-kv-cache-memory"


def test_a_problem_of_the_old_pods_does_not_stop_the_new_ones() -> None:
    old = pod("another", ready=False, containers=(crashed(),))

    assert judge_rollout(rollout(old, waiting_pod(LABEL), available=0, total=2), LABEL, 1, 100) == "progressing"


def test_the_deadline_stalls_it_though_nothing_is_seen_to_be_wrong() -> None:
    waiting = waiting_pod(LABEL, phase="Running", containers=(Container(name="vllm"),))
    seen = rollout(waiting, available=0)

    assert judge_rollout(seen, LABEL, 99, 100) == "progressing"
    late = judge_rollout(seen, LABEL, 101, 100)
    assert isinstance(late, Diagnosis)
    assert late.category == "progress-deadline"
    assert "0 of 1 pods are ready" in late.message
    assert judge_rollout(replace(seen, deadline_exceeded=True), LABEL, 1, 100) == late


def test_a_loaded_engine_that_never_answers_is_hung() -> None:
    hung = waiting_pod(LABEL, phase="Running", containers=(Container(name="vllm", started=True),))
    seen = trouble(hung, ("Unhealthy", "Readiness probe failed: context deadline exceeded"))

    judged = judge_rollout(rollout(hung, available=0), LABEL, 101, 100, troubles=[seen])

    assert isinstance(judged, Diagnosis)
    assert judged.category == "hung-engine"
    assert any("Readiness probe failed" in line for line in judged.evidence)


NO_GPU = "Unschedulable: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2 nodes are available."


def test_a_pod_that_no_node_takes_is_waited_for_as_long_as_others_may_leave() -> None:
    homeless = waiting_pod(LABEL, node=None, problem=NO_GPU)
    seen = rollout(homeless, available=0)

    def judged(waited_seconds: float) -> object:
        return judge_rollout(seen, LABEL, waited_seconds, 3600, troubles=[trouble(homeless)], nodes=[node()])

    assert judged(60) == "progressing"
    late = judged(181)
    assert isinstance(late, Diagnosis)
    assert "2 Insufficient nvidia.com/gpu" in late.message


def test_a_surge_that_waits_for_the_gpu_of_the_old_pod_stalls_at_once() -> None:
    homeless = waiting_pod(LABEL, node=None, problem=NO_GPU)
    old = pod("another", name="old")

    def judged(**changes: object) -> object:
        seen = rollout(homeless, replace(old, **changes), total=2, surges=True)  # type: ignore[arg-type]
        return judge_rollout(seen, LABEL, 1, 3600, troubles=[trouble(homeless)], nodes=[node()])

    stuck = judged()
    assert isinstance(stuck, Diagnosis)
    assert stuck.category == "no-gpu"
    assert "inPlace" in stuck.remedy
    # but one that is going makes room
    assert judged(terminating=True) == "progressing"


def test_the_autoscaler_has_the_last_word_on_nodes() -> None:
    homeless = waiting_pod(LABEL, node=None, problem="Unschedulable: 0/1 nodes are available: 1 node(s) had untolerated taint {a: b}.")
    comes, none = ("TriggeredScaleUp", "pod triggered scale-up"), ("NotTriggerScaleUp", "pod didn't trigger scale-up")

    def judged(*events: tuple[str, str]) -> object:
        return judge_rollout(rollout(homeless), LABEL, 200, 3600, troubles=[trouble(homeless, *events)], nodes=[node()])

    assert judged(none, comes) == "progressing"
    assert isinstance(judged(comes, none), Diagnosis)
    assert isinstance(judged(), Diagnosis)


def test_a_container_without_a_probe_counts_as_up_only_when_it_has_run_on() -> None:
    restarts = Restarts()

    def seen(times: int, waited_seconds: float, *, probed: bool = False) -> bool:
        proxy = Container(name="proxy", probed=probed, restarts=times)
        return bool(restarts.unsettled([pod(LABEL, containers=(Container(name="vllm", restarts=1), proxy))], waited_seconds))

    assert seen(0, 1)
    assert not seen(0, 11)
    assert seen(1, 12)
    assert seen(1, 41)
    assert seen(2, 43)
    assert not seen(2, 73)
    assert not seen(3, 74, probed=True)
    assert judge_rollout(rollout(pod(LABEL)), LABEL, 1, 100, settled=False) == "progressing"

"""Which way a candidate takes the place of another, by the GPUs that there are."""

from __future__ import annotations

import pytest

from blocks.facts import Pod
from flows.errors import DoesNotFit
from flows.naming import Slot
from flows.placement.assess import ReleasePlan, assess, plan_release, plan_rollback
from flows.spec import RolloutPolicy
from tests.support.examples import candidate, cluster_state, digest, environment, model, node, pod

OLD = tuple(pod("an-old-one", name=f"old-{number}") for number in range(2))


def way(gpus: int, pods: tuple[Pod, ...], replicas: int = 1, **policy: str) -> tuple[str, float]:
    """The strategy and the interruption in seconds, with a number of GPUs in all."""
    taken = {"gpu-1": sum(each.gpus for each in pods)}
    seen = cluster_state(node(gpus=gpus), gpus_taken=taken, pods=pods, replicas=replicas)
    there = environment(rollout=RolloutPolicy(**policy))  # type: ignore[arg-type]
    plan = plan_release(assess(model(), candidate(), there, seen, digest("chart")))
    return plan.strategy, plan.interruption_seconds


@pytest.mark.parametrize(
    ("gpus", "pods", "replicas", "strategy", "seconds"),
    [
        # nothing serves yet
        (1, (), 1, "surge", 0),
        # a GPU to spare
        (2, OLD[:1], 1, "surge", 0),
        (3, OLD, 2, "surge", 0),
        # none: the old pod's own, and with another replica that serves meanwhile
        (1, OLD[:1], 1, "inPlace", 60 + 190),
        (2, OLD, 2, "inPlace", 0),
        # what does not serve is not interrupted
        (1, (pod("an-old-one", ready=False),), 1, "surge", 0),
    ],
)
def test_a_surge_is_chosen_where_there_are_gpus_for_it(
    gpus: int, pods: tuple[Pod, ...], replicas: int, strategy: str, seconds: float
) -> None:
    assert way(gpus, pods, replicas) == (strategy, seconds)


def test_an_interruption_that_the_environment_refuses_is_refused_with_the_numbers() -> None:
    assert way(2, OLD, 2, interruption="refused") == ("inPlace", 0)
    with pytest.raises(
        DoesNotFit, match=r"nothing would answer for up to 250 s, which rollout\.interruption of deployments/environments/staging"
    ):
        way(1, OLD[:1], interruption="refused")
    with pytest.raises(DoesNotFit, match="nothing would answer"):
        way(8, OLD[:1], strategy="recreate", interruption="refused")


def lying(label: str, instance: str) -> Pod:
    """A pod of one of the release's two engines."""
    return pod(label, name=instance, labels={"slipway.dev/candidate": label, "app.kubernetes.io/instance": instance})


def canary(gpus: int, pods: tuple[Pod, ...], replicas: int = 1, slot: Slot = "a", **policy: object) -> ReleasePlan:
    """The plan of a canary, with a number of GPUs in all."""
    taken = {"gpu-1": sum(each.gpus for each in pods)}
    seen = cluster_state(node(gpus=gpus), gpus_taken=taken, pods=pods, replicas=replicas, slot=slot)
    there = environment(rollout=RolloutPolicy(strategy="canary", **policy))  # type: ignore[arg-type]
    return plan_release(assess(model(), candidate(), there, seen, digest("chart")))


def test_a_canary_takes_the_gpus_of_all_replicas_beside_what_serves() -> None:
    plan = canary(4, OLD, replicas=2)
    assert (plan.by_canary, plan.slot, plan.interruption_seconds) == (True, "b", 0)
    assert plan.engine == "tiny-llama-staging-b"
    assert plan.answers_at == "tiny-llama-staging-canary.llm-staging.svc.cluster.local:8000"
    with pytest.raises(
        DoesNotFit, match=r"2 new pod\(s\) of tiny-llama need 1 each, .* beside which the canary stands; .*without_room: auto"
    ):
        canary(3, OLD, replicas=2)


def test_a_canary_without_room_goes_as_without_one_where_the_environment_says_so() -> None:
    plan = canary(2, OLD, replicas=2, without_room="auto")
    assert (plan.by_canary, plan.strategy, plan.slot) == (False, "inPlace", "a")
    assert canary(4, OLD, replicas=2, without_room="auto").by_canary


def test_a_first_release_has_nothing_to_be_compared_with() -> None:
    assert not canary(4, ()).by_canary
    assert not canary(4, (pod("an-old-one", ready=False),)).by_canary


def test_what_an_earlier_canary_replaced_makes_room_for_the_next() -> None:
    serving = lying("an-old-one", "tiny-llama-staging-b")
    warm = lying("a-warm-one", "tiny-llama-staging")
    plan = canary(2, (serving, warm), slot="b")
    assert (plan.by_canary, plan.slot, plan.engine) == (True, "a", "tiny-llama-staging")
    with pytest.raises(DoesNotFit, match="not enough free GPUs"):
        canary(1, (serving,), slot="b")


def test_the_way_back_to_what_stays_warm_starts_no_pod() -> None:
    serving = lying("an-old-one", "tiny-llama-staging-b")
    warm = lying(candidate().label, "tiny-llama-staging")
    seen = cluster_state(node(gpus=2), gpus_taken={"gpu-1": 2}, pods=(serving, warm), slot="b")

    plan = plan_rollback(candidate(), environment(), seen, "recreate")

    assert (plan.strategy, plan.interruption_seconds, plan.engine) == ("surge", 0, "tiny-llama-staging")


def test_a_strategy_that_the_environment_names_is_taken_or_refused() -> None:
    assert way(8, OLD[:1], strategy="recreate") == ("recreate", 250)
    with pytest.raises(DoesNotFit, match="not enough free GPUs"):
        way(1, OLD[:1], strategy="surge")


@pytest.mark.parametrize(
    ("gpus", "pods", "stored", "strategy"),
    [
        (2, OLD[:1], "surge", "surge"),
        (1, OLD[:1], "surge", "recreate"),
        (1, OLD[:1], "inPlace", "inPlace"),
        (1, OLD[:1], None, "inPlace"),
        # the old pod is still there, beside one that does not start
        (2, (pod(candidate().label), pod("broken", ready=False)), "surge", "surge"),
    ],
)
def test_the_way_back_never_waits_for_a_gpu_that_the_present_pods_hold(
    gpus: int, pods: tuple[Pod, ...], stored: str | None, strategy: str
) -> None:
    seen = cluster_state(node(gpus=gpus), gpus_taken={"gpu-1": sum(each.gpus for each in pods)}, pods=pods)
    there = environment(rollout=RolloutPolicy(interruption="refused"))

    assert plan_rollback(candidate(), there, seen, stored).strategy == strategy  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gpus", "pods", "wish", "strategy"),
    [
        (2, OLD[:1], "auto", "surge"),
        (1, OLD[:1], "auto", "inPlace"),
        (1, OLD[:1], "surge", "recreate"),
        (2, OLD[:1], "inPlace", "inPlace"),
        (2, OLD[:1], "surge", "surge"),
    ],
)
def test_where_git_is_written_for_it_the_way_back_is_chosen_like_one_forward(
    gpus: int, pods: tuple[Pod, ...], wish: str, strategy: str
) -> None:
    seen = cluster_state(node(gpus=gpus), gpus_taken={"gpu-1": sum(each.gpus for each in pods)}, pods=pods)
    there = environment(rollout=RolloutPolicy(strategy=wish, interruption="refused"), delivery="argocd")  # type: ignore[arg-type]

    # what Helm keeps from before the environment was switched does not count
    assert plan_rollback(candidate(), there, seen, "inPlace").strategy == strategy

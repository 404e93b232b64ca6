"""A candidate gets a share of the requests first, and the endpoint only when it did no harm; nobody who asks loses a request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from blocks.facts.canary import Canary
from flows.release import release
from flows.rollback import rollback
from flows.sweep import sweep
from sandbox import models
from tests.flows.conftest import Site
from tests.flows.test_traffic import traffic
from tests.support.waiting import until

STEPS = [{"weight": 20, "minutes": 0.05}, {"weight": 60, "minutes": 0.05}, {"weight": 100}]


def canary_of(site: Site) -> Canary:
    with site.registry() as registry:
        found = registry.canaries.get(site.model, "development")
    assert found is not None
    return found


def served(site: Site) -> str:
    """The candidate that is routed to."""
    with site.registry() as registry:
        current = registry.current(site.model, "development")
    assert current is not None
    assert current.fingerprint is not None
    return current.fingerprint


def pods(site: Site) -> dict[str, str]:
    """Pod → the engine that it is of."""
    return {pod.name: pod.labels["app.kubernetes.io/instance"] for pod in site.pods() if not pod.terminating}


def test_a_canary_takes_over_by_steps_and_what_it_replaced_is_the_fastest_way_back(site: Site) -> None:
    # given a release that serves, and an environment that tries others beside it
    values: dict[str, Any] = {"replicas": 1, "preStopSleepSeconds": 1, "terminationGracePeriodSeconds": 30}
    canary = {"strategy": "canary", "steps": STEPS, "inconclusive": "go_on", "keep_minutes": 60}
    site.edit("environments/development.yaml", values=values, rollout=canary)
    assert site.release().is_completed()
    first, (old_pod,) = served(site), pods(site)

    # when another candidate is released while people ask
    site.publish(knowledge=models.Knowledge().but(Japan="Kyoto"))
    with traffic(site) as answers:
        ended = site.release()
        assert ended.is_completed(), ended.message

    # then it got its share, then all of it, and none of the requests was lost; no pod of either has started again
    assert answers.failures == []
    assert {" Tokyo.", " Kyoto."} == set(answers.texts)
    assert answers.texts[-1] == " Kyoto."
    second = served(site)
    warm = canary_of(site)
    assert (warm.phase, warm.weight, warm.stable, warm.canary) == ("warm", 0, first, second)
    both = pods(site)
    assert len(both) == 2
    assert both[old_pod] != both[next(name for name in both if name != old_pod)]

    # and going back to what stays warm starts none either
    ended = site.run(rollback, model=site.model, environment="development", reason="answers are wrong", actor="on-call")
    assert ended.is_completed(), ended.message
    assert served(site) == first
    assert site.ask("The capital of Japan is") == " Tokyo."
    assert set(pods(site)) == {old_pod}
    assert canary_of(site).phase == "ended"
    assert site.run(sweep).is_completed()
    assert set(pods(site)) == {old_pod}


def test_a_canary_that_a_person_ends_leaves_what_served_as_it_was(site: Site) -> None:
    # given a canary that is to be judged for an hour
    site.edit("environments/development.yaml", rollout={"strategy": "canary", "steps": [{"weight": 50, "minutes": 60}, {"weight": 100}]})
    assert site.release().is_completed()
    first, (old_pod,) = served(site), pods(site)
    site.publish(knowledge=models.Knowledge().but(Japan="Kyoto"))
    run = site.start(release, model=site.model, environments=["development"])

    # when a person ends it while people ask
    with traffic(site) as answers, ThreadPoolExecutor() as pool:
        ending = pool.submit(copy_context().run, site.leg, release, run)  # Prefect's settings are in the context
        until(lambda: " Kyoto." in answers.texts)
        with site.registry() as registry:
            registry.canaries.wish(site.model, "development", "abort", reason="answers are odd", actor="on-call")
        ended = ending.result()

    # then nothing of it is left, no request was lost, and what served was never touched
    assert (ended.name, ended.message) == (
        "Failed",
        f"{site.model} in development: on-call ended the canary (answers are odd); what served serves all again.",
    )
    assert answers.failures == []
    assert answers.texts[-1] == " Tokyo."
    assert set(pods(site)) == {old_pod}
    assert served(site) == first
    over = canary_of(site)
    assert (over.phase, over.outcome, over.weight) == ("ended", "aborted", 0)
    assert sorted(site.all_statuses()) == ["failed", "ready"]

"""The monitor takes out what does not answer, puts it back when it does, and keeps its hands off what it cannot see."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prefect.client.schemas.objects import State

from blocks.endpoint import Endpoint
from blocks.registry import Registry
from flows.health.tasks import Round, check_health
from flows.monitor import monitor
from flows.revalidate import revalidate
from tests.flows.conftest import Site
from tests.support.candidates import register


def look(site: Site) -> Round:
    """A round without Prefect around it, as `slipway monitor` does it."""
    endpoint = Endpoint(via="service-proxy", kubeconfig=site.world.cluster.kubeconfig)
    return check_health(Registry.load(site.blocks), {"development": endpoint})  # type: ignore[arg-type]


def test_three_bad_checks_take_it_out_and_three_good_ones_put_it_back(site: Site) -> None:
    # given what serves
    assert site.release().is_completed()
    assert look(site).message == "1 of 1 endpoints answer."

    # when its engine begins to fail, then it takes three checks, as the flow or as the command
    site.world.engine_faults.set(site.model, error_status=500)
    state: State[object] = site.run(monitor)
    assert state.is_completed(), state.message
    assert look(site).failing == 1
    assert site.statuses() == {"development": "ready"}
    seen = look(site)
    assert site.statuses() == {"development": "degraded"}
    reason = "3 of the last 4 health checks failed; /v1/completions answered HTTP 500"
    assert seen.degraded == (f"{site.model} in development: {reason}",)
    with site.registry() as registry:
        (entry,) = registry.entries(model=site.model)
        (event,) = registry.events.latest(model=site.model, limit=1)
    assert (entry.status_reason, event.kind, event.actor) == (reason, "degraded", "monitor")

    # when it is well again, then it takes three checks
    site.world.engine_faults.clear()
    assert [look(site).recovered for _ in range(3)] == [(), (), (f"{site.model} in development",)]
    assert site.statuses() == {"development": "ready"}


def test_what_a_verification_took_out_a_health_check_does_not_put_back(site: Site) -> None:
    assert site.release().is_completed()
    site.world.engine_faults.set(site.model, garbage=True)
    assert site.run(revalidate).name == "Failed"

    assert [look(site).recovered for _ in range(4)] == [()] * 4
    assert site.statuses() == {"development": "degraded"}


def test_when_most_fail_at_once_nothing_is_changed_and_it_says_so(site: Site) -> None:
    # given four entries that serve, of which three cannot be seen
    assert site.release().is_completed()
    with site.registry() as registry:
        (entry,) = registry.entries(model=site.model)
        for number in range(3):
            gone = f"gone-{number}.{entry.namespace}.svc.cluster.local:8000"
            model = f"{site.model}-{number}"
            which = {"model": model, "environment": "development", "fingerprint": register(registry, model), "run_id": "by-hand"}
            registry.lifecycle.begin(**which, hub_revision="a" * 40, namespace="elsewhere", endpoint=gone)
            registry.lifecycle.mark_ready(**which, helm_revision=1, evidence_sha256=registry.evidence.save("verdict", {}))
        before = registry.entries(), registry.events.latest()

    # when they are looked at
    for _ in range(3):
        state = site.run(monitor)

    # then nothing is changed, not even the time of the last check
    assert state.name == "Inconclusive"
    assert str(state.message).startswith("1 of 4 endpoints answer; most of development do not")
    with site.registry() as registry:
        assert (registry.entries(), registry.events.latest()) == before


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        (
            Round(checked=3, failing=1, degraded=("tiny in staging: it hangs",)),
            "2 of 3 endpoints answer; degraded tiny in staging: it hangs.",
        ),
        (Round(checked=1, recovered=("tiny in staging",)), "1 of 1 endpoints answer; recovered tiny in staging."),
        (Round(skipped=("attic",)), "0 of 0 endpoints answer; nobody knows how to reach attic."),
    ],
)
def test_a_round_is_told_in_a_sentence(seen: Round, sentence: str) -> None:
    assert replace(seen, seconds=1.0).message == sentence

"""Revalidation can say no, and can say yes again."""

from __future__ import annotations

from flows.release import release
from flows.revalidate import revalidate
from tests.flows.conftest import Site


def test_what_answers_wrongly_is_degraded_and_what_recovers_is_ready_again(site: Site) -> None:
    # given a live entry that answers
    assert site.release().is_completed()
    assert site.run(revalidate).is_completed()
    with site.registry() as registry:
        (entry,) = registry.entries(model=site.model)
    assert entry.status == "ready"
    assert entry.last_health_check_at is not None

    # when its engine begins to talk nonsense
    site.world.engine_faults.set(site.model, garbage=True)
    ended = site.run(revalidate)

    # then it is no longer routed, and the run says why
    assert ended.name == "Failed"
    assert ended.message is not None
    assert f"{site.model} in development: failed" in ended.message
    assert site.statuses() == {"development": "degraded"}

    # and it blocks promotion
    promotion = site.run(release, model=site.model, environments=["staging"])
    assert promotion.message is not None
    assert "is degraded in development" in promotion.message

    # when it has recovered
    site.world.engine_faults.clear()
    assert site.run(revalidate).is_completed()

    # then it is routed again
    assert site.statuses() == {"development": "ready"}
    with site.registry() as registry:
        kinds = [event.kind for event in registry.events(model=site.model)]
    assert kinds[:2] == ["recovered", "degraded"]


def test_only_the_named_environments_are_looked_at_and_an_endpoint_that_errs_is_degraded(site: Site) -> None:
    assert site.release().is_completed()
    site.world.engine_faults.set(site.model, error_status=500)

    assert site.run(revalidate, environments=["production"]).is_completed()
    assert site.statuses() == {"development": "ready"}

    assert site.run(revalidate, environments=["development"]).name == "Failed"
    assert site.statuses() == {"development": "degraded"}


def test_nothing_live_is_nothing_wrong(site: Site) -> None:
    assert site.run(revalidate).is_completed()

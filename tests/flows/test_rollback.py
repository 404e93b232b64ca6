"""Going back by hand: after a failure, to a candidate by its name, and where there is none. The plain way is in `test_delivery.py`."""

from __future__ import annotations

import yaml

from flows.rehearse import rehearse
from flows.release import release
from flows.rollback import rollback
from sandbox import models
from tests.flows.conftest import Site

BACK = {"environment": "development", "reason": "answers are cut off", "actor": "on-call"}


def two_releases(site: Site) -> tuple[str, str]:
    """Release two revisions, of which the second knows one more thing; their fingerprints."""
    fingerprints = []
    for knowledge in (models.Knowledge(), models.Knowledge().but(Japan="Kyoto")):
        site.publish(knowledge=knowledge)
        assert site.release().is_completed()
        with site.registry() as registry:
            current = registry.current(site.model, "development")
        assert current is not None
        assert current.fingerprint is not None
        fingerprints.append(current.fingerprint)
    return fingerprints[0], fingerprints[1]


def test_it_brings_back_what_served_before_a_failure_that_was_left_and_nothing_where_nothing_was(site: Site) -> None:
    # where nothing served before, or nothing of that name, it says so and changes nothing
    assert site.release().is_completed()
    pods = {pod.name for pod in site.pods()}
    for to in (None, "0" * 12, "abc"):
        refused = site.run(rollback, model=site.model, to=to, **BACK)
        assert refused.name == "Failed"
        assert refused.message is not None
        assert "cannot be rolled back" in refused.message
    assert {pod.name for pod in site.pods()} == pods
    assert site.statuses() == {"development": "ready"}

    # given a release that failed, where somebody chose to leave it as it is
    site.edit("environments/development.yaml", failure={"go_back": "ask"})
    site.publish(knowledge=models.Knowledge().but(France="Lyon"))
    run = site.start(release, model=site.model, environments=["development"])
    assert site.leg(release, run).name == "Suspended"
    assert site.resume(run, decision="leave", actor="on-call", reason="I look at it") == "ACCEPT"
    assert "on-call left it as it is (I look at it)" in str(site.leg(release, run).message)
    assert sorted(site.all_statuses()) == ["degraded", "failed"]

    run = site.start(rollback, model=site.model, **BACK)
    ended = site.leg(rollback, run)

    assert ended.is_completed(), ended.message
    assert site.ask("The capital of France is") == " Paris."
    # what it does is shown; there is no progress to look at where all weights are
    assert sorted(site.shown(run)) == [site.model + suffix for suffix in ("-release", "-rollback")]
    assert "goes back" in site.shown(run)[f"{site.model}-rollback"]
    assert sorted(site.all_statuses()) == ["failed", "ready"]


def test_a_rehearsal_goes_back_and_forward_and_a_rollback_that_fails_leaves_the_environment_as_it_was(site: Site) -> None:
    first, second = two_releases(site)

    # when the way back is rehearsed, then it is gone in both directions, and measured
    ended = site.run(rehearse, environment="development")
    assert ended.is_completed(), ended.message
    with site.registry() as registry:
        assert {entry.fingerprint: entry.status for entry in registry.entries(model=site.model)} == {first: "disabled", second: "ready"}
        (rehearsed,) = [event for event in registry.events.latest(model=site.model) if event.kind == "rehearsed"]
    assert rehearsed.fingerprint == second
    assert rehearsed.detail["within"] is True
    assert 0 < float(str(rehearsed.detail["back"])) <= float(str(rehearsed.detail["target_seconds"]))
    assert site.ask("The capital of Japan is") == " Kyoto."

    # when a candidate is named by its fingerprint, then that is what serves
    assert site.run(rollback, model=site.model, to=first[:12], **BACK).is_completed()
    assert site.ask("The capital of Japan is") == " Tokyo."

    # when the other one would not pass today, although it passed once, then what serves still does
    suite = yaml.safe_load((site.deployments / "checks" / "smoke.yaml").read_text())
    suite["checks"].append({"name": "news", "kind": "completion", "prompt": "The capital of Japan is", "expect": {"contains": "Tokyo"}})
    (site.deployments / "checks" / "smoke.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    ended = site.run(rollback, model=site.model, to=second[:12], **BACK)
    assert ended.name == "Failed"
    assert "news: expected text with 'Tokyo'" in str(ended.message)
    assert f"went back to candidate {first[:12]}" in str(ended.message), ended.message
    assert site.ask("The capital of Japan is") == " Tokyo."
    with site.registry() as registry:
        assert {entry.fingerprint: entry.status for entry in registry.entries(model=site.model)} == {first: "ready", second: "failed"}

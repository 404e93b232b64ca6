"""Whatever ends a release, foreseen or not: nothing is routed that nobody verified, and what served before serves again."""

from __future__ import annotations

from flows.release import release
from tests.flows.conftest import Site
from tests.support.moments import moments, overflow


def fingerprints(site: Site) -> dict[str, str]:
    with site.registry() as registry:
        return {entry.fingerprint or "": entry.status for entry in registry.entries(model=site.model)}


def routed(site: Site) -> str | None:
    with site.registry() as registry:
        entry = registry.current(site.model, "development")
        endpoint = registry.route(site.model, "development").endpoint
    return entry.fingerprint if entry is not None and endpoint is not None else None


# Before anything is told; once the cluster is; with a verdict that nobody recorded. `make attack` has them all.
MOMENTS = ("end record_deploying", "end upgrade_release", "begin record_ready")


def test_what_nobody_foresaw_is_recorded_and_put_right_and_no_number_that_is_none_is_routed(site: Site) -> None:
    assert site.release().is_completed()
    (old,) = fingerprints(site)
    site.publish(seed=1)

    for moment in MOMENTS:
        run = site.start(release, model=site.model, environments=["development"])
        with moments() as at:
            at.on[moment] = overflow
            ended = site.leg(release, run)

        # then the run names the step and what kind of error it was, and says what became of the environment
        assert ended.name == "Errored", moment
        assert "OverflowError, an error that nobody foresaw" in str(ended.message)
        # and the failure is on record, and what is routed is what serves
        (failed,) = [event for event in site.events(run) if event.kind == "failed"]
        assert (failed.detail["error"], failed.fingerprint == old) == ("Unforeseen", False)
        assert ("went back to candidate" in str(ended.message)) == failed.detail["deployed"] == (moment != MOMENTS[0])
        assert routed(site) == old
        assert {pod.labels["slipway.dev/candidate"] for pod in site.pods() if not pod.terminating} == {old[:40]}

    # when only hearing of the record fails, then the candidate is what serves, and stays
    with moments() as at:
        at.on["end record_ready"] = overflow
        assert site.release().name == "Errored"
    new = routed(site)
    assert new not in (None, old)

    # when the next one ends with a NUL in its last line
    site.publish(seed=2)
    site.world.engine_faults.set(site.model, crash_on_load="RuntimeError: \0 \x1b]0;owned\x07 killed")
    run = site.start(release, model=site.model, environments=["development"])
    assert site.leg(release, run).name == "Errored"

    # then that is on record, and what served before still does
    (failed,) = [event for event in site.events(run) if event.kind == "failed"]
    assert failed.detail["error"] == "RolloutStalled"
    assert failed.detail["evidence_sha256"]
    assert routed(site) == new

    # when it answers a number beyond every float, as does the one before it from then on
    site.world.engine_faults.set(site.model, raw={"completion_tokens": "1e400"})
    run = site.start(release, model=site.model, environments=["development"])
    ended = site.leg(release, run)

    # then nothing is routed, since nothing could be verified
    assert ended.name == "Errored"
    assert "1e400 is beyond every float" in str(ended.message)
    assert routed(site) is None
    assert [event.kind for event in site.events(run)].count("failed") == 2

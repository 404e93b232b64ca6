"""After a failed release the environment serves again what it served before, by itself."""

from __future__ import annotations

from prefect.states import Crashed, Scheduled

from blocks.helm import Helm
from flows.naming import release_name
from flows.release import release
from sandbox import models
from tests.flows.conftest import Site

WRONG = models.Knowledge().but(France="Lyon")


def fingerprints(site: Site) -> dict[str | None, str]:
    with site.registry() as registry:
        return {entry.fingerprint: entry.status for entry in registry.entries(model=site.model)}


def helm_release(site: Site, environment: str = "development") -> object:
    block = Helm.load(site.blocks)
    assert isinstance(block, Helm)
    return block.client().current(release_name(site.model, environment), f"{environment}-{site.name}")


def test_what_fails_beside_what_serves_takes_the_environment_back(site: Site) -> None:
    # given a release that serves
    assert site.release().is_completed()
    (old,) = fingerprints(site)

    # when one that answers wrongly takes its place
    site.publish(knowledge=WRONG)
    run = site.start(release, model=site.model, environments=["development"])
    ended = site.leg(release, run)

    # then the run says what was wrong, and that the environment went back
    assert ended.name == "Failed"
    assert "capital-of-france: expected text with 'Paris'" in str(ended.message)
    assert f"development went back to candidate {(old or '')[:12]}" in str(ended.message)
    # and what served before serves again, verified anew
    assert site.ask("The capital of France is") == " Paris."
    assert sorted(fingerprints(site).values()) == ["failed", "ready"]
    assert fingerprints(site)[old] == "ready"
    events = site.events(run)
    assert [(event.kind, event.fingerprint == old) for event in events] == [
        ("deploying", False),
        ("verified", False),
        ("failed", False),
        ("displaced", True),
        ("deploying", True),
        ("verified", True),
        ("ready", True),
        ("rolled_back", True),
    ]
    assert (events[-1].actor, events[-1].detail["automatic"]) == ("slipway", True)

    # when the process was lost before Prefect had heard of the end, and the run is taken up again
    site.client.set_flow_run_state(run.id, Crashed(), force=True)
    site.client.set_flow_run_state(run.id, Scheduled(name="AwaitingRetry"), force=True)
    again = site.leg(release, run)

    # then it ends as it would have ended, and does not release what failed once more
    assert again.name == "Failed"
    assert "capital-of-france" in str(again.message)
    assert len(site.events(run)) == len(events)
    assert fingerprints(site)[old] == "ready"

    # given that it serves, with GPUs to spare
    before = {pod.name for pod in site.pods() if not pod.terminating}

    # when the engine of the next one crashes while it loads
    site.publish(seed=1)
    site.world.engine_faults.set(site.model, crash_on_load="torch.OutOfMemoryError: CUDA out of memory.")
    run = site.start(release, model=site.model, environments=["development"])
    ended = site.leg(release, run)

    # then it is diagnosed, and gone; what served before was never out of routing
    assert ended.name == "Errored"
    assert "gpu-out-of-memory" in str(ended.message)
    assert "went back" in str(ended.message)
    assert {pod.name for pod in site.pods() if not pod.terminating} == before
    assert fingerprints(site)[old] == "ready"
    assert "displaced" not in {event.kind for event in site.events(run)}

    # given a policy that asks a person first
    site.world.engine_faults.clear()
    site.edit("environments/development.yaml", failure={"go_back": "ask"})

    # when the next one fails, then the run waits, and nothing is routed
    site.publish(knowledge=WRONG)
    run = site.start(release, model=site.model, environments=["development"])
    assert site.leg(release, run).name == "Suspended"
    assert "go back?" in site.form(run)
    assert sorted(fingerprints(site).values()) == ["degraded", "failed", "failed", "failed"]

    # when a person decides, then it is done and recorded under that name
    assert site.resume(run, decision="go-back", actor="on-call", reason="answers are wrong") == "ACCEPT"
    ended = site.leg(release, run)
    assert ended.name == "Failed"
    assert "went back to candidate" in str(ended.message)
    assert sorted(fingerprints(site).values()) == ["failed", "failed", "failed", "ready"]
    assert site.events(run)[-1].actor == "on-call"


def test_a_first_release_that_fails_is_removed_or_kept_as_asked(site: Site) -> None:
    site.publish(knowledge=WRONG)

    kept = site.release(keep_failed=True)
    assert "left as it is, for inspection" in str(kept.message)
    assert helm_release(site) is not None

    removed = site.release()
    assert removed.name == "Failed"
    assert "what failed was removed" in str(removed.message)
    assert helm_release(site) is None
    assert site.all_statuses() == ["failed"]

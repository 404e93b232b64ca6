"""Where Argo CD delivers, what fails or is cancelled leaves as little as with Helm: the environment is what it was before, in Git, too."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prefect.states import Cancelled, Pending

from flows.naming import release_name
from flows.release import release
from flows.rollback import rollback
from flows.sweep import sweep
from sandbox import models
from sandbox.argocd.controller import ApplicationController
from tests.flows.conftest import Site
from tests.flows.following import Followed, followed_by_argo
from tests.flows.processes import executed, until
from tests.flows.test_doctor import doctor

WRONG = models.Knowledge().but(France="Lyon")


@pytest.fixture
def followed(site: Site, argo: ApplicationController, tmp_path: Path) -> Iterator[Followed]:
    with followed_by_argo(site, tmp_path, "development") as followed:
        yield followed


def subjects(followed: Followed, number: int) -> list[str]:
    """The newest commits, without the model's name."""
    return [message.splitlines()[0].partition(": ")[2].rpartition(" ")[0] for _, message in followed.repository.log()[:number]]


def in_argo(followed: Followed) -> tuple[str, str, list[str]]:
    """How far Argo CD is: its word, the commit, and what it has on the cluster."""
    status = followed.applications["development"].read()["status"]
    return status["sync"]["status"], status["sync"]["revision"], [each["kind"] for each in status["resources"]]


def test_what_fails_goes_away_or_back_and_git_says_so(site: Site, followed: Followed) -> None:
    # when a first release fails, then Git says that nothing is released, and nothing of it is left on the cluster
    site.publish(knowledge=WRONG)
    ended = site.release()
    assert ended.name == "Failed"
    assert "Nothing served there before: what failed was removed." in str(ended.message)
    assert subjects(followed, 2) == ["remove candidate", "promote candidate"]
    assert followed.read("release.yaml")["candidate"] is None
    assert in_argo(followed) == ("Synced", followed.repository.head, [])
    until(lambda: site.pods() == ())
    assert site.statuses() == {"development": "failed"}

    # when the next one is good, then it serves where the other one was
    site.publish(knowledge=models.Knowledge())
    ended = site.release()
    assert ended.is_completed(), ended.message
    with site.registry() as registry:
        serving = registry.current(site.model, "development")
    assert serving is not None

    # when one fails after that, then Git and the environment go back by themselves
    site.publish(knowledge=WRONG.but(Japan="Kyoto"))
    run = site.start(release, model=site.model, environments=["development"])
    ended = site.leg(release, run)
    assert ended.name == "Failed"
    assert f"development went back to candidate {(serving.fingerprint or '')[:12]}" in str(ended.message)
    assert subjects(followed, 3) == ["back to candidate", "promote candidate", "promote candidate"]
    assert site.ask("The capital of Japan is") == " Tokyo."
    with site.registry() as registry:
        current = registry.current(site.model, "development")
    assert current is not None
    assert (current.fingerprint, current.status, current.git_commit) == (serving.fingerprint, "ready", followed.repository.head)
    assert followed.read("release.yaml")["candidate"]["fingerprint"] == serving.fingerprint
    assert doctor(site) == {}

    # when somebody takes an emergency into their own hands, then the doctor shows what that has left, and leaves it to people
    application = followed.applications["development"]
    application.patch({"spec": {"syncPolicy": {"automated": None}}})
    (left,) = doctor(site, "--fix").values()
    assert (left["kind"], left["fixable"]) == ("drift-application", False)
    assert "set its spec.syncPolicy.automated" in left["sentence"]
    assert left["command"].startswith(f"kubectl edit application -n argocd {application.name}")


def test_what_a_cancelled_run_committed_goes_away_or_back(site: Site, followed: Followed) -> None:
    rollback.to_deployment("rollback").apply()  # type: ignore[union-attr]
    # given a first release that waits for its pods, when it is cancelled, then nothing of it is left
    site.world.engine_faults.set(site.model, start_delay_seconds=60)
    run = site.start(release, model=site.model, environments=["development"])
    with ThreadPoolExecutor(1) as beside:
        leg = beside.submit(contextvars.copy_context().run, site.leg, release, run)
        until(lambda: bool(site.pods()))
        site.client.set_flow_run_state(run.id, Cancelled(), force=True)
        assert site.run(sweep).is_completed()
        until(lambda: site.pods() == ())
        leg.result(150)
    assert [event.kind for event in site.events(run)] == ["deploying", "cleaning_up", "failed", "cleaned_up"]
    left = next(str(event.detail["left"]) for event in site.events(run) if event.kind == "cleaned_up")
    application = release_name(site.model, "development")
    assert left == f"Nothing was ever verified there; what Argo CD Application {application} had deployed was removed."
    assert in_argo(followed) == ("Synced", followed.repository.head, [])

    # given one that serves, when the next one is cancelled in its rollout, then a run of its own goes back
    site.world.engine_faults.clear()
    assert site.release().is_completed()
    serves = {pod.labels["slipway.dev/candidate"] for pod in site.pods()}
    site.publish(seed=1)
    site.world.engine_faults.set(site.model, start_delay_seconds=60)
    run = site.start(release, model=site.model, environments=["development"])
    site.client.set_flow_run_state(run.id, Pending())
    with executed(run) as process:
        until(lambda: {pod.labels["slipway.dev/candidate"] for pod in site.pods()} - serves != set(), process)
        process.kill()
        process.wait()
    site.client.set_flow_run_state(run.id, Cancelled(), force=True)
    assert site.run(sweep).is_completed()
    site.world.engine_faults.clear()
    (back,) = [each for each in site.client.read_flow_runs() if each.parameters.get("reason", "").startswith(str(run.id))]
    ended = site.leg(rollback, back)
    assert ended.is_completed(), ended.message
    assert subjects(followed, 4) == ["back to candidate", "promote candidate", "promote candidate", "remove candidate"]
    assert {pod.labels["slipway.dev/candidate"] for pod in site.pods() if pod.ready} == serves
    assert sorted(site.all_statuses()) == ["failed", "ready"]

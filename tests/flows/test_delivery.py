"""The same release, whoever delivers it: two candidates after each other, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.release import release
from flows.revalidate import revalidate
from flows.rollback import rollback
from sandbox import models
from sandbox.argocd.controller import ApplicationController
from tests.flows.conftest import Site
from tests.flows.following import Followed, followed_by_argo

BACK = {"environment": "development", "reason": "answers are cut off", "actor": "on-call"}


@pytest.fixture(params=["helm", "argocd"])
def followed(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[Followed | None]:
    """The repository that Argo CD follows; none where the flow runs Helm."""
    if request.param == "helm":
        yield None
        return
    request.getfixturevalue("argo")
    with followed_by_argo(site, tmp_path, "development") as followed:
        yield followed


def test_it_goes_back_to_the_previous_candidate_without_fetching_a_byte(site: Site, followed: Followed | None) -> None:
    # given two releases, of which the second knows one more thing
    fingerprints = []
    for knowledge in (models.Knowledge(), models.Knowledge().but(Japan="Kyoto")):
        site.publish(knowledge=knowledge)
        ended = site.release()
        assert ended.is_completed(), ended.message
        with site.registry() as registry:
            current = registry.current(site.model, "development")
        assert current is not None
        assert current.fingerprint is not None
        fingerprints.append(current.fingerprint)
    first, second = fingerprints
    assert site.ask("The capital of Japan is") == " Kyoto."
    site.world.hub.requests.clear()

    # when the second is rolled back
    ended = site.run(rollback, model=site.model, **BACK)

    # then the first answers again, without a byte from the hub, and the record says who wanted it
    assert ended.is_completed(), ended.message
    assert site.ask("The capital of Japan is") == " Tokyo."
    assert len(site.world.hub.requests) == 0
    with site.registry() as registry:
        by_fingerprint = {entry.fingerprint: entry.status for entry in registry.entries(model=site.model)}
        current = registry.current(site.model, "development")
        event = next(event for event in registry.events.latest(model=site.model) if event.kind == "rolled_back")
    assert by_fingerprint == {first: "ready", second: "disabled"}
    assert (event.actor, event.detail["reason"], event.fingerprint) == ("on-call", "answers are cut off", first)
    assert event.detail["seconds"] < 300
    # and how it got there
    assert current is not None
    if followed is None:
        assert (current.helm_revision, current.git_commit) == (3, None)
        return
    assert (current.helm_revision, current.git_commit) == (None, followed.repository.head)
    assert followed.applications["development"].read()["status"]["sync"]["revision"] == followed.repository.head
    assert site.run(revalidate, scrub=False).is_completed()
    back, then, once, *_ = followed.repository.log()
    subjects = [message.splitlines()[0] for _, message in (back, then, once)]
    assert subjects == [
        f"{site.model} in development: {what}"
        for what in (f"back to candidate {first[:12]}", f"promote candidate {second[:12]}", f"promote candidate {first[:12]}")
    ]
    assert "answers are cut off" in back[1]
    assert "Requested-by: on-call" in back[1]
    assert {**followed.read("values.yaml", commit=once[0]), "rollout": {}} == {**followed.read("values.yaml"), "rollout": {}}

    # and what somebody changes in Git is found at night, and shown
    chart = f"{followed.folder()}/chart/README.md"
    followed.repository.commit({chart: followed.repository.read(chart) + "Better.\n"})
    night = site.run(revalidate, scrub=False)
    assert night.name == "Failed"
    assert night.message is not None
    assert f"Somebody changed {site.model} in development in Git since commit {back[0][:12]}" in night.message
    with site.registry() as registry:
        drifted = next(event for event in registry.events.latest(model=site.model) if event.kind == "drifted")
        current = registry.current(site.model, "development")
    (found,) = drifted.detail["found"]  # type: ignore[misc]
    assert (found["kind"], found["difference"]) == ("git", [f"+++ b/{chart}", "+Better."])
    assert current is not None
    assert current.status == "ready"  # it answers as it should: drift takes nothing out


def test_production_is_synced_when_the_approved_release_asks_and_what_is_refused_leaves_it_alone(
    site: Site, argo: ApplicationController, tmp_path: Path
) -> None:
    site.only_production()
    with followed_by_argo(site, tmp_path, "production") as followed:
        before = followed.repository.log()

        # given a release that waits for its approval, then Git says nothing yet
        run = site.start(release, model=site.model, environments=["production"])
        assert site.leg(release, run).name == "Suspended"
        assert followed.repository.log() == before

        # when it is approved
        assert site.sign(run) == "ACCEPT"
        ended = site.leg(release, run)

        # then Argo CD was asked for that very commit in the name of the requester, and Git says who approved it
        assert ended.is_completed(), ended.message
        (sha, message), *rest = followed.repository.log()
        assert rest == before
        assert message.splitlines()[-2:] == ["Requested-by: zoe", f"Approved-by: {site.approver('ada')}"]
        assert [one["approver"] for one in followed.read("release.yaml", "production")["approvals"]] == [site.approver("ada")]
        application = followed.applications["production"].read()
        assert "automated" not in application["spec"]["syncPolicy"]
        state = application["status"]["operationState"]
        assert state["operation"]["initiatedBy"] == {"username": "zoe"}
        assert (state["operation"]["sync"]["revision"], state["operation"]["sync"]["prune"]) == (sha, True)

        # when the branch is protected, the next release is refused with one sentence, and what serves is left alone
        followed.repository.protect("main")
        site.publish(knowledge=models.Knowledge().but(Japan="Kyoto"))
        pods = {pod.name for pod in site.pods("production")}
        run = site.start(release, model=site.model, environments=["production"])
        site.leg(release, run)
        site.sign(run, "bob")
        ended = site.leg(release, run)

        assert ended.name == "Errored"
        assert ended.message is not None
        assert "does not take a commit on main" in ended.message
        assert followed.repository.head == sha
        assert {pod.name for pod in site.pods("production")} == pods
        with site.registry() as registry:
            current = registry.current(site.model, "production")
        assert current is not None
        assert (current.status, current.git_commit) == ("ready", sha)
        assert site.ask("The capital of Japan is", "production") == " Tokyo."

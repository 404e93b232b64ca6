"""The gate before production: who gets through it, who does not, and what the record says of both."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Scheduled

from blocks.helm import Helm
from flows.approval.tasks.requests import formless_runs
from flows.release import release
from flows.spec.load import ROOT
from flows.sweep import sweep
from tests.flows.conftest import Site
from tests.flows.registries import another_registry
from tests.support.moments import moments


@pytest.fixture
def waiting(site: Site) -> FlowRun:
    """A release that waits before production."""
    site.only_production()
    return begin(site)


def begin(site: Site, **parameters: str) -> FlowRun:
    run = site.start(release, model=site.model, environments=["production"], **parameters)
    assert site.leg(release, run).name == "Suspended"
    return run


def test_a_rejection_fails_the_run_and_leaves_production_alone(site: Site, waiting: FlowRun) -> None:
    # a rejection without a reason leads back to the form
    assert site.sign(waiting, decision="reject", reason="") == "ACCEPT"
    assert site.leg(release, waiting).name == "Suspended"
    assert "a rejection needs a reason" in site.form(waiting)

    assert site.sign(waiting, decision="reject", reason="not on a Friday") == "ACCEPT"
    ended = site.leg(release, waiting)

    assert (ended.name, ended.type.value) == ("Failed", "FAILED")
    assert ended.message is not None
    assert "not on a Friday" in ended.message
    assert site.statuses() == {}
    assert [(event.kind, event.actor) for event in site.events(waiting)] == [
        ("approval_requested", None),
        ("approval_refused", None),
        ("rejected", site.approver("ada")),
    ]


def test_everybody_who_may_not_is_refused_with_the_reason_and_recorded(site: Site, waiting: FlowRun) -> None:
    ada, code = site.approver("ada"), site.code("ada")
    yesterday = site.code("ada", -2 * 60 * 24)
    attempts = [
        ({"who": "ada", "approver": "mallory"}, "'mallory' is not an approver"),
        ({"who": "eve"}, "has none of the roles"),
        ({"who": "bob", "approver": ada}, "the one-time code is wrong"),  # somebody else's code
        ({"who": "ada", "code": yesterday}, "the one-time code is wrong"),
        ({"who": "ada", "code": "123"}, "the one-time code is wrong"),
    ]
    for answer, says in attempts:
        assert site.sign(waiting, **answer) == "ACCEPT"  # type: ignore[arg-type]
        assert site.leg(release, waiting).name == "Suspended"
        assert says in site.form(waiting)

    # then nothing was deployed, every attempt is on record under nobody's name, and no code is
    assert site.statuses() == {}
    refused = [event for event in site.events(waiting) if event.kind == "approval_refused"]
    assert [(event.actor, event.detail["claimed"]) for event in refused] == [
        (None, "mallory"),
        (None, site.approver("eve")),
        (None, ada),
        (None, ada),
        (None, ada),
    ]
    assert not any(digits in str(event.detail) for event in refused for digits in (code, yesterday))
    # and the right answer still gets through
    assert site.sign(waiting, "bob") == "ACCEPT"
    assert site.leg(release, waiting).is_completed()


def test_who_asked_for_the_release_may_not_approve_it(site: Site) -> None:
    site.only_production()
    run = begin(site, requester=site.approver("ada").upper())

    assert site.sign(run) == "ACCEPT"
    assert site.leg(release, run).name == "Suspended"

    assert "asked for this release" in site.form(run)
    assert site.statuses() == {}


def test_a_release_that_nobody_asks_for_is_refused(site: Site) -> None:
    ended = site.run(release, model=site.model, environments=["production"], requester="")

    assert ended.name == "Failed"
    assert "requester: say who asks" in str(ended.message)


def test_a_code_that_was_used_for_one_release_is_none_for_another(site: Site, waiting: FlowRun) -> None:
    other = begin(site)
    code = site.code("ada")

    assert site.sign(waiting, decision="reject", code=code) == "ACCEPT"
    assert site.leg(release, waiting).name == "Failed"
    assert site.sign(other, code=code) == "ACCEPT"
    assert site.leg(release, other).name == "Suspended"

    assert "used before" in site.form(other)


def test_two_people_who_share_an_authenticator_are_one(site: Site) -> None:
    site.only_production()
    from blocks.authenticators import save_authenticator

    run = begin(site, requester=site.approver("bob"))
    save_authenticator(site.approver("bob"), site.secrets[site.approver("ada")])

    assert site.sign(run) == "ACCEPT"
    assert site.leg(release, run).name == "Suspended"

    assert "share one authenticator" in site.form(run)


def test_forged_answers_by_the_api_do_not_get_through(site: Site, waiting: FlowRun) -> None:
    # no input, and fields that the form does not have, are refused by the server
    assert site.client.resume_flow_run(waiting.id).status.value == "REJECT"
    assert site.sign(waiting, actor="ada") == "REJECT"
    assert site.client.read_flow_run(waiting.id).state_name == "Suspended"

    # an answer that was planted beside the form wakes nobody; the sweep does, and then it counts for nothing
    keys = site.client.read_flow_run(waiting.id).state.state_details.run_input_keyset  # type: ignore[union-attr]
    planted = '{"decision": "approve", "approver": "' + site.approver("ada") + '", "code": "000000", "reason": ""}'
    site.client.create_flow_run_input(waiting.id, keys["response"], planted)  # type: ignore[index]
    assert site.run(sweep).is_completed()
    assert site.leg(release, waiting).name == "Suspended"
    assert "the one-time code is wrong" in site.form(waiting)

    # what is no form at all neither, also where others lie beside it under keys that begin the same, for this round and for those to come
    keys = site.client.read_flow_run(waiting.id).state.state_details.run_input_keyset  # type: ignore[union-attr]
    rounds = keys["response"].rpartition("-2-")  # type: ignore[index]
    assert rounds[1]
    forged = ['["approve"]', "[" * 5000, '{"decision": "approve", "approver": "mallory"}', '{"<b>": NaN}', "9" * 5000]
    for number, value in enumerate(forged, 2):
        key = f"{rounds[0]}-{number}-{rounds[2]}"
        site.client.create_flow_run_input(waiting.id, f"{key}-0", "{}", sender="beside")
        site.client.create_flow_run_input(waiting.id, key, value, sender="prefect.flow-run.other")
    # and a name that no database keeps
    nul = '{"decision": "approve", "approver": "ada\\u0000\\u001b[2J", "code": "000000", "reason": ""}'
    site.client.create_flow_run_input(waiting.id, f"{rounds[0]}-{len(forged) + 2}-{rounds[2]}", nul)
    assert site.run(sweep).is_completed()
    assert site.leg(release, waiting).name == "Suspended"
    assert "is not an approver" in site.form(waiting)
    assert site.statuses() == {}
    # and a person can still decide, and all of it is on record
    assert site.sign(waiting) == "ACCEPT"
    assert site.leg(release, waiting).is_completed()
    refused = [event.detail for event in site.events(waiting) if event.kind == "approval_refused"]
    assert [(detail["claimed"], detail.get("sender")) for detail in refused[1:]] == [
        ("", "prefect.flow-run.other"),
        ("", "prefect.flow-run.other"),
        ("mallory", "prefect.flow-run.other"),
        ("", "prefect.flow-run.other"),
        ("", "prefect.flow-run.other"),
        ("ada\u2400\x1b[2J", None),
    ]
    (granted,) = [event.detail["answers"] for event in site.events(waiting) if event.kind == "approval_granted"]
    assert granted == {
        "given": 8,
        "refused": 7,
        "malformed": 5,
        "problems": {
            "the form was not filled in right (it has not the form's fields)": 1,
            "the form was not filled in right (it is not JSON)": 3,
            "the form was not filled in right (code)": 1,
        },
    }


def test_what_is_no_answer_to_its_question_leads_back_to_the_form_and_two_answers_at_once_are_one(site: Site, waiting: FlowRun) -> None:
    # when somebody pushes the run on by the API, past the form
    site.client.set_flow_run_state(waiting.id, Scheduled(), force=True)

    # then it waits again, and nothing was deployed
    assert site.leg(release, waiting).name == "Suspended"
    assert site.statuses() == {}

    # given that Prefect suspended it, whose process was killed before the form was there: nobody can answer
    keys = site.client.read_flow_run(waiting.id).state.state_details.run_input_keyset  # type: ignore[union-attr]
    assert keys is not None
    for kind in ("schema", "description"):
        site.client.delete_flow_run_input(waiting.id, keys[kind])
    assert site.sign(waiting, "eve") != "ACCEPT"

    # when the sweep comes by, soon: it may only be about to be kept
    assert site.run(sweep).is_completed()
    assert site.client.read_flow_run(waiting.id).state.is_paused()  # type: ignore[union-attr]
    # and that of another registry on the same Prefect, which leaves it alone
    assert formless_runs(another_registry(site), 0) == []
    # and its own, later
    assert site.run(sweep, form_seconds=0).is_completed()

    # then it is asked again
    assert site.leg(release, waiting).name == "Suspended"
    assert "Release" in site.form(waiting)

    # when the policy changes after an answer, then that was to another question
    assert site.sign(waiting, "bob") == "ACCEPT"
    site.only_production(approvals=1, approval_hours=12)
    assert site.leg(release, waiting).name == "Suspended"
    assert site.statuses() == {}
    before = [event.kind for event in site.events(waiting)].count("approved")

    # when it is answered twice at once, then that is one answer, which gets through
    said: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        # A server on SQLite may turn both writers away; Prefect's own client would come again when the code is long out of date.
        while "ACCEPT" not in said:
            answer = {"decision": "approve", "approver": site.approver("ada"), "code": site.code("ada"), "reason": ""}
            said = list(pool.map(lambda _: site.resume_once(waiting, **answer), range(2)))  # noqa: B023  # consumed in this round
    assert said.count("ACCEPT") == 1
    assert site.leg(release, waiting).is_completed()
    assert [event.kind for event in site.events(waiting)].count("approved") == before + 1


def test_the_second_approver_sees_the_first(site: Site) -> None:
    site.only_production(approvals=2)
    run = begin(site)

    assert site.sign(run, reason="latency is fine") == "ACCEPT"
    assert site.leg(release, run).name == "Suspended"
    form = site.form(run)
    assert f"{site.approver('ada')} approved" in form
    assert "latency is fine" in form
    assert "1 of 2 approvals" in form
    # the first one again does not count
    assert site.sign(run) == "ACCEPT"
    assert site.leg(release, run).name == "Suspended"
    assert "has approved already" in site.form(run)

    # nor does what the first said, if it is nobody's by the time that the second agrees
    people = (site.deployments / "approvers.yaml").read_text()
    site.edit("approvers.yaml", approvers=[each for each in yaml.safe_load(people)["approvers"] if each["name"] != site.approver("ada")])
    assert site.sign(run, "bob") == "ACCEPT"
    assert site.leg(release, run).name == "Suspended"
    assert "does not count any longer" in site.form(run)
    (lapsed,) = [event.detail for event in site.events(run) if event.kind == "approval_lapsed"]
    assert lapsed["lost"] == [{"approver": site.approver("ada"), "why": lapsed["why"]}]
    assert "is not an approver" in str(lapsed["why"])
    assert site.statuses() == {}

    # when that is taken back, then both count; and again not if it is lost between the grant and the first change there, or the deployment
    for moment in ("end end_gate", "end snapshots_to_keep"):
        (site.deployments / "approvers.yaml").write_text(people)
        site.client.set_flow_run_state(run.id, Scheduled(), force=True)
        with moments() as at:
            at.on[moment] = lambda: (site.deployments / "approvers.yaml").write_text("approvers: []")
            ended = site.leg(release, run)
        assert ended.name == "Failed"
        assert "may not enter production any longer, and nothing was changed there: 0 of 2 approvals count" in str(ended.message)
        assert site.pods("production") == ()
    (site.deployments / "approvers.yaml").write_text(people)
    site.client.set_flow_run_state(run.id, Scheduled(), force=True)
    assert site.leg(release, run).is_completed()
    granted = [event for event in site.events(run) if event.kind == "approval_granted"]
    assert granted[-1].detail["approvers"] == [site.approver("ada"), site.approver("bob")]


def test_an_approval_holds_when_its_run_is_retried_and_is_none_of_another_candidate(site: Site, waiting: FlowRun) -> None:
    # given two runs that wait, as the branch has moved on between them
    site.publish(seed=1)
    other = begin(site)
    assert site.form(other) != site.form(waiting)

    # when the first is approved and then stopped by a fault
    helm = site.client.read_block_document_by_name(site.blocks, "slipway-helm")
    broken = Helm(chart=ROOT / "charts" / "vllm-deployment", kubeconfig=site.world.cluster.kubeconfig, executable="/no/helm")
    assert site.sign(waiting) == "ACCEPT"
    broken.save(site.blocks, overwrite=True)
    assert site.leg(release, waiting).name == "Errored"

    # and the fault is mended and the run retried, as the Retry button does
    Helm(**helm.data).save(site.blocks, overwrite=True)
    site.client.set_flow_run_state(waiting.id, Scheduled(name="AwaitingRetry"), force=True)
    ended = site.leg(release, waiting)

    # then the approval still holds
    assert ended.is_completed(), ended.message
    assert [event.kind for event in site.events(waiting)].count("approved") == 1

    # and the second waits on
    site.client.set_flow_run_state(other.id, Scheduled(), force=True)  # it looks again, as when a code that is wrong was given
    assert site.leg(release, other).name == "Suspended"
    assert not [event for event in site.events(other) if event.kind == "approved"]


def test_an_approval_that_has_expired_is_asked_for_again(site: Site) -> None:
    site.only_production(approvals=2, approval_hours=1 / 3600)
    run = begin(site)
    assert site.sign(run) == "ACCEPT"
    assert site.leg(release, run).name == "Suspended"
    approved = next(event for event in site.events(run) if event.kind == "approved")
    wait_until_past(approved.occurred_at + timedelta(seconds=1))

    # the second one alone is not enough
    assert site.sign(run, "bob") == "ACCEPT"
    assert site.leg(release, run).name == "Suspended"

    assert [event.kind for event in site.events(run)] == ["approval_requested", "approved", "approved"]
    assert site.statuses() == {}


def test_a_request_that_nobody_answers_ends_as_failed(site: Site) -> None:
    site.only_production(request_hours=0.5 / 3600)
    run = begin(site)
    requested = site.events(run)[0]
    wait_until_past(requested.occurred_at + timedelta(seconds=0.5))

    assert site.run(sweep).is_completed()
    ended = site.leg(release, run)

    assert ended.name == "Failed"
    assert "Nobody decided on" in str(ended.message)
    assert [event.kind for event in site.events(run)] == ["approval_requested", "approval_expired"]
    # and it is no longer listed as waiting
    with site.registry() as registry:
        assert registry.approvals.open_requests() == []


def test_a_cancelled_release_is_no_open_request(site: Site, waiting: FlowRun) -> None:
    site.client.set_flow_run_state(waiting.id, Cancelled(), force=True)

    assert site.run(sweep).is_completed()

    with site.registry() as registry:
        assert registry.approvals.open_requests() == []
    assert site.events(waiting)[-1].kind == "approval_void"
    assert "Cancelled" in str(site.events(waiting)[-1].detail["why"])
    assert site.statuses() == {}


ALWAYS = [{"begins": "* * * * *", "hours": 1, "reason": "end of the year"}]


def test_an_approved_release_waits_for_the_end_of_a_freeze(site: Site) -> None:
    site.only_production(freezes=ALWAYS)
    run = begin(site)
    assert "is frozen until" in site.form(run)

    assert site.sign(run) == "ACCEPT"
    assert site.leg(release, run).name == "Suspended"

    assert site.statuses() == {}
    assert "end of the year" in site.form(run)
    with site.registry() as registry:
        (request,) = registry.approvals.open_requests()
    assert request.frozen_until is not None
    assert request.frozen_until > datetime.now(UTC)


def test_an_emergency_passes_a_freeze_with_two_approvers_and_is_recorded_as_such(site: Site) -> None:
    site.only_production(freezes=ALWAYS)
    run = begin(site)

    assert site.sign(run, decision="approve-emergency", reason="it burns") == "ACCEPT"
    assert site.leg(release, run).name == "Suspended"
    assert "1 of 2 approvals" in site.form(run)
    assert site.sign(run, "bob", decision="approve-emergency", reason="I see the smoke") == "ACCEPT"
    assert site.leg(release, run).is_completed()

    granted = next(event for event in site.events(run) if event.kind == "approval_granted")
    assert granted.detail["emergency"] is True


def test_a_verdict_that_is_too_old_stops_a_release_as_does_staging_that_moved_on_while_the_run_waited(site: Site) -> None:
    approval = site.environment("production")["approval"]
    site.edit("environments/production.yaml", approval={**approval, "verdict_hours": 1e-6 / 3600})
    site.edit("environments/staging.yaml", after=None)
    ended = site.release("staging", "production")
    assert ended.name == "Failed"
    assert "last verified candidate" in str(ended.message)

    site.edit("environments/production.yaml", approval=approval)
    run = site.start(release, model=site.model, environments=["staging", "production"])
    assert site.leg(release, run).name == "Suspended"
    site.publish(seed=1)
    assert site.release("staging").is_completed()

    assert site.sign(run) == "ACCEPT"
    ended = site.leg(release, run)

    assert ended.name == "Failed"
    assert "staging serves candidate" in str(ended.message)
    assert "production" not in site.statuses()


def wait_until_past(moment: datetime) -> None:
    while datetime.now(UTC) <= moment:
        time.sleep(0.02)

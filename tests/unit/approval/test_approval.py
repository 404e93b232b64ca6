"""Who may approve what, and when enough people have."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.facts.registry import Event, OpenRequest
from flows.approval.expiry import WaitingRun, is_to_wake, request_step
from flows.approval.rules import Choice, changed, count_answers, requester_refusal, standing, subject_of, tally, why_not, why_shut
from flows.candidate.changes import changes, differences
from flows.spec import ApprovalPolicy, Approver, Approvers, CanaryStep, RolloutPolicy, Speculative
from tests.support.examples import about, candidate, environment, event
from tests.unit.canary.test_watch import CANARY

NOW = datetime(2026, 5, 17, 8, 30, tzinfo=UTC)
POLICY = ApprovalPolicy(required=True)
PRODUCTION = environment(name="production", approval=POLICY)
PEOPLE = Approvers(
    approvers=(
        Approver(name="ada", roles=("release-manager",), environments=("production",), aliases=("ada@example.com",)),
        Approver(name="bob", roles=("release-manager",), environments=("production",)),
        Approver(name="eve", roles=("developer",), environments=("production",)),
        Approver(name="sam", roles=("release-manager",), environments=("staging",)),
    )
)


def approved(actor: str, hours_ago: float = 0, **detail: Any) -> Event:
    return event("approved", actor=actor, occurred_at=NOW - timedelta(hours=hours_ago), detail=detail)


def refusal(name: str, choice: Choice = "approve", reason: str = "", requester: str = "zoe", *before: Event, **policy: Any) -> str | None:
    where = replace(PRODUCTION, approval=replace(POLICY, **policy))
    return why_not(name, choice, reason, where, PEOPLE, requester, before)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (("mallory",), "'mallory' is not an approver"),
        (("ADA",), "'ADA' is not an approver"),
        (("ada@example.com",), "is not an approver"),
        (("sam",), "sam may not approve for production"),
        (("eve",), "eve has none of the roles"),
        (("ada", "reject"), "a rejection needs a reason"),
        (("ada", "approve-emergency"), "an emergency approval needs a reason"),
        (("ada", "approve", "", "ada"), "ada asked for this release"),
        (("ada", "approve", "", " Ada@Example.com "), "ada asked for this release"),
        (("ada", "approve", "", "ａｄａ"), "ada asked for this release"),
        (("ada", "approve", "", "zoe", approved("ada")), "ada has approved already"),
    ],
)
def test_who_may_not(answer: tuple[Any, ...], says: str) -> None:
    assert says in str(refusal(*answer))


@pytest.mark.parametrize(
    "answer",
    [
        ("ada",),
        ("ada", "reject", "not on a Friday"),
        ("ada", "reject", "my own", "ada"),
        ("ada", "approve", "", "zoe", approved("bob")),
        ("ada", "approve-emergency", "it burns", "zoe", approved("ada")),
    ],
    ids=["approver", "rejects", "rejects an own request", "second approver", "makes it an emergency"],
)
def test_who_may_if_the_code_is_right(answer: tuple[Any, ...]) -> None:
    assert refusal(*answer) is None


def test_a_policy_may_let_the_requester_approve() -> None:
    assert refusal("ada", "approve", "", "ada", requester_may_approve=True) is None


def test_a_release_must_say_who_asks_for_it() -> None:
    assert "requester" in str(requester_refusal(" ", [environment(), PRODUCTION]))
    assert requester_refusal("zoe", [PRODUCTION]) is None
    assert requester_refusal("", [environment()]) is None
    asked = RolloutPolicy(strategy="canary", steps=(CanaryStep(weight=5, minutes=1), CanaryStep(weight=100, approval=True)))
    assert "requester" in str(requester_refusal("", [environment(rollout=asked)]))
    assert requester_refusal("", [replace(PRODUCTION, approval=replace(POLICY, requester_may_approve=True))]) is None


@pytest.mark.parametrize(
    ("answers", "policy", "granted", "emergency"),
    [
        ([], {}, False, False),
        ([approved("ada")], {}, True, False),
        ([approved("ada")], {"approvals": 2}, False, False),
        ([approved("ada"), approved("ada")], {"approvals": 2}, False, False),
        ([approved("ada"), approved("bob")], {"approvals": 2}, True, False),
        ([approved("ada", 25)], {}, False, False),
        ([approved("ada", 25)], {"approval_hours": 48.0}, True, False),
        ([approved("ada"), event("rejected", actor="bob", occurred_at=NOW)], {}, False, False),
        ([event("approval_refused", occurred_at=NOW, detail={"claimed": "ada"})], {}, False, False),
        ([approved("ada", emergency=True)], {}, False, True),
        ([approved("ada", emergency=True), approved("bob", emergency=True)], {}, True, True),
        ([approved("ada"), approved("bob", emergency=True)], {}, True, False),
        ([approved("ada", 1), approved("ada", emergency=True), approved("bob", emergency=True)], {}, True, True),
    ],
)
def test_when_enough_have_approved(answers: list[Event], policy: dict[str, Any], granted: bool, emergency: bool) -> None:
    seen = tally(answers, replace(POLICY, **policy), NOW)

    assert (seen.granted, seen.emergency) == (granted, emergency)


def people(**changes: Any) -> Approvers:
    """The approvers, `ada` changed; without her if there is nothing to change her to."""
    ada, *others = PEOPLE.approvers
    return Approvers(approvers=(*([replace(ada, **changes)] if changes else []), *others))


@pytest.mark.parametrize(
    ("now", "requester", "why"),
    [
        (people(), "zoe", "'ada' is not an approver"),
        (people(roles=("developer",)), "zoe", "ada has none of the roles"),
        (people(environments=("staging",)), "zoe", "ada may not approve for production"),
        (people(aliases=("zoe@example.com",)), "zoe@example.com", "ada asked for this release"),
    ],
    ids=["removed", "role lost", "environment lost", "found to be the requester"],
)
def test_an_approval_does_not_outlive_the_right_to_give_it(now: Approvers, requester: str, why: str) -> None:
    two = replace(PRODUCTION, approval=replace(POLICY, approvals=2))
    answers = [approved("ada", 1), approved("bob")]
    assert why_shut(standing(answers, two, PEOPLE, "zoe", NOW), None) is None

    seen = standing(answers, two, now, requester, NOW)

    assert list(seen.lost) == ["ada"]
    assert why in seen.lost["ada"]
    assert [answer.actor for answer in seen.tally.approvals] == ["bob"]
    assert str(why_shut(seen, None)) == f"1 of 2 approvals count; {seen.lost['ada']}"


def test_what_is_approved_is_shut_by_a_freeze_a_rejection_or_time() -> None:
    frozen = (NOW + timedelta(hours=1), "weekend")
    emergency = [approved("ada", emergency=True), approved("bob", emergency=True)]

    assert (
        why_shut(standing([approved("ada")], PRODUCTION, PEOPLE, "zoe", NOW), frozen) == "it is frozen until 2026-05-17 09:30 UTC (weekend)"
    )
    assert why_shut(standing(emergency, PRODUCTION, PEOPLE, "zoe", NOW), frozen) is None
    rejected = event("rejected", actor="bob", occurred_at=NOW, detail={"reason": "no"})
    assert why_shut(standing([approved("ada"), rejected], PRODUCTION, people(), "zoe", NOW), None) == "bob rejected it: no"
    assert why_shut(standing([approved("ada", 25)], PRODUCTION, PEOPLE, "zoe", NOW), None) == "0 of 1 approvals count"


def test_what_was_approved_is_told_from_what_is_asked_now() -> None:
    before = subject_of(candidate(), PRODUCTION, "e" * 64, "zoe")

    assert changed(before, before) is None
    assert changed(before, replace(before, evidence_sha256="d" * 64)) == "the evidence, or what serves there"
    assert changed(before, replace(before, policy_sha256="d" * 64, requester="ada")) == "the approval policy and who asked for it"


def test_every_answer_is_counted() -> None:
    malformed = event("approval_refused", detail={"malformed": "it is not JSON", "why": "it is not JSON"})
    wrong = event("approval_refused", detail={"why": "the one-time code is wrong"})

    counted = count_answers([malformed, wrong, malformed, approved("ada")])

    assert (counted.given, counted.refused, counted.malformed, counted.problems) == (4, 3, 2, {"it is not JSON": 2})


def test_an_approval_is_bound_to_all_that_it_is_about() -> None:
    base = subject_of(candidate(), PRODUCTION, "e" * 64, "zoe")

    others = [
        subject_of(candidate(commit="f" * 40), PRODUCTION, "e" * 64, "zoe"),
        subject_of(candidate(), replace(PRODUCTION, name="canary"), "e" * 64, "zoe"),
        subject_of(candidate(), PRODUCTION, "d" * 64, "zoe"),
        subject_of(candidate(), replace(PRODUCTION, approval=replace(POLICY, approvals=2)), "e" * 64, "zoe"),
        subject_of(candidate(), PRODUCTION, "e" * 64, "ada"),
    ]
    assert len({base.gate, *(other.gate for other in others)}) == 6
    assert subject_of(candidate(), PRODUCTION, "e" * 64, "zoe").gate == base.gate


def test_what_changes_is_told_and_what_does_not_is_not() -> None:
    before = candidate()
    after = replace(before, commit="f" * 40, engine=replace(before.engine, max_model_len=512))

    found = {change.what: (change.now, change.new) for change in changes(before, after)}

    assert set(found) == {"hub revision", "engine.max_model_len"}
    assert found["engine.max_model_len"] == ("256", "512")
    assert changes(before, before) == ()
    assert changes(None, after) == ()

    guessing = replace(before, engine=replace(before.engine, speculative=Speculative(method="mtp", tokens=1)))
    (change,) = changes(before, guessing)
    assert (change.what, change.now, change.new) == ("engine.speculative", "none", "method=mtp tokens=1 lookup_min=2 lookup_max=4")


def test_all_that_differs_tells_what_was_read_of_the_model_too() -> None:
    before, after = candidate(about=about()), candidate(about=replace(about(), licences=("apache-2.0", "mit"), gated=False))

    assert changes(before, after) == ()  # what was approved is bound to these words
    assert [(change.what, change.new) for change in differences(before, after)] == [("licence", "apache-2.0, mit"), ("gated", "no")]
    assert {change.now for change in differences(candidate(), after)} == {"not known"}
    assert differences(None, after) == ()


def request(**changes: Any) -> OpenRequest:
    asked = event("approval_requested", occurred_at=NOW - timedelta(hours=1))
    return replace(OpenRequest(**vars(asked), frozen_until=None), **changes)


def run(**changes: Any) -> WaitingRun:
    return replace(WaitingRun(state="Suspended", final=False, suspended=True, since=NOW - timedelta(hours=1), answered=False), **changes)


@pytest.mark.parametrize(
    ("request_", "seen", "step"),
    [
        (request(), run(), "leave"),
        (request(occurred_at=NOW - timedelta(hours=73)), run(), "wake"),
        (request(occurred_at=NOW - timedelta(hours=73)), run(suspended=False, state="Running"), "leave"),
        (request(frozen_until=NOW + timedelta(minutes=1)), run(), "leave"),
        (request(frozen_until=NOW - timedelta(minutes=1)), run(), "wake"),
        (request(frozen_until=NOW - timedelta(minutes=1)), run(since=NOW), "leave"),
        (request(), run(answered=True), "wake"),
        (request(), run(final=True, suspended=False, state="Cancelled"), "void"),
        (request(), None, "void"),
    ],
    ids=["waits", "expired", "expired but awake", "frozen", "freeze over", "woken since", "planted answer", "cancelled", "gone"],
)
def test_what_the_sweep_does(request_: OpenRequest, seen: WaitingRun | None, step: str) -> None:
    assert request_step(request_, 72, seen, NOW) == step


@pytest.mark.parametrize(
    ("seen", "wished_at", "wakes"),
    [
        (run(), NOW, True),
        (run(), None, False),
        (run(since=NOW), NOW - timedelta(minutes=1), False),  # woken for it already
        (run(suspended=False, state="Running"), NOW, False),  # it looks by itself
        (None, NOW, False),
    ],
)
def test_a_run_that_waits_hears_that_its_canary_is_to_end(seen: WaitingRun | None, wished_at: datetime | None, wakes: bool) -> None:
    assert is_to_wake(replace(CANARY, wished_at=wished_at), seen) is wakes

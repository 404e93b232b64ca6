"""Nobody enters an environment but by people who may let it in, for the very thing that they were asked about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from blocks.errors import RegistryRejected
from blocks.facts.kinds import EventKind
from blocks.facts.registry import Event
from blocks.registry import Gate, RegistryClient
from flows.approval.form import Approval
from flows.approval.rules import changed, count_answers, standing, subject_of, why_not, why_shut
from flows.approval.totp import current_code, matching_step, new_secret
from flows.runtime.forms import Kept, read_answer
from flows.spec import ApprovalPolicy, Approver, Approvers
from tests.attack.case import attacks
from tests.attack.shared import Shared
from tests.support.examples import candidate, environment, event

NOW = datetime(2026, 5, 17, 8, 30, tzinfo=UTC)
TWO = environment(name="production", approval=ApprovalPolicy(required=True, approvals=2))
ADA = Approver(name="ada", roles=("release-manager",), environments=("production",), aliases=("ada@example.com",))
BOB = replace(ADA, name="bob", aliases=())
GATE = Gate(run_id="run-1", name="production-abc", model="tiny", environment="production", fingerprint="f" * 64)


def approved(actor: str, hours_ago: float = 0, **detail: Any) -> Event:
    return event("approved", actor=actor, occurred_at=NOW - timedelta(hours=hours_ago), detail=detail)


def shut(answers: list[Event], *people: Approver, requester: str = "zoe", where: Any = TWO, frozen: Any = None) -> str | None:
    return why_shut(standing(answers, where, Approvers(approvers=people), requester, NOW), frozen)


@attacks("an approval does not outlive the right to give it: person, role, environment, or being somebody else than the requester")
def rights_that_were_lost() -> None:
    both = [approved("ada", 1), approved("bob")]
    assert shut(both, ADA, BOB) is None
    assert shut(both, BOB), "ada was removed"
    assert shut(both, replace(ADA, roles=("developer",)), BOB), "ada lost the role"
    assert shut(both, replace(ADA, environments=("staging",)), BOB), "ada lost the environment"
    assert shut(both, replace(ADA, aliases=("zoe",)), BOB), "ada is the requester"
    assert shut(both, ADA, BOB, requester=" ADA@Example.com "), "ada is the requester by an alias"
    assert shut(both), "nobody is an approver any longer"


@attacks("neither one person twice, nor who approved too long ago, nor a rejection that was overruled opens a gate")
def counting() -> None:
    for answers in (
        [approved("ada"), approved("ada")],
        [approved("ada", 25), approved("bob")],
        [approved("ada"), approved("bob"), event("rejected", actor="ada", occurred_at=NOW, detail={"reason": "no"})],
        [event("approval_refused", occurred_at=NOW, detail={"claimed": "ada"}), approved("bob")],
        [approved("ada", emergency=True)],
    ):
        assert shut(answers, ADA, BOB), [(each.kind, each.actor) for each in answers]


@attacks("a freeze shuts an approved gate, but for an emergency that all approvers declared")
def freezes() -> None:
    frozen = (NOW + timedelta(hours=1), "weekend")
    assert shut([approved("ada"), approved("bob")], ADA, BOB, frozen=frozen)
    assert shut([approved("ada", emergency=True), approved("bob")], ADA, BOB, frozen=frozen)
    assert shut([approved("ada", emergency=True), approved("bob", emergency=True)], ADA, BOB, frozen=frozen) is None


@attacks("an approval is for one candidate, environment, evidence, policy and requester, and for no other")
def another_question() -> None:
    before = subject_of(candidate(), TWO, "e" * 64, "zoe")
    for now in (
        subject_of(candidate(commit="f" * 40), TWO, "e" * 64, "zoe"),
        subject_of(candidate(), replace(TWO, name="canary"), "e" * 64, "zoe"),
        subject_of(candidate(), TWO, "d" * 64, "zoe"),
        subject_of(candidate(), replace(TWO, approval=replace(TWO.approval, approvals=1)), "e" * 64, "zoe"),
        subject_of(candidate(), TWO, "e" * 64, "ada"),
    ):
        assert changed(before, now), now
        assert before.gate != now.gate, now


@attacks("a name that only looks like an approver's is nobody's")
def names() -> None:
    people = Approvers(approvers=(ADA, BOB))
    for name in ("ADA", "ada ", "аda", "ada\0", "ada@example.com", "../ada", "", "\ud800", "a" * 10_000):
        assert why_not(name, "approve", "", TWO, people, "zoe", []), repr(name)[:40]


@attacks("what is no filled-in form is an answer that was not accepted, whatever it is, and every one of them is counted")
def malformed_answers() -> None:
    forged = (
        "", "null", "[]", '"approve"', "[" * 100_000, "9" * 5000, "1e400", "NaN", '{"decision": NaN}', "{}", '{"decision": "approve"}',
        '{"decision": "approve", "approver": 7, "code": "1", "reason": ""}', '{"decision": "sure", "approver": "ada", "code": "1"}',
        '{"decision": "approve", "approver": "ada", "code": "' + "1" * 100 + '"}',
        '{"decision": "approve", "approver": "\\ud800a", "code": "1"}',
        '{"<script>": 1}', '{"a": "' + "x" * 100_000 + '"}',
    )  # fmt: skip
    seen = []
    for text in forged:
        given = read_answer(Approval, Kept(at=NOW, value=text, sender="prefect.flow-run.other"))
        assert given.answer is None, text[:60]
        assert len(given.problem) < 200, text[:60]
        assert "script" not in given.problem, text[:60]
        assert given.sender, text[:60]
        seen.append(event("approval_refused", detail={"malformed": given.problem}))
    counted = count_answers(seen)
    assert (counted.given, counted.malformed, sum(counted.problems.values())) == (len(forged),) * 3


@attacks("a code works once, in its time, and for the one whose it is")
def codes(shared: Shared) -> None:
    registry, secret = shared.registry(), new_secret()
    code = current_code(secret, NOW)
    step = matching_step(secret, code, NOW)
    assert matching_step(secret, code, NOW + timedelta(minutes=5)) is None, "it is accepted for ever"
    assert matching_step(new_secret(), code, NOW) is None or step is None, "it is anybody's"
    for odd in ("", "12345", "1234567", "１２３４５６", "12345a", "\0" * 6, "-12345"):
        assert matching_step(secret, odd, NOW) is None, odd
    assert answer(registry, 1, step).kind == EventKind.APPROVED
    for again in (2, 3):
        refused = answer(registry, again, step, gate=replace(GATE, run_id=f"run-{again}"))
        assert refused.kind == EventKind.APPROVAL_REFUSED, "the code worked again"
        assert refused.actor is None, "the record names somebody who proved nothing"


@attacks("five wrong codes in a row lock an approver out, and a NUL in a name ends nothing")
def wrong_codes(shared: Shared) -> None:
    registry = shared.registry()
    odd = answer(registry, 1, None, approver="ada\0\ud800", refusal="'ada\0' is not an approver")
    assert odd.kind == EventKind.APPROVAL_REFUSED
    for number in range(2, 7):
        assert answer(registry, number, None).kind == EventKind.APPROVAL_REFUSED
    assert "locked out" in str(answer(registry, 7, 100).detail["why"])


@attacks("an approval cannot be put on record past the code")
def forged_approval(shared: Shared) -> None:
    registry = shared.registry()
    try:
        registry.approvals.answer(
            GATE, 1, kind=EventKind.APPROVED, approver="ada", refusal=None, code_step=None, detail={"round": 99, "gate": "other"}, at=NOW
        )
    except RegistryRejected:
        return
    kinds = [each.kind for each in registry.approvals.events(GATE.run_id, GATE.name)]
    assert kinds == [EventKind.APPROVAL_REFUSED], kinds


def answer(registry: RegistryClient, number: int, step: int | None, gate: Gate = GATE, **changes: Any) -> Event:
    given: dict[str, Any] = {"kind": EventKind.APPROVED, "approver": "ada", "refusal": None, "detail": {}, "at": NOW, **changes}
    return registry.approvals.answer(gate, number, code_step=step, **given).event

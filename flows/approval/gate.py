"""The gate before an environment that people must agree to: suspends the run until they have, and checks the record when it wakes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from blocks.facts.kinds import EventKind
from blocks.registry import Event, Gate, Registry
from flows.approval.form import Approval, approval_page, so_far
from flows.approval.freeze import frozen_until
from flows.approval.rules import Tally, expires_at, subject_of, tally
from flows.approval.tasks.gate import approve, end_gate, gate_events, gather_evidence, open_gate, record_answer, record_freeze
from flows.errors import ApprovalDenied, ApprovalExpired
from flows.runtime.forms import ask, given_to, was_opened
from flows.runtime.tasks import call, run
from flows.spec import Approvers, Candidate, Environment
from flows.verification.evidence import VerifiedEvidence

#: Forms that one gate opens at most: an answer that cannot be accepted opens the next one.
MAX_ROUNDS = 50


async def pass_gate(
    registry: Registry,
    candidate: Candidate,
    environment: Environment,
    proofs: dict[str, VerifiedEvidence],
    approvers: Approvers,
    requester: str,
    run_id: str,
) -> None:
    """Go on when enough people have approved this very candidate on this evidence under this policy, and no freeze is in the way.

    The gate goes by rounds. An answer that cannot be accepted opens the next form with the reason in its text; a form that was opened
    but never answered (the run was retried, or pushed on without an answer) is void. What counts is the registry's record, not that the
    run was resumed. Nothing that was decided is asked again, unless it has expired.

    Raises:
        ApprovalDenied: Somebody rejected, or no answer was acceptable in 50 rounds.
        ApprovalExpired: Nobody decided in time.
    """
    policy = environment.approval
    evidence = await call(gather_evidence, registry, candidate, environment, run_id)
    subject = subject_of(candidate, environment, evidence.sha256, requester)
    gate = Gate(run_id=run_id, name=subject.gate, model=candidate.model, environment=environment.name, fingerprint=candidate.fingerprint)
    opened = await call(open_gate, registry, gate, subject, policy.request_hours)
    # From the first time that people were asked, which may be several processes ago.
    deadline = expires_at(opened.occurred_at, policy)
    page = approval_page(candidate, environment, evidence, proofs, requester, deadline)
    answers = _answers(await call(gate_events, registry, gate))
    for number in range(1, MAX_ROUNDS + 1):
        # Judged and on record, by this process or one before it.
        if number in {event.detail.get("round") for event in answers}:
            continue
        seen = tally(answers, policy, _now())
        if await _is_through(registry, gate, environment, seen):
            await run(approve, candidate.model, environment.name, page + so_far(answers, seen, environment, _now()))
            return
        key = f"{gate.name}-{number}"
        given = await given_to(Approval, key)
        if given is None:
            # Void: Prefect suspends a run only once under one key, so nobody can answer this round any more.
            if await was_opened(key):
                continue
            # What is approved and waits for the end of a freeze does not expire.
            if not seen.granted and _now() > deadline:
                await call(end_gate, registry, gate, EventKind.APPROVAL_EXPIRED, {"request_hours": policy.request_hours})
                raise ApprovalExpired(
                    f"Nobody decided on {candidate.short} for {environment.name} in {policy.request_hours:g} hours; start a new release."
                )
            await ask(Approval, key, page + so_far(answers, seen, environment, _now()))
            given = await given_to(Approval, key)
            if given is None:
                continue
        # By when it was handed in: a worker that was away makes no answer late.
        late = given.at > deadline and not seen.granted
        answers.append(await call(record_answer, registry, gate, number, given, subject, environment, approvers, late))
    # The last round's answer may be the one that was missing.
    seen = tally(answers, policy, _now())
    if await _is_through(registry, gate, environment, seen):
        await run(approve, candidate.model, environment.name, page + so_far(answers, seen, environment, _now()))
        return
    await call(end_gate, registry, gate, EventKind.APPROVAL_VOID, {"why": f"no acceptable answer in {MAX_ROUNDS} rounds"})
    raise ApprovalDenied(f"The gate to {environment.name} got no acceptable answer in {MAX_ROUNDS} rounds; start a new release.")


async def _is_through(registry: Registry, gate: Gate, environment: Environment, seen: Tally) -> bool:
    if seen.rejection is not None:
        who, reason = seen.rejection.actor, seen.rejection.detail.get("reason")
        raise ApprovalDenied(f"{who} rejected {gate.fingerprint[:12]} for {gate.environment}: {reason}")
    if not seen.granted:
        return False
    frozen = frozen_until(environment.approval.freezes, _now())
    if frozen is not None and not seen.emergency:
        # Not through: the next round suspends the run, and the sweep wakes it when the freeze is over.
        await call(record_freeze, registry, gate, *frozen)
        return False
    detail: dict[str, Any] = {"approvers": [answer.actor for answer in seen.approvals], "emergency": seen.emergency}
    await call(end_gate, registry, gate, EventKind.APPROVAL_GRANTED, detail)
    return True


def _answers(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if "round" in event.detail]


def _now() -> datetime:
    return datetime.now(UTC)

"""The gate before what people must agree to, an environment or a canary's step: suspends the run until they have, and checks the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

from blocks.facts.kinds import EventKind
from blocks.registry import Event, Gate, Registry
from flows.approval.form import Approval, approval_page, so_far, step_page
from flows.approval.freeze import frozen_until
from flows.approval.rules import (
    ApprovalEvidence,
    Standing,
    Subject,
    changed,
    count_answers,
    expires_at,
    standing,
    subject_of,
    why_shut,
)
from flows.approval.tasks.gate import (
    approve,
    end_gate,
    gate_events,
    gather_evidence,
    open_gate,
    record_answer,
    record_freeze,
    record_lapsed,
)
from flows.canary.asked import StepAsked
from flows.errors import ApprovalDenied, ApprovalExpired, PromotionRefused
from flows.runtime.forms import ask, given_to, was_opened
from flows.runtime.tasks import call, run
from flows.spec import Candidate, Deployments, Environment
from flows.text.markdown import Markdown
from flows.verification.evidence import VerifiedEvidence


@dataclass(frozen=True, kw_only=True)
class Grant:
    """By what a run passed a gate.

    Attributes:
        gate: The gate.
        subject: What was approved there.
    """

    gate: Gate
    subject: Subject


@dataclass(frozen=True, kw_only=True)
class Request:
    """For what a release asks people.

    Attributes:
        registry: Where it is recorded.
        deployments: Where the approvers and the environment's policy are read anew whenever they count: a run lasts longer than a right.
        candidate: What is to enter the environment.
        environment: Where.
        requester: Who asked for the release.
        run_id: The release.
        entered_at: Since when the candidate is beside what serves there, as a canary of the same release; none if it is not yet there.
    """

    registry: Registry
    deployments: Deployments
    candidate: Candidate
    environment: Environment
    requester: str
    run_id: str
    entered_at: datetime | None = None

    @property
    def policy_now(self) -> Environment:
        """The environment with the approval policy that is in force now."""
        return replace(self.environment, approval=self.deployments.environment(self.environment.name).approval)

    async def subject_now(self, environment: Environment, step: StepAsked | None = None) -> tuple[ApprovalEvidence, Subject, Gate]:
        """What approving it means now, with the evidence and the gate of that; or what approving a step of its canary does."""
        candidate = self.candidate
        evidence = await call(gather_evidence, self.registry, candidate, environment, self.run_id, step.document() if step else None)
        subject = subject_of(candidate, environment, evidence.sha256, self.requester)
        gate = Gate(
            run_id=self.run_id, name=subject.gate, model=candidate.model, environment=environment.name, fingerprint=candidate.fingerprint
        )
        return evidence, subject, gate

    def standing(self, answers: Sequence[Event], environment: Environment) -> Standing:
        """Where the gate stands by the approvers of this moment; an approval to enter had to hold when the candidate entered."""
        return standing(answers, environment, self.deployments.approvers(), self.requester, self.entered_at or _now())


@dataclass(frozen=True, kw_only=True)
class _Question:
    """What people are asked: by which policy, what their answer is bound to, the page that they read, and the same in a few words."""

    environment: Environment
    subject: Subject
    gate: Gate
    page: Callable[[datetime], Markdown]
    what: str
    step: str = ""


async def pass_gate(asked: Request, proofs: dict[str, VerifiedEvidence]) -> Grant:
    """Go on when enough people have approved this very candidate on this evidence under this policy, and no freeze is in the way.

    Raises:
        ApprovalDenied: Somebody rejected.
        ApprovalExpired: Nobody decided in time.
    """
    environment = asked.policy_now
    evidence, subject, gate = await asked.subject_now(environment)

    def shown(deadline: datetime) -> Markdown:
        return approval_page(asked.candidate, environment, evidence, proofs, asked.requester, deadline)

    what = f"{asked.candidate.short} for {environment.name}"
    await _passed(asked, _Question(environment=environment, subject=subject, gate=gate, page=shown, what=what))
    return Grant(gate=gate, subject=subject)


async def pass_step(asked: Request, step: StepAsked) -> None:
    """Go on with a canary's step when enough people have approved it, by the same rules as those for entering the environment.

    The step, and what the judge has said by then, are part of the evidence: an answer to one step is none to another.

    Raises:
        ApprovalDenied: Somebody rejected.
        ApprovalExpired: Nobody decided in time.
    """
    # What is asked for now has to hold now, however long ago the candidate came there.
    asked = replace(asked, entered_at=None)
    environment = asked.policy_now
    evidence, subject, gate = await asked.subject_now(environment, step)

    def shown(deadline: datetime) -> Markdown:
        return step_page(asked.candidate, environment, evidence, step, asked.requester, deadline)

    what = f"{step.told} of {asked.candidate.short} in {environment.name}"
    await _passed(asked, _Question(environment=environment, subject=subject, gate=gate, page=shown, what=what, step=step.told))


async def _passed(asked: Request, question: _Question) -> None:
    """Go on when the gate is open.

    The gate goes by rounds. An answer that cannot be accepted opens the next form with the reason in its text; a form that was opened
    but never answered (the run was retried, or pushed on without an answer) is void. What counts is the registry's record, not that the
    run was resumed. Nothing that was decided is asked again, unless it has expired. There is no last round: whoever may write to Prefect
    may give as many answers as they like, and none of these ends a gate but a decision.

    Raises:
        ApprovalDenied: Somebody rejected.
        ApprovalExpired: Nobody decided in time.
    """
    registry, candidate, environment = asked.registry, asked.candidate, question.environment
    policy, subject, gate = environment.approval, question.subject, question.gate
    opened = await call(open_gate, registry, gate, subject, policy.request_hours, question.step)
    # From the first time that people were asked, which may be several processes ago.
    deadline = expires_at(opened.occurred_at, policy)
    page = question.page(deadline)
    answers = _answers(await call(gate_events, registry, gate))
    # Judged and on record, by this process or one before it.
    judged = {event.detail.get("round") for event in answers}
    for number in count(1):
        if number in judged:
            continue
        seen = asked.standing(answers, environment)
        if await _is_through(registry, question, seen, answers):
            await run(approve, candidate.model, environment.name, page + so_far(answers, seen.tally, environment, _now(), seen.lost))
            break
        key = f"{gate.name}-{number}"
        given = await given_to(Approval, key)
        if given is None:
            # Void: Prefect suspends a run only once under one key, so nobody can answer this round any more.
            if await was_opened(key):
                continue
            # What is approved and waits for the end of a freeze does not expire.
            if not seen.tally.granted and _now() > deadline:
                detail = {"request_hours": policy.request_hours, "answers": asdict(count_answers(answers))}
                await call(end_gate, registry, gate, EventKind.APPROVAL_EXPIRED, detail)
                raise ApprovalExpired(f"Nobody decided on {question.what} in {policy.request_hours:g} hours; start a new release.")
            await ask(Approval, key, page + so_far(answers, seen.tally, environment, _now(), seen.lost))
            given = await given_to(Approval, key)
            if given is None:
                continue
        # By when it was handed in: a worker that was away makes no answer late.
        late = given.at > deadline and not seen.tally.granted
        approvers = asked.deployments.approvers()
        answers.append(await call(record_answer, registry, gate, number, given, subject, environment, approvers, late))


async def require_approved(asked: Request, grant: Grant | None) -> None:
    """Make sure, right before something touches the environment, that it is still approved: by the rule that let the run pass its gate.

    Approvers, roles, freezes, the policy, and what serves there may all have changed since, and a prefetch may take hours.

    Args:
        asked: For what.
        grant: By what the run passed the gate; none if the environment asked for no approval then.

    Raises:
        PromotionRefused: It is not; the message and the record say why, and who lost which right.
    """
    environment = asked.policy_now
    if grant is None and not environment.approval.required:
        return
    _, subject, gate = await asked.subject_now(environment)
    lost: Mapping[str, str] = {}
    if grant is None:
        why: str | None = "its policy asks for approval now, which it did not when the release came there"
    elif (other := changed(grant.subject, subject)) is not None:
        why, gate = f"{other} is not what was approved", grant.gate
    else:
        seen = asked.standing(_answers(await call(gate_events, asked.registry, gate)), environment)
        why, lost = why_shut(seen, frozen_until(environment.approval.freezes, _now())), seen.lost
    if why is not None:
        await call(record_lapsed, asked.registry, gate, why, lost)
        raise PromotionRefused(
            f"{asked.candidate.short} may not enter {environment.name} any longer, and nothing was changed there: {why}. Retry the run, "
            "which asks anew, or start a new release."
        )


async def _is_through(registry: Registry, question: _Question, seen: Standing, answers: Sequence[Event]) -> bool:
    counted, gate = seen.tally, question.gate
    if counted.rejection is not None:
        who, reason = counted.rejection.actor, counted.rejection.detail.get("reason")
        raise ApprovalDenied(f"{who} rejected {question.what}: {reason}")
    if seen.lost:
        await call(record_lapsed, registry, gate, "; ".join(seen.lost.values()), seen.lost)
    if not counted.granted:
        return False
    frozen = frozen_until(question.environment.approval.freezes, _now())
    if frozen is not None and not counted.emergency:
        # Not through: the next round suspends the run, and the sweep wakes it when the freeze is over.
        await call(record_freeze, registry, gate, *frozen)
        return False
    detail: dict[str, Any] = {
        "approvers": [answer.actor for answer in counted.approvals],
        "emergency": counted.emergency,
        "answers": asdict(count_answers(answers)),
    }
    await call(end_gate, registry, gate, EventKind.APPROVAL_GRANTED, detail)
    return True


def _answers(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if "round" in event.detail]


def _now() -> datetime:
    return datetime.now(UTC)

"""Records a gate: that it was opened, what was answered, how it ended. Each call may be repeated, and says each thing to others once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Literal

from prefect import task
from pydantic import TypeAdapter

from blocks.authenticators import read_authenticator
from blocks.facts.kinds import EventKind
from blocks.registry import Event, Gate, Registry, RegistryClient
from flows.approval.form import Approval, Decision
from flows.approval.rules import ApprovalEvidence, Subject, tally, why_not
from flows.approval.totp import matching_step
from flows.candidate.changes import changes
from flows.naming import release_name
from flows.record.tasks import last_evidence
from flows.runtime.artifacts import show_page
from flows.runtime.forms import Given, patient_with_prefect
from flows.runtime.notices import tell
from flows.runtime.tasks import OBSERVES, step
from flows.spec import Approvers, Candidate, Environment
from flows.text.markdown import Markdown, md

#: Kinds of events by which a gate ends.
Ending = Literal[EventKind.APPROVAL_GRANTED, EventKind.APPROVAL_EXPIRED, EventKind.APPROVAL_VOID]


@step
def gather_evidence(
    registry: Registry, candidate: Candidate, environment: Environment, run_id: str, canary: Mapping[str, object] | None = None
) -> ApprovalEvidence:
    """Keep what the approvers decide on as one document: the candidate, its verdict in the environment before, what it changes.

    The same facts make the same document, so that a run that wakes up finds its gate again; and its candidate, which is registered here
    at the latest.

    Args:
        registry: Where it is kept.
        candidate: What is to be approved.
        environment: Where.
        run_id: The release.
        canary: The step of the candidate's canary that is to be approved, with its verdict so far; none where it is to enter.
    """
    with registry.client() as client:
        client.candidates.register(candidate.fingerprint, candidate.document(), candidate.model, candidate.commit)
        serving = client.current(candidate.model, environment.name)
        known = client.candidates.get(serving.fingerprint) if serving is not None and serving.fingerprint else None
        current = Candidate.from_document(known) if known is not None else None
        differs = changes(current, candidate)
        document = {
            "candidate": candidate.document(),
            "environment": environment.name,
            "current": current.fingerprint if current is not None else None,
            "changes": [asdict(change) for change in differs],
            "verdict_sha256": _verdict(client, candidate, environment, run_id),
            **({"canary": canary} if canary is not None else {}),
        }
        plain = TypeAdapter(dict).dump_python(document, mode="json")
        sha256 = client.evidence.save("approval", plain)
    return ApprovalEvidence(sha256=sha256, current=current.fingerprint if current is not None else None, changes=differs)


def _verdict(client: RegistryClient, candidate: Candidate, environment: Environment, run_id: str) -> object:
    """The evidence with which the candidate last passed in the environment before.

    Once people were asked, it stays what they were shown: that a night's verification passed, too, does not make it another question.
    """
    for asked in client.runs.own_events(run_id, candidate.model, environment.name, candidate.fingerprint, [EventKind.APPROVAL_REQUESTED]):
        shown = client.evidence.get(str(asked.detail["evidence_sha256"]))
        if shown is not None:
            return shown["verdict_sha256"]
    return last_evidence(client, candidate, environment.after)


@step
def open_gate(registry: Registry, gate: Gate, subject: Subject, request_hours: float, step: str = "") -> Event:
    """Record that people are asked, of a canary about which step, and tell it to whoever listens."""
    about = {"step": step} if step else {}
    with registry.client() as client:
        appended = client.approvals.mark(gate, EventKind.APPROVAL_REQUESTED, {**asdict(subject), "request_hours": request_hours, **about})
    if appended.new:
        _tell("requested", gate, requester=subject.requester, **about)
    return appended.event


@step
def gate_events(registry: Registry, gate: Gate) -> Sequence[Event]:
    """What happened at the gate so far, oldest first."""
    with registry.client() as client:
        return client.approvals.events(gate.run_id, gate.name)


@step
def record_answer(
    registry: Registry,
    gate: Gate,
    number: int,
    given: Given[Approval],
    subject: Subject,
    environment: Environment,
    approvers: Approvers,
    late: bool,
) -> Event:
    """Judge an answer and record it: `approved`, `rejected` or `approval_refused`. A code counts once, however often this is repeated."""
    answer = given.answer
    with registry.client() as client:
        if answer is None:
            refused = client.approvals.answer(
                gate,
                number,
                kind=EventKind.REJECTED,
                approver=given.claimed,
                refusal=given.problem,
                code_step=None,
                detail={"malformed": given.problem, "sender": given.sender},
                at=given.at,
            )
            if refused.new:
                _tell("refused", gate, approver=given.claimed, why=given.problem)
            return refused.event
        # Those that hold: who approved too long ago may do so again.
        before = tally(client.approvals.events(gate.run_id, gate.name), environment.approval, given.at).approvals
        refusal = "the request had expired when this answer was given" if late else None
        refusal = refusal or why_not(
            answer.approver, answer.decision.value, answer.reason, environment, approvers, subject.requester, before
        )
        step: int | None = None
        # Last: a code is looked at, and used up, only where nothing else speaks against the answer.
        if refusal is None:
            with patient_with_prefect():
                secret = read_authenticator(answer.approver)
                refusal = _shared(answer.approver, secret, subject, approvers, [str(event.actor) for event in before])
            try:
                step = matching_step(secret, answer.code.get_secret_value(), given.at) if secret is not None else None
            except ValueError:  # not base 32: whoever may write to Prefect may write its blocks
                refusal = f"the authenticator of {answer.approver} cannot be read: slipway approver enroll {answer.approver} --replace"
        appended = client.approvals.answer(
            gate,
            number,
            kind=EventKind.REJECTED if answer.decision is Decision.REJECT else EventKind.APPROVED,
            approver=answer.approver,
            refusal=refusal,
            code_step=step,
            detail={"reason": answer.reason, "emergency": answer.decision is Decision.EMERGENCY, **asdict(subject)},
            at=given.at,
        )
    if appended.new:
        event = appended.event
        word = "refused" if event.kind == EventKind.APPROVAL_REFUSED else event.kind
        _tell(word, gate, approver=event.actor or str(event.detail.get("claimed", "")), why=str(event.detail.get("why") or answer.reason))
    return appended.event


def _shared(approver: str, secret: str | None, subject: Subject, approvers: Approvers, others: list[str]) -> str | None:
    """Two people with one authenticator are one person."""
    if secret is None:
        return f"{approver} has not enrolled an authenticator: slipway approver enroll {approver}"
    requester = approvers.called(subject.requester)
    for name in {*others, *([requester.name] if requester is not None else [])} - {approver}:
        if read_authenticator(name) == secret:
            return f"{approver} and {name} share one authenticator; each needs an own one"
    return None


@step
def record_lapsed(registry: Registry, gate: Gate, why: str, lost: Mapping[str, str]) -> None:
    """Record that what was approved does not hold (any longer): why, and who lost which right."""
    with registry.client() as client:
        detail = {"why": why, "lost": [{"approver": name, "why": reason} for name, reason in lost.items()]}
        appended = client.approvals.mark(gate, EventKind.APPROVAL_LAPSED, detail, step=why)
    if appended.new:
        _tell("lapsed", gate, why=why)


@step
def end_gate(registry: Registry, gate: Gate, kind: Ending, detail: Mapping[str, object]) -> Event:
    """Record how the gate ended."""
    with registry.client() as client:
        appended = client.approvals.mark(gate, kind, detail)
    if appended.new:
        _tell(kind.removeprefix("approval_"), gate)
    return appended.event


@task(task_run_name="approve {model} for {environment}", **OBSERVES)
def approve(model: str, environment: str, page: Markdown) -> None:
    """Show, as a step of the run, what was approved and by whom. The record let the run through, not this."""
    show_page(f"{release_name(model, 'approval')}-{environment}", page, md("What was approved, and by whom"))


@step
def record_freeze(registry: Registry, gate: Gate, until: datetime, reason: str) -> None:
    """Record that an approved release waits for the end of a freeze."""
    with registry.client() as client:
        appended = client.approvals.mark(
            gate, EventKind.APPROVAL_FROZEN, {"until": until.isoformat(), "reason": reason}, step=until.isoformat()
        )
    if appended.new:
        _tell("frozen", gate, until=until.isoformat(), why=reason)


def _tell(what: str, gate: Gate, **more: str) -> None:
    tell(
        f"slipway.approval.{what}",
        {"model": gate.model, "environment": gate.environment, "candidate": gate.fingerprint[:12], "run": gate.run_id, **more},
        about=f"slipway.approval.{gate.run_id}",
        name=f"{gate.model} in {gate.environment}",
        environment=gate.environment,
    )

"""What waits for people: each request with what it would change, the evidence that it is decided on, and who has answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from blocks.facts.kinds import EventKind
from blocks.facts.registry import Event, OpenRequest
from blocks.registry import RegistryClient
from blocks.registry.documents import StoredEvidence
from blocks.strict_json import NumberUnusable, finite
from flows.approval.rules import no_right, standing
from flows.candidate.changes import Change, differences
from flows.console.reads.known import MaySee, Unknown
from flows.errors import SpecInvalid
from flows.spec import Approvers, Candidate, Deployments, Environment
from flows.verification.evidence import Evidence

#: What happens at a gate that people are told of.
_ANSWERS = (EventKind.APPROVED, EventKind.REJECTED, EventKind.APPROVAL_REFUSED, EventKind.APPROVAL_LAPSED)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What `deployments/` says of approvals in an environment now."""

    environment: Environment
    approvers: Approvers


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A request for approval.

    Attributes:
        event_id: The event that says that people are asked.
        run_id: The suspended run.
        gate: The gate of the run.
        model: What waits.
        environment: Where it wants to go.
        fingerprint: Which candidate.
        requester: Who asked for the release.
        since: Since when.
        expires_at: Until when; None where the request does not say it in hours.
        frozen_until: Until when a freeze is in the way; None if none was met.
        needed: How many approvals it takes; what cannot be read of `deployments/` is not known.
        approvals: The approvals that count now.
        lost: Whose approval does not count any longer, and why.
        refused: Why the last answer was not accepted; empty if it was, or there was none.
        current: The candidate that serves there; None if none does.
        changes: What the candidate changes against that.
        candidate: The candidate; None if this version of Slipway cannot read it.
        evidence_sha256: The document that people decide on.
        step: The step of the candidate's canary that is to be approved, in words; empty where the candidate is to enter.
        judged: What the canary's judge had said when people were asked.
        verdict_sha256: The verification that it names; None where there is none before this environment.
        verdict: That verification; None if there is none, or this version cannot read it.
    """

    event_id: int
    run_id: str
    gate: str
    model: str
    environment: str
    fingerprint: str
    requester: str
    since: datetime
    expires_at: datetime | None
    frozen_until: datetime | None
    needed: int | Unknown
    approvals: tuple[Event, ...]
    lost: Mapping[str, str]
    refused: str
    current: str | None
    changes: tuple[Change, ...]
    candidate: Candidate | None
    evidence_sha256: str
    step: str
    judged: str
    verdict_sha256: str | None
    verdict: Evidence | None


def read_waiting(
    registry: RegistryClient, deployments: Deployments, may_see: MaySee, now: datetime, *, run_id: str | None = None
) -> list[Waiting]:
    """What waits that the caller may see, the longest first; four statements, however many there are.

    Args:
        registry: Open.
        deployments: Whose policies and approvers count now.
        may_see: Lets through what the caller may see.
        now: When.
        run_id: Only the requests of this run.
    """
    requests = [
        request
        for request in registry.approvals.open_requests()
        if may_see(request.model or "", request.environment or "") and run_id in (None, request.run_id)
    ]
    if not requests:
        return []
    events = registry.runs.events({request.run_id or "" for request in requests}, _ANSWERS)
    shown = registry.overview.documents({str(request.detail.get("evidence_sha256")) for request in requests})
    verdicts = registry.overview.documents({str(each.document.get("verdict_sha256")) for each in shown.values()})
    replaced = {str(each.document["current"]) for each in shown.values() if each.document.get("current")}
    serving = {fingerprint: registry.candidates.get(fingerprint) for fingerprint in sorted(replaced)}
    policies = {request.environment or "": _policy(deployments, request.environment or "") for request in requests}
    return [_waiting(request, events, shown, verdicts, serving, policies[request.environment or ""], now) for request in requests]


def may_not_approve(waiting: Waiting, deployments: Deployments, name: str) -> str | None:
    """Why somebody of that name may not approve it; None if they may, or it cannot be told before they answer."""
    policy = _policy(deployments, waiting.environment)
    if not isinstance(policy, Policy):
        return None
    approver = policy.approvers.signed_in(name)  # under any of their names; they sign with one
    return no_right(approver.name if approver is not None else name, policy.environment, policy.approvers, waiting.requester)


def _policy(deployments: Deployments, environment: str) -> Policy | Unknown:
    if environment not in deployments.names("environments"):  # the error would name those that there are, also to who may not see them
        return Unknown(why=f"deployments/environments/{environment}.yaml does not exist")
    try:
        return Policy(environment=deployments.environment(environment), approvers=deployments.approvers())
    except SpecInvalid as exc:
        return Unknown(why=exc.message)


def _waiting(
    request: OpenRequest,
    events: Sequence[Event],
    shown: Mapping[str, StoredEvidence],
    verdicts: Mapping[str, StoredEvidence],
    serving: Mapping[str, dict[str, object] | None],
    policy: Policy | Unknown,
    now: datetime,
) -> Waiting:
    detail = request.detail
    requester, gate, sha256 = (str(detail.get(name) or "") for name in ("requester", "gate", "evidence_sha256"))
    answers = [event for event in events if event.run_id == request.run_id and event.detail.get("gate") == gate]
    counted: tuple[Event, ...] = tuple(event for event in answers if event.kind == EventKind.APPROVED)
    lost: Mapping[str, str] = {}
    needed: int | Unknown
    if isinstance(policy, Policy):
        seen = standing([event for event in answers if "round" in event.detail], policy.environment, policy.approvers, requester, now)
        counted, lost, needed = seen.tally.approvals, seen.lost, seen.tally.needed
    else:
        needed = policy
    document = shown[sha256].document if sha256 in shown else {}
    candidate = _candidate(document.get("candidate"))
    current = str(document["current"]) if document.get("current") else None
    verdict_sha256 = str(document["verdict_sha256"]) if document.get("verdict_sha256") else None
    stored = verdicts.get(verdict_sha256 or "")
    last = answers[-1] if answers else None
    return Waiting(
        event_id=request.id,
        run_id=request.run_id or "",
        gate=gate,
        model=request.model or "",
        environment=request.environment or "",
        fingerprint=request.fingerprint or "",
        requester=requester,
        since=request.occurred_at,
        expires_at=_expires_at(request),
        frozen_until=request.frozen_until,
        needed=needed,
        approvals=counted,
        lost=lost,
        refused=str(last.detail.get("why") or "") if last is not None and last.kind == EventKind.APPROVAL_REFUSED else "",
        current=current,
        changes=_changes(document, _candidate(serving.get(current or "")), candidate),
        candidate=candidate,
        evidence_sha256=sha256,
        step=str(detail.get("step") or ""),
        judged=_judged(document),
        verdict_sha256=verdict_sha256,
        verdict=_evidence(stored.document) if stored is not None else None,
    )


def _judged(document: Mapping[str, object]) -> str:
    canary = document.get("canary")
    verdict = canary.get("verdict") if isinstance(canary, dict) else None
    return str(verdict.get("reason") or "") if isinstance(verdict, dict) else ""


def _changes(document: Mapping[str, object], current: Candidate | None, candidate: Candidate | None) -> tuple[Change, ...]:
    """What differs, as far as both can be read; else what people were shown when they were asked."""
    if candidate is not None and current is not None:
        return differences(current, candidate)
    listed = document.get("changes")
    found = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return tuple(Change(what=str(each.get("what")), now=str(each.get("now")), new=str(each.get("new"))) for each in found)


def _expires_at(request: OpenRequest) -> datetime | None:
    try:
        return request.occurred_at + timedelta(hours=finite(request.detail.get("request_hours")))
    except (NumberUnusable, OverflowError):
        return None


def _candidate(document: Any) -> Candidate | None:
    try:
        return Candidate.from_document(document) if isinstance(document, dict) else None
    except ValueError:
        return None


def _evidence(document: Mapping[str, Any]) -> Evidence | None:
    try:
        return Evidence.from_document(document)
    except ValueError:
        return None

"""A model's history: its candidates in the order in which they came, how far each got, what it changed, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from blocks.facts.kinds import EventKind
from blocks.facts.registry import Event
from blocks.registry import RegistryClient
from blocks.registry.overview import BegunCandidate, FleetPlace, ModelVerdict
from blocks.strict_json import amount
from flows.candidate.changes import Change, differences
from flows.console.reads.known import MaySee
from flows.spec import Candidate

#: Candidates, events and verifications of one model that are read; what is older is in the record.
CANDIDATES, EVENTS, VERDICTS = 30, 1_000, 200

#: What a candidate's line is made of.
_KINDS = (
    EventKind.APPROVAL_REQUESTED,
    EventKind.APPROVED,
    EventKind.APPROVAL_GRANTED,
    EventKind.REJECTED,
    EventKind.APPROVAL_EXPIRED,
    EventKind.APPROVAL_VOID,
    EventKind.DEPLOYING,
    EventKind.READY,
    EventKind.FAILED,
    EventKind.SUPERSEDED,
    EventKind.DISPLACED,
    EventKind.DEGRADED,
    EventKind.RECOVERED,
    EventKind.DISABLED,
    EventKind.ENABLED,
    EventKind.ROLLED_BACK,
    EventKind.REMOVED,
)

#: What a candidate's last event of these says of where it is.
_STATES: Mapping[str, str] = {
    EventKind.APPROVAL_REQUESTED: "waiting",
    EventKind.APPROVAL_GRANTED: "approved",
    EventKind.REJECTED: "rejected",
    EventKind.APPROVAL_EXPIRED: "expired",
    EventKind.APPROVAL_VOID: "void",
    EventKind.DEPLOYING: "deploying",
    EventKind.READY: "ready",
    EventKind.RECOVERED: "ready",
    EventKind.ENABLED: "ready",
    EventKind.FAILED: "failed",
    EventKind.SUPERSEDED: "superseded",
    EventKind.DISPLACED: "displaced",
    EventKind.DEGRADED: "degraded",
    EventKind.DISABLED: "disabled",
    EventKind.REMOVED: "removed",
}


@dataclass(frozen=True, kw_only=True)
class Stay:
    """A candidate in an environment.

    Attributes:
        environment: Where.
        state: How far it got there: what the last event of it says.
        at: When that was recorded.
        run_id: By which run; None if by none.
        event_id: The event that says so.
        reason: Why it failed, was degraded or taken out; empty otherwise.
        approved_by: Who let it in, of the run that brought it there last.
        evidence_sha256: The evidence of its last verification there; None if there was none.
        outcome: What that came to.
    """

    environment: str
    state: str
    at: datetime
    run_id: str | None
    event_id: int
    reason: str
    approved_by: tuple[str, ...]
    evidence_sha256: str | None
    outcome: str | None


@dataclass(frozen=True, kw_only=True)
class CandidateLine:
    """A candidate, what it changes against the one before it, and where it has been.

    Attributes:
        fingerprint: Its name.
        begun_at: When a run first took it into its hands.
        candidate: Its document; None if another version of Slipway wrote it in a way that this one cannot read.
        changes: What differs from the candidate before it; empty of the first.
        stays: Where it has been, by environment, in the order in which it came there.
    """

    fingerprint: str
    begun_at: datetime
    candidate: Candidate | None
    changes: tuple[Change, ...]
    stays: tuple[Stay, ...]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A verification's figures; None where it did not come so far.

    Attributes:
        at: When.
        environment: Where.
        fingerprint: Of what.
        run_id: By which run.
        outcome: passed, failed, inconclusive or errored.
        sentence: The same in one line.
        evidence_sha256: What they were read from.
        p50_seconds: Median end-to-end latency.
        p95_seconds: The 95th percentile.
        p50_limit_seconds: The limit then.
        p95_limit_seconds: The limit then.
        tokens_per_second: At the concurrency that the limits are for.
        exact_share: Share of the golden answers that were the same as before.
        max_nats: The largest difference.
    """

    at: datetime
    environment: str
    fingerprint: str
    run_id: str
    outcome: str
    sentence: str
    evidence_sha256: str | None
    p50_seconds: float | None
    p95_seconds: float | None
    p50_limit_seconds: float | None
    p95_limit_seconds: float | None
    tokens_per_second: float | None
    exact_share: float | None
    max_nats: float | None


@dataclass(frozen=True, kw_only=True)
class ModelHistory:
    """A model.

    Attributes:
        model: The name that clients send.
        places: What counts in each environment now.
        lines: Its candidates, the latest first.
        measured: Its verifications, the oldest first.
        more: Whether there are older candidates than these.
    """

    model: str
    places: tuple[FleetPlace, ...]
    lines: tuple[CandidateLine, ...]
    measured: tuple[Measured, ...]
    more: bool


def read_history(registry: RegistryClient, model: str, environments: Sequence[str], may_see: MaySee) -> ModelHistory | None:
    """Four statements; None if the caller may see nothing of such a model.

    Args:
        registry: Open.
        model: The name that clients send.
        environments: Those of `deployments/`, in the order of promotion.
        may_see: Lets through what the caller may see.
    """
    order = {name: index for index, name in enumerate(environments)}
    overview = registry.overview
    places = overview.fleet(model)
    candidates = overview.candidates_of(model, CANDIDATES + 1)
    events = [event for event in overview.history(model, _KINDS, EVENTS) if may_see(model, event.environment or "")]
    seen = sorted(
        (place for place in places if may_see(model, place.environment)), key=lambda place: order.get(place.environment, len(order))
    )
    if not seen and not events:
        return None
    # A candidate that was only where the caller may not look is none to them, nor is it what another one is compared with.
    shown = {event.fingerprint for event in events}
    verdicts = [verdict for verdict in overview.verdicts(model, VERDICTS) if may_see(model, verdict.environment or "")]
    return ModelHistory(
        model=model,
        places=tuple(seen),
        lines=lines_of([each for each in candidates if each.fingerprint in shown], events, verdicts)[:CANDIDATES],
        measured=tuple(map(measured_of, reversed(verdicts))),
        more=len(candidates) > CANDIDATES,
    )


def lines_of(candidates: Sequence[BegunCandidate], events: Sequence[Event], verdicts: Sequence[ModelVerdict]) -> tuple[CandidateLine, ...]:
    """A line for each candidate; all three sequences have the latest first."""
    documents = [_candidate(each) for each in candidates]
    found = []
    for index, begun in enumerate(candidates):
        candidate = documents[index]
        before = documents[index + 1] if index + 1 < len(documents) else None
        its = [event for event in events if event.fingerprint == begun.fingerprint]
        measured = [verdict for verdict in verdicts if verdict.fingerprint == begun.fingerprint]
        found.append(
            CandidateLine(
                fingerprint=begun.fingerprint,
                begun_at=begun.begun_at,
                candidate=candidate,
                changes=differences(before, candidate) if candidate is not None else (),
                stays=_stays(its, measured),
            )
        )
    return tuple(found)


def _stays(events: Sequence[Event], verdicts: Sequence[ModelVerdict]) -> tuple[Stay, ...]:
    stays: dict[str, Stay] = {}
    for event in reversed(events):  # so that the environments come in their order, and the last event counts
        environment = event.environment or ""
        last = next((verdict for verdict in verdicts if verdict.environment == environment), None)
        state = _STATES.get(event.kind)
        if state is None:
            continue
        approvers = event.detail.get("approvers") if event.kind == EventKind.APPROVAL_GRANTED else None
        before = stays.get(environment)
        stays[environment] = Stay(
            environment=environment,
            state=state,
            at=event.occurred_at,
            run_id=event.run_id,
            event_id=event.id,
            reason=str(event.detail.get("reason") or event.detail.get("why") or ""),
            approved_by=tuple(map(str, approvers)) if isinstance(approvers, list) else before.approved_by if before is not None else (),
            evidence_sha256=last.evidence_sha256 if last is not None else None,
            outcome=last.outcome if last is not None else None,
        )
    return tuple(stays.values())


def measured_of(verdict: ModelVerdict) -> Measured:
    """The figures, as far as they are figures."""
    return Measured(
        at=verdict.occurred_at,
        environment=verdict.environment or "",
        fingerprint=verdict.fingerprint or "",
        run_id=verdict.run_id or "",
        outcome=verdict.outcome or "",
        sentence=verdict.sentence or "",
        evidence_sha256=verdict.evidence_sha256,
        p50_seconds=_value(verdict.p50),
        p95_seconds=_value(verdict.p95),
        p50_limit_seconds=amount(verdict.p50_limit),
        p95_limit_seconds=amount(verdict.p95_limit),
        tokens_per_second=amount(verdict.tokens_per_second),
        exact_share=amount(verdict.exact_share),
        max_nats=amount(verdict.max_nats),
    )


def _candidate(begun: BegunCandidate) -> Candidate | None:
    try:
        return Candidate.from_document(begun.document)
    except ValueError:
        return None


def _value(interval: object) -> float | None:
    return amount(interval.get("value")) if isinstance(interval, dict) else None

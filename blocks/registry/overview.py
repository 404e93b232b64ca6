"""What pages show: few statements, however many models there are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from blocks.facts.kinds import EventKind
from blocks.facts.registry import Event, Status
from blocks.registry.chain import ArchivedPart, ChainedEvent, ChainHead, EventProof, prove
from blocks.registry.documents import StoredEvidence
from blocks.registry.session import Session

#: Events of a chain that one proof computes again: as many as a busy place has between two seals.
MOST_LINKS = 2_000


@dataclass(frozen=True, kw_only=True)
class FleetPlace:
    """A model in an environment: the entry that counts there, and what is known of it.

    Attributes:
        organisation: Whose; None where there is only one.
        model: The name that clients send.
        environment: Where.
        hub_revision: Commit SHA on the hub.
        namespace: The Kubernetes namespace.
        endpoint: Host and port that a router sends to; None unless it is ready.
        status: Of the entry that counts.
        status_reason: Why it is degraded, failed or disabled.
        disabled_from: The status that it had when a person took it out; None otherwise.
        fingerprint: Its candidate.
        helm_revision: Number in `helm history`; None where Argo CD delivers.
        git_commit: The commit that Argo CD went to; None where Helm delivers.
        verified_at: When a release made it ready.
        last_checked_at: When its endpoint was last looked at.
        health_window: The last five checks, the latest at the end: `+` good, `-` bad.
        updated_at: When it last changed.
        passed_at: When its candidate last passed a verification there, a nightly one included; None if it never did.
        evidence_sha256: The evidence of that.
        held_by: The run that holds the lock; None if none does.
        canary: The candidate that takes a share of its requests, or is about to; None without a canary.
        canary_phase: How far the canary is.
        canary_weight: Percent of the requests that it answers.
        canary_shadow: Percent of the others that it is sent a copy of.
    """

    organisation: str | None
    model: str
    environment: str
    hub_revision: str
    namespace: str | None
    endpoint: str | None
    status: Status
    status_reason: str | None
    disabled_from: Status | None
    fingerprint: str | None
    helm_revision: int | None
    git_commit: str | None
    verified_at: datetime | None
    last_checked_at: datetime | None
    health_window: str
    updated_at: datetime | None
    passed_at: datetime | None
    evidence_sha256: str | None
    held_by: str | None
    canary: str | None = None
    canary_phase: str | None = None
    canary_weight: int | None = None
    canary_shadow: int | None = None


@dataclass(frozen=True, kw_only=True)
class BegunCandidate:
    """A candidate that runs took into their hands: its document, and when the first did."""

    fingerprint: str
    document: Mapping[str, object]
    begun_at: datetime


@dataclass(frozen=True, kw_only=True)
class ModelVerdict:
    """A verification, with what its evidence holds in some places: JSON that the reader judges, None where it holds nothing.

    Attributes:
        id: Of the event.
        occurred_at: When.
        environment: Where.
        fingerprint: Of what.
        run_id: By which run.
        outcome: passed, failed, inconclusive or errored.
        sentence: The verdict in one line.
        evidence_sha256: The document.
        p50: The median latency with its interval, in seconds.
        p95: The 95th percentile of the same.
        tokens_per_second: At the concurrency that the limits are for.
        p50_limit: The limit, in seconds.
        p95_limit: The limit, in seconds.
        exact_share: Which share of the golden answers is the same as before.
        max_nats: The largest difference of the others.
    """

    id: int
    occurred_at: datetime
    environment: str | None
    fingerprint: str | None
    run_id: str | None
    outcome: str | None
    sentence: str | None
    evidence_sha256: str | None
    p50: object
    p95: object
    tokens_per_second: object
    p50_limit: object
    p95_limit: object
    exact_share: object
    max_nats: object


@dataclass(frozen=True, kw_only=True)
class RecordedEvent(Event):
    """An event, and its place in its chain."""

    chain: int
    chain_position: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class EventPlace:
    """Where an event stands in its chain, and the first seal that stands for it.

    Attributes:
        chain: The chain.
        position: Its place there.
        sealed_position: The later place of the chain that the seal names; None before there is a seal.
        sealed_hash: The hash that the seal names for it.
        seal_id: The event that is the seal.
        seal_position: The seal's place in chain 0, for `slipway audit verify --expect`.
    """

    chain: int
    position: int
    sealed_position: int | None
    sealed_hash: str | None
    seal_id: int | None
    seal_position: int | None


class Overview:
    """What pages show."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def fleet(self, model: str | None = None) -> list[FleetPlace]:
        """Every model in every environment, or one model's places, by model, environment and organisation."""
        return self._session.rows("fleet", FleetPlace, {"model": model})

    def candidates_of(self, model: str, limit: int) -> list[BegunCandidate]:
        """The candidates of the model that runs took into their hands, the latest first."""
        return self._session.rows("model_candidates", BegunCandidate, {"model": model, "limit": limit})

    def history(self, model: str, kinds: Collection[EventKind], limit: int) -> list[Event]:
        """The model's events of these kinds, the latest first."""
        return self._session.rows("model_history", Event, {"model": model, "kinds": list(kinds), "limit": limit})

    def verdicts(self, model: str, limit: int) -> list[ModelVerdict]:
        """The model's verifications, the latest first."""
        return self._session.rows("model_verdicts", ModelVerdict, {"model": model, "limit": limit})

    def documents(self, sha256s: Collection[str]) -> dict[str, StoredEvidence]:
        """The documents of evidence with these hashes that there are; one statement however many."""
        if not sha256s:
            return {}
        return {each.sha256: each for each in self._session.rows("evidence_of", StoredEvidence, {"sha256s": sorted(sha256s)})}

    def record(
        self,
        *,
        before_id: int | None = None,
        model: str | None = None,
        environment: str | None = None,
        kind: str | None = None,
        actor: str | None = None,
        run_id: str | None = None,
        fingerprint: str | None = None,
        limit: int = 100,
    ) -> list[RecordedEvent]:
        """Events before the one with that id, the latest first; what is None does not filter."""
        wanted = {"model": model, "environment": environment, "kind": kind, "actor": actor, "run_id": run_id, "fingerprint": fingerprint}
        return self._session.rows("record_page", RecordedEvent, {**wanted, "before_id": before_id, "limit": limit})

    def place_of(self, event_id: int) -> EventPlace | None:
        """Where the event stands in its chain; None if there is no such event."""
        return self._session.row("event_place", EventPlace, {"event_id": event_id})

    def proof_of(self, place: EventPlace) -> EventProof:
        """Compute the event's chain again, from the event before it to the place that its seal names, `MOST_LINKS` events at the most."""
        first = max(1, place.position - 1)
        last = min(place.sealed_position or place.position, first + MOST_LINKS)
        where = {"chain": place.chain, "first": first, "last": last}
        events = self._session.rows("chain_part", ChainedEvent, where)
        parts = self._session.rows("archived_between", ArchivedPart, where)
        sealed = (
            ChainHead(position=place.sealed_position, hash=place.sealed_hash)
            if place.sealed_position is not None and place.sealed_hash is not None
            else None
        )
        return prove(place.position, sealed, events, parts)

"""The record and its evidence, as JSON, and what computing it again finds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from blocks.registry.overview import RecordedEvent
from flows.console.access.who import SignedIn, require_admin
from flows.console.api.pages import Cursor, Limit, Page, place, word
from flows.console.api.reading import Asked, Read, Text
from flows.console.api.tagged import UNCHANGED, Tagged
from flows.console.edge.problems import not_found
from flows.console.reads.record import ProvenEvent, RecordFilter

router = APIRouter(route_class=Tagged, responses=UNCHANGED, tags=["record"])

Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{8,64}$", description="The document's SHA-256, or its first digits.")]


class EvidenceSeen(BaseModel):
    """A document of evidence, as it was hashed."""

    sha256: str
    kind: str
    model: str
    environment: str
    document: dict[str, Any]


class Proven(BaseModel):
    """What computing the whole record again found."""

    holds: bool
    broken: str | None = Field(description="The first event that was altered, removed or replaced.")
    position: int
    hash: str
    events: int
    unsealed: int
    unsealed_since: datetime | None


@router.get("/evidence/{sha256}", summary="A document of evidence.")
def evidence(sha256: Sha256, caller: SignedIn, read: Read) -> EvidenceSeen:
    """Every measurement, and by what it was judged."""
    found = read.evidence(caller.sees, sha256)
    if found is None:
        raise not_found("evidence")
    stored = found.stored
    return EvidenceSeen(
        sha256=stored.sha256, kind=stored.kind, model=found.model, environment=found.environment, document=dict(stored.document)
    )


@router.get("/audit", summary="The record, the latest first.")
def audit(
    caller: SignedIn,
    read: Read,
    model: Text = "",
    environment: Text = "",
    kind: Text = "",
    actor: Text = "",
    run: Text = "",
    candidate: Text = "",
    cursor: Cursor = "",
    limit: Limit = 50,
) -> Page[RecordedEvent]:
    """What happened; each event with its place in its chain and its hash."""
    wanted = RecordFilter(model=model, environment=environment, kind=kind, actor=actor, run_id=run, fingerprint=candidate)
    page = read.record(caller.sees, wanted, before=place(cursor, int), limit=limit)
    return Page(items=list(page.events), next=word(page.before))


@router.get("/audit/verification", summary="Compute the whole record again.")
def verification(request: Request, caller: SignedIn, at: Asked) -> Proven:
    """For administrators of everything: it reads all events. Note `position` and `hash` elsewhere, for `slipway audit verify --expect`."""
    require_admin(caller)
    request.app.state.limits.writes.require(caller.name, "verifications of yours")  # a long read, which nobody needs often
    found = at.registry.audit.verify()
    return Proven(
        holds=found.broken is None,
        broken=found.broken,
        position=found.head.position,
        hash=found.head.hash,
        events=found.events,
        unsealed=found.unsealed,
        unsealed_since=found.unsealed_since,
    )


@router.get("/audit/{event}", summary="An event with its proof.")
def one_event(event: Annotated[int, Path(ge=1, lt=1 << 53)], caller: SignedIn, read: Read) -> ProvenEvent:
    """Its chain is computed again from the event before it to the next seal."""
    found = read.event(caller.sees, event)
    if found is None:
        raise not_found("event")
    return found

"""The record: events in pages, and the proof of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blocks.registry import RegistryClient
from blocks.registry.chain import EventProof
from blocks.registry.overview import EventPlace, RecordedEvent
from flows.console.reads.known import MaySee

#: Events of a page, and the most that somebody may ask for.
EVENTS, MOST_EVENTS = 50, 200

#: Pages that are read at the most to fill one of what a caller may see.
_PAGES = 10


@dataclass(frozen=True, kw_only=True)
class RecordFilter:
    """Which events are wanted; what is empty does not filter."""

    model: str = ""
    environment: str = ""
    kind: str = ""
    actor: str = ""
    run_id: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class RecordPage:
    """Events, the latest first; `before` is where the next page begins, None if this is the last one."""

    events: tuple[RecordedEvent, ...]
    before: int | None


@dataclass(frozen=True, kw_only=True)
class ProvenEvent:
    """An event, where it stands in its chain, and what computing that again found."""

    event: RecordedEvent
    place: EventPlace
    proof: EventProof


def read_record(
    registry: RegistryClient, may_see: MaySee, wanted: RecordFilter, *, before: int | None = None, limit: int = EVENTS
) -> RecordPage:
    """The next events that the caller may see."""
    limit = max(1, min(limit, MOST_EVENTS))
    filters = {name: value or None for name, value in vars(wanted).items()}
    found: list[RecordedEvent] = []
    for _ in range(_PAGES):
        some = registry.overview.record(**filters, before_id=before, limit=limit)
        found += [event for event in some if sees(event, may_see)]
        before = some[-1].id if len(some) == limit else None
        if len(found) >= limit or before is None:
            break
    if len(found) > limit:
        return RecordPage(events=tuple(found[:limit]), before=found[limit - 1].id)
    return RecordPage(events=tuple(found), before=before)


def read_event(registry: RegistryClient, may_see: MaySee, event_id: int) -> ProvenEvent | None:
    """The event with its proof; None if there is none that the caller may see."""
    found: Sequence[RecordedEvent] = registry.overview.record(before_id=event_id + 1, limit=1)
    if not found or found[0].id != event_id or not sees(found[0], may_see):
        return None
    place = registry.overview.place_of(event_id)
    return ProvenEvent(event=found[0], place=place, proof=registry.overview.proof_of(place)) if place is not None else None


def sees(event: RecordedEvent, may_see: MaySee) -> bool:
    """Whether the caller may see the event."""
    # One of no model (a scrub, a seal, a rehearsal, which names its models) is for who may see all models.
    return may_see(event.model or "", event.environment or "")

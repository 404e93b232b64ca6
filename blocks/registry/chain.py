"""What an event is in its chain, and what its hash is taken over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from blocks.registry import jsonb

#: What the first event of a chain follows.
BEGINNING = "0" * 64


@dataclass(frozen=True, kw_only=True)
class ChainHead:
    """An event of a chain: its place (1 is the first) and its hash. Noted elsewhere, it shows later that nothing before it was changed."""

    position: int
    hash: str

    def __str__(self) -> str:
        return f"{self.position}:{self.hash}"


@dataclass(frozen=True, kw_only=True)
class ChainedEvent:
    """An event as it stands in its chain; `detail` is JSON text as the database writes it."""

    chain: int
    previous_hash: str
    chain_position: int
    id: int
    event_key: str
    occurred_at: datetime
    kind: str
    organisation: str | None
    model: str | None
    environment: str | None
    fingerprint: str | None
    run_id: str | None
    actor: str | None
    detail: str
    hash: str

    def computed_hash(self) -> str:
        """The hash as it should be, of all other columns."""
        # As the trigger writes it (migration 0003): PostgreSQL keeps microseconds.
        moment = self.occurred_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        values = (
            str(self.id),
            self.event_key,
            moment,
            self.kind,
            self.organisation,
            self.model,
            self.environment,
            self.fingerprint,
            self.run_id,
            self.actor,
            self.detail,
        )
        text = "".join("-," if value is None else f"{len(value.encode())}:{value}," for value in values)
        return link(self.chain, self.previous_hash, self.chain_position, text)

    def line(self) -> str:
        """The event as a line of JSON; `detail_text` is there where `detail` alone would not give the text that was hashed."""
        detail = jsonb.read(self.detail)
        told = {**vars(self), "occurred_at": self.occurred_at.astimezone(UTC).isoformat(), "detail": detail}
        return json.dumps(told if _as_stored(detail) == self.detail else {**told, "detail_text": self.detail}, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class EventProof:
    """What computing an event's chain again found, from the event to the seal that stands for it.

    Attributes:
        holds: Whether all of it follows from what comes before; what is not sealed yet holds as far as its chain goes.
        message: The same as a sentence.
        links: Events that were computed again, the event itself among them.
    """

    holds: bool
    message: str
    links: int


@dataclass(frozen=True, kw_only=True)
class ArchivedPart:
    """Events of a chain that follow one another and lie in a file: their places, the hash before the first, and the last one's."""

    chain: int
    first: int
    last: int
    previous_hash: str
    hash: str


def prove(position: int, sealed: ChainHead | None, events: Sequence[ChainedEvent], parts: Sequence[ArchivedPart] = ()) -> EventProof:
    """Compute the event at that place again, and all that follow it up to the one that a seal names.

    Args:
        position: The event's place in its chain.
        sealed: The place and the hash that the seal names; None before there is a seal.
        events: The event before it, if it is not the first, itself, and those after it up to the sealed one, in their order.
        parts: What lies in files between them, or just before.
    """
    behind = {part.first: part for part in parts}
    ends = {part.last: part.hash for part in parts}
    before = BEGINNING if position == 1 else ends.get(position - 1)
    if events and events[0].chain_position == position - 1:
        before = events[0].hash
    rest = [event for event in events if event.chain_position >= position]
    if before is None or not rest or rest[0].chain_position != position:
        return EventProof(holds=False, message="The event before it is not there: it was removed.", links=0)
    place = position - 1
    for links, event in enumerate(rest):
        place += 1
        while event.chain_position > place and (part := behind.get(place)) is not None and part.previous_hash == before:
            place, before = part.last + 1, part.hash
        if event.chain_position != place or event.previous_hash != before:
            return EventProof(holds=False, message=f"Position {place} does not follow the event before it.", links=links)
        if event.computed_hash() != event.hash:
            return EventProof(holds=False, message=f"Position {place} is not what its hash says: it was altered.", links=links)
        before = event.hash
        if sealed is not None and sealed.position == place:
            holds = sealed.hash == event.hash
            message = (
                "Computed again up to its seal: it is what was recorded." if holds else f"The seal names another event at position {place}."
            )
            return EventProof(holds=holds, message=message, links=links + 1)
    if sealed is None:
        return EventProof(holds=True, message="It follows from the event before it; no seal stands for it yet.", links=len(rest))
    return EventProof(holds=True, message=f"Computed again for {len(rest)} events; its seal is further on.", links=len(rest))


def link(chain: int, previous_hash: str, position: int, text: str) -> str:
    """SHA-256 (hex) of an event: of its chain, the hash of the event before, its place, and the text of its columns.

    Each value with its length in bytes and a colon before it, and a comma behind it; `-,` for NULL. Chain 0 is hashed without its number,
    as before there were others (migrations 0003 and 0011).
    """
    told = f"{previous_hash},{len(str(position))}:{position},{text}"
    return hashlib.sha256(preamble(chain) + told.encode()).hexdigest()


def preamble(chain: int) -> bytes:
    """What the hashed text of each event of a chain begins with, up to the hash of the event before."""
    return f"{len(str(chain))}:{chain},64:".encode() if chain else b"64:"


def _as_stored(detail: object) -> str:
    # Python's own way to write JSON is jsonb's, but for numbers such as 1.50.
    return json.dumps(detail, ensure_ascii=False)

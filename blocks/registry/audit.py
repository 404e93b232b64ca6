"""The chain of events: recomputed without trusting the database, and written out for others to keep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from psycopg.rows import class_row

from blocks.registry.documents import digest
from blocks.registry.session import Session
from blocks.registry.statements import statement

#: What the first event of a chain follows.
BEGINNING = "0" * 64

#: Rows that are read from the database at a time.
_BATCH = 2000

Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True)
class ChainHead:
    """The last event of a chain: its place (1 is the first) and its hash. Noted elsewhere, it shows later that nothing was changed."""

    position: int
    hash: str

    def __str__(self) -> str:
        return f"{self.position}:{self.hash}"


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What recomputing found.

    Attributes:
        head: The end of the chain as far as it holds.
        broken: What does not hold first, as a sentence; none if all of it does.
    """

    head: ChainHead
    broken: str | None = None


@dataclass(frozen=True, kw_only=True)
class ChainedEvent:
    """An event as it stands in the chain; `detail` is JSON text as the database writes it."""

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
        """SHA-256 (hex) over the columns in their order, each as its length in bytes, a colon, its text and a comma; `-,` for NULL."""
        # As the trigger writes it (migration 0003): PostgreSQL keeps microseconds.
        moment = self.occurred_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        values = (
            self.previous_hash,
            str(self.chain_position),
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
        whole = hashlib.sha256()
        for value in values:
            content = value.encode() if value is not None else None
            whole.update(b"-," if content is None else b"%d:%s," % (len(content), content))
        return whole.hexdigest()

    def line(self) -> str:
        """The event as a line of JSON."""
        return json.dumps(
            {**vars(self), "occurred_at": self.occurred_at.astimezone(UTC).isoformat(), "detail": json.loads(self.detail)},
            ensure_ascii=False,
        )


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    sha256: str
    document: dict[str, Any]


class Audit:
    """Checks and exports the record."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def verify(self, expected: ChainHead | None = None) -> AuditReport:
        """Recompute every event's hash, and every evidence document's.

        Args:
            expected: A head that was noted earlier: the chain must still hold it. Only that shows that the newest events were not removed,
                or that the whole chain was not written anew by somebody who owns the database.
        """
        head = ChainHead(position=0, hash=BEGINNING)
        for event in self.chain():
            if (broken := _break(event, head, expected)) is not None:
                return AuditReport(head=head, broken=broken)
            head = ChainHead(position=event.chain_position, hash=event.hash)
        if expected is not None and expected.position > head.position:
            missing = f"the chain ends at position {head.position}, but position {expected.position} was there before: events were removed"
            return AuditReport(head=head, broken=missing)
        for evidence in self._all("all_evidence", _Evidence):
            if digest(evidence.document) != evidence.sha256:
                return AuditReport(head=head, broken=f"evidence {evidence.sha256[:12]} is not what its hash says: it was altered")
        return AuditReport(head=head)

    def chain(self) -> Iterator[ChainedEvent]:
        """All events in the order of the chain; memory does not grow with their number."""
        return self._all("chain", ChainedEvent)

    def _all(self, name: str, shape: type[Row]) -> Iterator[Row]:
        # A cursor of the server needs a transaction; both live as long as the iteration.
        with self._session.transaction() as connection, connection.cursor(name=name, row_factory=class_row(shape)) as cursor:
            cursor.itersize = _BATCH
            yield from cursor.execute(statement(name))


def _break(event: ChainedEvent, before: ChainHead, expected: ChainHead | None) -> str | None:
    shown = f"event {event.id} ({event.kind}, {event.occurred_at:%Y-%m-%d %H:%M:%S}Z, position {event.chain_position})"
    if event.chain_position != before.position + 1:
        return f"{shown} follows position {before.position}: events between them were removed"
    if event.previous_hash != before.hash:
        return f"{shown} does not follow the event before it: one of them was altered or replaced"
    if event.computed_hash() != event.hash:
        return f"{shown} is not what its hash says: it was altered"
    if expected is not None and expected.position == event.chain_position and expected.hash != event.hash:
        return f"{shown} has another hash than was noted before: the chain was written anew"
    return None

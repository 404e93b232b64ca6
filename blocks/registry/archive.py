"""What repeats for ever leaves the registry for a file: the events that may, and their removal, which only the tables' owner can do.

In the registry stays where each chain goes on behind them (migration 0020), so that the rest of it is proven without the file, and an event
that says which file it is. No answer that the registry gives is built on what goes: of such events the latest alone is asked for, and it
stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from blocks.errors import RegistryRejected
from blocks.facts.kinds import REPEATED
from blocks.registry.audit import read_all
from blocks.registry.chain import ArchivedPart, ChainedEvent
from blocks.registry.session import Session, change
from blocks.registry.statements import statement

#: Events that are taken out in one transaction, beside which nobody writes: about a second.
_BATCH = 20_000


@dataclass(frozen=True, kw_only=True)
class _May:
    may: bool


class Archive:
    """Takes events out that lie in a file."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def events(self, before: datetime) -> Iterator[ChainedEvent]:
        """What may go of what happened before that time, chain by chain; memory does not grow with their number.

        Raises:
            RegistryRejected: The user is not the owner of the events.
        """
        may = self._session.row("may_archive", _May, {})
        if may is None or not may.may:
            raise RegistryRejected(
                "only the owner of the registry's tables takes events out: name the block of that user, as for slipway migrate"
            )
        with self._session.transaction() as connection:
            parameters = {"before": before, "repeated": list(REPEATED)}
            yield from read_all(connection, "archivable", class_row(ChainedEvent), parameters)

    def remove(self, parts: Sequence[ArchivedPart], sha256: str) -> int:
        """Take out what lies in the file of that SHA-256 (hex); how many events these were.

        Each transaction leaves a record that holds. One that breaks off leaves the rest where it is.

        Raises:
            RegistryRejected: Some of it is not there any longer, or the user is not the owner.
        """
        removed = 0
        for batch in _batches(parts):
            with self._session.transaction() as connection:
                connection.execute(statement("open_events"))
                values = {
                    "chains": [part.chain for part in batch],
                    "firsts": [part.first for part in batch],
                    "lasts": [part.last for part in batch],
                    "previous_hashes": [part.previous_hash for part in batch],
                    "hashes": [part.hash for part in batch],
                    "sha256": sha256,
                }
                change(connection, "add_archived", values)
                gone = change(connection, "remove_archived", values)
                if missing := sum(map(_size, batch)) - gone:
                    raise RegistryRejected(f"{missing} events of the file are not in the registry any longer: somebody else archives")
                connection.execute(statement("close_events"))
            removed += gone
        return removed


def _batches(parts: Sequence[ArchivedPart]) -> Iterator[list[ArchivedPart]]:
    batch: list[ArchivedPart] = []
    events = 0
    for part in parts:
        batch.append(part)
        events += _size(part)
        if events >= _BATCH:
            yield batch
            batch, events = [], 0
    if batch:
        yield batch


def _size(part: ArchivedPart) -> int:
    return part.last - part.first + 1

"""The chains of events: recomputed without trusting the database, sealed, and written out for others to keep.

Each model in an environment has a chain. Chain 0 holds the seals, and what was recorded before there were others (migration 0011).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

from psycopg.rows import BaseRowFactory, class_row
from psycopg.types.json import Jsonb

from blocks.facts.kinds import EventKind
from blocks.facts.registry import Event
from blocks.registry.chain import BEGINNING, ArchivedPart, ChainedEvent, ChainHead, preamble
from blocks.registry.connect import Connection
from blocks.registry.documents import digest
from blocks.registry.session import Session, row, rows, set_up
from blocks.registry.statements import statement

#: Rows that are read from the database at a time.
_BATCH = 5000

Row = TypeVar("Row")

#: By chain and first place.
_Archived = dict[tuple[int, int], ArchivedPart]


@dataclass(frozen=True, kw_only=True)
class ArchivedFile:
    """A file by its SHA-256 (hex): how many events lie in it and not here, and how many the record says do."""

    sha256: str
    events: int
    told: int


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What recomputing found.

    Attributes:
        head: The end of chain 0 as far as it holds: the last seal.
        broken: What does not hold first, as a sentence; none if all of it does.
        events: Events that were computed again.
        unsealed: Events that no seal stands for yet: each is in its chain, but no noted end of chain 0 can show that it is missing.
        unsealed_since: When the first of these happened; None if there are none.
        archives: The files that hold events which are not here any longer. Between the ends that are noted here, only the file proves them.
    """

    head: ChainHead
    broken: str | None = None
    events: int = 0
    unsealed: int = 0
    unsealed_since: datetime | None = None
    archives: tuple[ArchivedFile, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    sha256: str
    document: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _End:
    chain: int
    place: str
    position: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class _BrokenSeal:
    seal: int
    chain: int
    position: int


@dataclass(frozen=True, kw_only=True)
class _Unsealed:
    events: int
    since: datetime | None


@dataclass(frozen=True, kw_only=True)
class _Wrong:
    """The first event that does not follow from `before`, the last one that holds in its chain."""

    chain: int
    position: int
    before: ChainHead


class Audit:
    """Checks, seals and exports the record."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def seal(self) -> int:
        """Record the ends of all chains that went on since the last seal; return how many these are. Without any, nothing is recorded."""
        sealed = 0
        while True:
            values = dict.fromkeys(("event_key", "at", "organisation", "model", "environment", "fingerprint", "run_id", "actor"))
            # What it says is the database's own: an empty document is sent (migration 0011).
            event = self._session.row("add_event", Event, {**values, "kind": EventKind.SEALED, "detail": Jsonb({})})
            if event is None:
                return sealed
            chains = event.detail["chains"]
            sealed += len(chains) if isinstance(chains, list) else 0

    def verify(self, expected: ChainHead | None = None) -> AuditReport:
        """Recompute every event's hash, and every evidence document's.

        Memory grows with the number of chains, not with that of events.

        Args:
            expected: An end of chain 0 that was noted earlier: it must still hold that. Only this shows that the record was not written
                anew, or cut off together with its noted ends, by somebody who owns the database.
        """
        with self._session.connected() as connection, connection.transaction():
            connection.execute(statement("one_moment"))
            set_up(connection)
            report = _recomputed(connection, expected)
            if report.broken is None:
                with closing(read_all(connection, "all_evidence", class_row(_Evidence))) as saved:
                    for evidence in saved:
                        if digest(evidence.document) != evidence.sha256:
                            return replace(report, broken=f"evidence {evidence.sha256[:12]} is not what its hash says: it was altered")
        return report

    def chain(self) -> Iterator[ChainedEvent]:
        """All events, chain by chain; memory does not grow with their number."""
        with self._session.transaction() as connection:
            yield from read_all(connection, "chain", class_row(ChainedEvent))

    def archived(self) -> list[ArchivedPart]:
        """The parts of chains that lie in files, chain by chain."""
        return self._session.rows("archived", ArchivedPart, {})


def _recomputed(connection: Connection, expected: ChainHead | None) -> AuditReport:
    ends = {end.chain: end for end in rows(connection, "chain_ends", _End, {})}
    archived = {(part.chain, part.first): part for part in rows(connection, "archived", ArchivedPart, {})}
    with connection.cursor() as cursor, cursor.copy(_chain_texts(connection)) as copied:
        # The text as it is hashed: bytes of UTF-8, as of every connection (`connection_parameters`).
        copied.set_types(("int8", "int8", "text", "bytea"))
        texts = copied.rows()
        report, wrong = _followed(texts, ends, archived, expected)
        # The connection takes no question before it has told all of it.
        deque(texts, maxlen=0)
    if wrong is not None:
        return replace(report, broken=_why(connection, wrong))
    if report.broken is not None:
        return report
    for end in ends.values():
        if end.position:
            return replace(report, broken=f"of the chain of {end.place} nothing is left: its {end.position} events were removed")
    if expected is not None and expected.position > report.head.position:
        missing = (
            f"the chain ends at position {report.head.position}, but position {expected.position} was there before: events were removed"
        )
        return replace(report, broken=missing)
    misshapen = row(connection, "misshapen_seal", ChainHead, {})
    if misshapen is not None:
        return replace(report, broken=f"the seal at position {misshapen.position} does not name ends of chains: it was written anew")
    broken = row(connection, "broken_seal", _BrokenSeal, {})
    if broken is not None:
        other = (
            f"the seal at position {broken.seal} names another event at position {broken.position} of chain {broken.chain} than is there"
        )
        return replace(report, broken=f"{other}: that chain was cut off or written anew")
    archives = rows(connection, "archives", ArchivedFile, {})
    for file in archives:
        if file.events > file.told:
            gone = f"{file.events} events are said to lie in the file {file.sha256[:12]}, and the record says that of {file.told}"
            return replace(report, broken=f"{gone}: events were removed")
    (unsealed,) = rows(connection, "unsealed", _Unsealed, {})
    return replace(report, unsealed=unsealed.events, unsealed_since=unsealed.since, archives=tuple(archives))


def _chain_texts(connection: Connection) -> bytes:
    text = statement("chain_texts")
    if connection.info.parameter_status("server_encoding") == "UTF8":
        # Lengths are those of UTF-8. Where the database has that, nothing need be converted to know them: a third of what the server does.
        text = text.replace(b"convert_to(", b"(").replace(b", 'UTF8')", b")")
    return text


def _followed(
    texts: Iterator[tuple[Any, ...]], ends: dict[int, _End], archived: _Archived, expected: ChainHead | None
) -> tuple[AuditReport, _Wrong | None]:
    """Follow all chains up to the first that does not hold; of `ends`, those stay whose chain was not there."""
    report = AuditReport(head=ChainHead(position=0, hash=BEGINNING))
    for chain, its in groupby(texts, key=itemgetter(0)):
        position, before, start, computed = 0, BEGINNING, preamble(chain), 0
        for _, at, claimed, text in its:
            if at != position + 1:
                position, before = _behind(archived, chain, position, before)
            # As `link` does it, of bytes: a million of these are most of what a verification takes here.
            if at != position + 1 or sha256(start + before.encode() + text).hexdigest() != claimed:
                return report, _Wrong(chain=chain, position=at, before=ChainHead(position=position, hash=before))
            position, before, computed = at, claimed, computed + 1
            if chain == 0 and expected is not None and expected.position == at and expected.hash != claimed:
                anew = f"position {at} has another hash than was noted before: the chain was written anew"
                return replace(report, broken=anew), None
        position, before = _behind(archived, chain, position, before)
        head = ChainHead(position=position, hash=before)
        report = replace(report, head=report.head if chain else head, events=report.events + computed)
        if (end := ends.pop(chain, None)) is None or (end.position, end.hash) != (position, before):
            noted = f"position {end.position} was noted as its end" if end else "it is not among the chains"
            return replace(report, broken=f"chain {chain} ends at position {position}, but {noted}: events were removed or added"), None
    return report, None


def _behind(archived: _Archived, chain: int, position: int, before: str) -> tuple[int, str]:
    """Where the chain goes on behind what lies in files."""
    while (part := archived.get((chain, position + 1))) is not None and part.previous_hash == before:
        position, before = part.last, part.hash
    return position, before


def read_all(
    connection: Connection, name: str, shape: BaseRowFactory[Row], parameters: Mapping[str, object] | None = None
) -> Generator[Row]:
    """The rows of the statement `name`, of which only some are in memory at a time."""
    # A cursor of the server needs a transaction; both live as long as the iteration.
    with connection.cursor(name=name, row_factory=shape) as cursor:
        cursor.itersize = _BATCH
        yield from cursor.execute(statement(name), parameters)


def _why(connection: Connection, wrong: _Wrong) -> str:
    before, event = wrong.before, row(connection, "chained_event", ChainedEvent, {"chain": wrong.chain, "position": wrong.position})
    if event is None:
        return f"position {wrong.position} of chain {wrong.chain} is there twice"
    shown = f"event {event.id} ({event.kind}, {event.occurred_at:%Y-%m-%d %H:%M:%S}Z, position {wrong.position} of chain {wrong.chain})"
    if wrong.position != before.position + 1:
        return f"{shown} follows position {before.position}: events between them were removed"
    if event.previous_hash != before.hash:
        return f"{shown} does not follow the event before it: one of them was altered or replaced"
    return f"{shown} is not what its hash says: it was altered"

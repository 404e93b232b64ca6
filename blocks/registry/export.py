"""The record as a file that proves itself: a line of JSON for each event, chain by chain, and a last line that says how it ends.

Nothing here asks a database: whoever has the file and this module, or another program that follows docs/registry.md, can check it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime

from blocks.facts.kinds import EventKind
from blocks.registry import jsonb
from blocks.registry.chain import BEGINNING, ArchivedPart, ChainedEvent, ChainHead

#: Of the last line: which form the file has.
FORMAT = "slipway-events/1"

#: Of the first line of a file that holds parts of chains, which are not in the registry any longer.
ARCHIVE = "slipway-archive/1"

_NAMES = tuple(field.name for field in fields(ChainedEvent))


class NotProven(Exception):
    """The file does not prove what it says; the message is a sentence without its full stop."""


def written(events: Iterable[ChainedEvent], parts: Sequence[ArchivedPart] = ()) -> Iterator[str]:
    """The lines of the file, without line ends.

    Args:
        events: All of them, chain by chain.
        parts: What lies in other files: told in a first line, if there is any.
    """
    whole, count, ends = hashlib.sha256(), 0, dict[str, list[object]]()
    if parts:
        line = json.dumps({"archived": _told(parts)})
        whole.update(line.encode() + b"\n")
        yield line
    for event in events:
        line = event.line()
        whole.update(line.encode() + b"\n")
        count += 1
        ends[str(event.chain)] = [event.chain_position, event.hash]
        yield line
    yield json.dumps({"format": FORMAT, "events": count, "ends": ends, "sha256": whole.hexdigest()})


@dataclass
class ArchiveParts:
    """What is said of events that are taken out of their chains: grows as they pass by.

    Attributes:
        parts: Those that follow one another, in order.
        events: How many events there are.
        sha256: Of all lines, with their ends; known at the end.
    """

    parts: list[ArchivedPart] = field(default_factory=list)
    events: int = 0
    sha256: str = ""

    def add(self, event: ChainedEvent) -> None:
        """The next one."""
        self.events += 1
        last = self.parts[-1] if self.parts else None
        if last and (last.chain, last.last + 1, last.hash) == (event.chain, event.chain_position, event.previous_hash):
            self.parts[-1] = replace(last, last=event.chain_position, hash=event.hash)
        else:
            at = event.chain_position
            self.parts.append(ArchivedPart(chain=event.chain, first=at, last=at, previous_hash=event.previous_hash, hash=event.hash))


def archived(events: Iterable[ChainedEvent], before: datetime, told: ArchiveParts) -> Iterator[str]:
    """The lines of an archive, without line ends.

    Args:
        events: Chain by chain, in order.
        before: All of them happened before it.
        told: Filled in on the way.
    """
    whole = hashlib.sha256()

    def line(text: str) -> str:
        whole.update(text.encode() + b"\n")
        return text

    yield line(json.dumps({"archive": ARCHIVE, "before": before.isoformat()}))
    for event in events:
        told.add(event)
        yield line(event.line())
    last = {"format": ARCHIVE, "events": told.events, "parts": _told(told.parts), "sha256": whole.hexdigest()}
    yield line(json.dumps(last))
    told.sha256 = whole.hexdigest()


def proven(lines: Iterable[bytes], expected: ChainHead | None = None) -> tuple[int, ChainHead]:
    """Recompute all hashes of the file; how many events it holds, and the end of chain 0: the last seal.

    Memory grows with the number of chains and of what is sealed, not with that of events.

    Args:
        lines: The file's, with their line ends.
        expected: An end of chain 0 that was noted earlier: the file must hold it.

    Raises:
        NotProven: It was altered, cut off or put together anew.
    """
    whole, count, ends = hashlib.sha256(), 0, dict[int, ChainHead]()
    parts: ArchiveParts | None = None
    elsewhere: dict[tuple[int, int], ArchivedPart] = {}
    sealed: dict[tuple[int, int], str] = {}
    last: dict[str, object] | None = None
    for number, line in enumerate(lines, start=1):
        if last is not None:
            raise NotProven(f"line {number} comes after the last line")
        told = _object(line, number)
        if "format" in told:
            last = told
            continue
        if number == 1 and told.get("archive") == ARCHIVE:
            parts = ArchiveParts()
            whole.update(line)
            continue
        if number == 1 and "archived" in told:
            elsewhere = _elsewhere(told["archived"])
            whole.update(line)
            continue
        event = _event(told, number)
        before = ends.get(event.chain, ChainHead(position=0, hash=BEGINNING))
        while event.chain_position > before.position + 1 and (part := elsewhere.get((event.chain, before.position + 1))):
            if part.previous_hash != before.hash or part.last < part.first:
                break
            before = ChainHead(position=part.last, hash=part.hash)
        follows = (event.chain_position, event.previous_hash) == (before.position + 1, before.hash)
        if not follows and (parts is None or event.chain_position <= before.position + 1):
            raise NotProven(f"line {number} (event {event.id}) does not follow the event before it in chain {event.chain}")
        if _computed(event, number) != event.hash:
            raise NotProven(f"line {number} (event {event.id}) is not what its hash says: it was altered")
        place = (event.chain, event.chain_position)
        if sealed.pop(place, event.hash) != event.hash or (expected and place == (0, expected.position) and event.hash != expected.hash):
            raise NotProven(f"line {number} (event {event.id}) has another hash than was sealed or noted: its chain was written anew")
        if event.chain == 0 and event.kind == EventKind.SEALED:
            sealed |= _named(event, number)
        ends[event.chain] = ChainHead(position=event.chain_position, hash=event.hash)
        if parts is not None:
            parts.add(event)
        whole.update(line)
        count += 1
    if last is None:
        raise NotProven("its last line is missing: it was cut off")
    if parts is not None:
        return _proven_parts(parts, last, whole.hexdigest(), expected)
    told_ends = {str(chain): [end.position, end.hash] for chain, end in ends.items()}
    if (last.get("format"), last.get("events"), last.get("ends"), last.get("sha256")) != (FORMAT, count, told_ends, whole.hexdigest()):
        raise NotProven("its last line is not that of the lines before it")
    if missing := [place for place, hash_ in sealed.items() if not _lies_in(elsewhere.values(), *place, hash_)]:
        chain, position = min(missing)
        raise NotProven(f"position {position} of chain {chain} was sealed and is not there: events were removed")
    head = ends.get(0, ChainHead(position=0, hash=BEGINNING))
    if expected is not None and expected.position > head.position:
        raise NotProven(f"chain 0 ends at position {head.position}, but position {expected.position} was noted: events were removed")
    return count, head


def _told(parts: Iterable[ArchivedPart]) -> list[list[object]]:
    return [[part.chain, part.first, part.last, part.previous_hash, part.hash] for part in parts]


def _elsewhere(told: object) -> dict[tuple[int, int], ArchivedPart]:
    """What the first line says to lie in other files, by chain and first place."""
    parts: dict[tuple[int, int], ArchivedPart] = {}
    for each in told if isinstance(told, list) else [None]:
        if not isinstance(each, list) or list(map(type, each)) != [int, int, int, str, str]:
            raise NotProven("line 1 does not say what lies in other files")
        chain, first, last, previous_hash, hash_ = each
        parts[chain, first] = ArchivedPart(chain=chain, first=first, last=last, previous_hash=previous_hash, hash=hash_)
    return parts


def _lies_in(parts: Iterable[ArchivedPart], chain: int, position: int, hash_: str) -> bool:
    return any(
        part.chain == chain and part.first <= position <= part.last and (position < part.last or hash_ == part.hash) for part in parts
    )


def _proven_parts(parts: ArchiveParts, last: dict[str, object], sha256: str, expected: ChainHead | None) -> tuple[int, ChainHead]:
    told = (last.get("format"), last.get("events"), last.get("parts"), last.get("sha256"))
    if told != (ARCHIVE, parts.events, _told(parts.parts), sha256):
        raise NotProven("its last line is not that of the lines before it")
    if expected is not None:
        raise NotProven("it is an archive, which holds no seals: --expect is asked of the registry or of an export")
    return parts.events, ChainHead(position=0, hash=BEGINNING)


def _computed(event: ChainedEvent, number: int) -> str:
    try:
        return event.computed_hash()
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise NotProven(f"line {number} is no event as it is exported") from error


def _named(seal: ChainedEvent, number: int) -> dict[tuple[int, int], str]:
    try:
        named = jsonb.read(seal.detail)["chains"]
        ends = {(chain, position): hash_ for chain, position, hash_ in named}
    except (KeyError, TypeError, ValueError):
        named, ends = None, {}
    if not isinstance(named, list) or any(list(map(type, (*place, hash_))) != [int, int, str] for place, hash_ in ends.items()):
        raise NotProven(f"line {number} (event {seal.id}) is a seal that does not name ends of chains")
    return ends


def _object(line: bytes, number: int) -> dict[str, object]:
    try:
        told = jsonb.read(line)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise NotProven(f"line {number} is no JSON object")
    return told


def _event(told: dict[str, object], number: int) -> ChainedEvent:
    try:
        detail = told.pop("detail")
        stored = told.pop("detail_text", None)
        text = json.dumps(detail, ensure_ascii=False) if stored is None else str(stored)
        if jsonb.read(text) != detail or set(told) | {"detail"} != set(_NAMES):
            raise NotProven(f"line {number} is no event as it is exported")
        moment = datetime.fromisoformat(str(told.pop("occurred_at")))
        if not isinstance(told["chain"], int) or not isinstance(told["chain_position"], int):
            raise NotProven(f"line {number} is no event as it is exported")
        return ChainedEvent(**told, occurred_at=moment, detail=text)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise NotProven(f"line {number} is no event as it is exported") from error

"""The record as a file that proves itself: a line of JSON for each event, chain by chain, and a last line that says how it ends.

Nothing here asks a database: whoever has the file and this module, or another program that follows docs/registry.md, can check it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import datetime

from blocks.facts.kinds import EventKind
from blocks.registry import jsonb
from blocks.registry.chain import BEGINNING, ChainedEvent, ChainHead

#: Of the last line: which form the file has.
FORMAT = "slipway-events/1"

_NAMES = tuple(field.name for field in fields(ChainedEvent))


class NotProven(Exception):
    """The file does not prove what it says; the message is a sentence without its full stop."""


def written(events: Iterable[ChainedEvent]) -> Iterator[str]:
    """The lines of the file, without line ends."""
    whole, count, ends = hashlib.sha256(), 0, dict[str, list[object]]()
    for event in events:
        line = event.line()
        whole.update(line.encode() + b"\n")
        count += 1
        ends[str(event.chain)] = [event.chain_position, event.hash]
        yield line
    yield json.dumps({"format": FORMAT, "events": count, "ends": ends, "sha256": whole.hexdigest()})


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
    sealed: dict[tuple[int, int], str] = {}
    last: dict[str, object] | None = None
    for number, line in enumerate(lines, start=1):
        if last is not None:
            raise NotProven(f"line {number} comes after the last line")
        told = _object(line, number)
        if "format" in told:
            last = told
            continue
        event = _event(told, number)
        before = ends.get(event.chain, ChainHead(position=0, hash=BEGINNING))
        if (event.chain_position, event.previous_hash) != (before.position + 1, before.hash):
            raise NotProven(f"line {number} (event {event.id}) does not follow the event before it in chain {event.chain}")
        if _computed(event, number) != event.hash:
            raise NotProven(f"line {number} (event {event.id}) is not what its hash says: it was altered")
        place = (event.chain, event.chain_position)
        if sealed.pop(place, event.hash) != event.hash or (expected and place == (0, expected.position) and event.hash != expected.hash):
            raise NotProven(f"line {number} (event {event.id}) has another hash than was sealed or noted: its chain was written anew")
        if event.chain == 0 and event.kind == EventKind.SEALED:
            sealed |= _named(event, number)
        ends[event.chain] = ChainHead(position=event.chain_position, hash=event.hash)
        whole.update(line)
        count += 1
    if last is None:
        raise NotProven("its last line is missing: it was cut off")
    told_ends = {str(chain): [end.position, end.hash] for chain, end in ends.items()}
    if (last.get("format"), last.get("events"), last.get("ends"), last.get("sha256")) != (FORMAT, count, told_ends, whole.hexdigest()):
        raise NotProven("its last line is not that of the lines before it")
    if sealed:
        chain, position = min(sealed)
        raise NotProven(f"position {position} of chain {chain} was sealed and is not there: events were removed")
    head = ends.get(0, ChainHead(position=0, hash=BEGINNING))
    if expected is not None and expected.position > head.position:
        raise NotProven(f"chain 0 ends at position {head.position}, but position {expected.position} was noted: events were removed")
    return count, head


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

"""What an event is in its chain, and what its hash is taken over."""

from __future__ import annotations

import hashlib
import json
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


def link(chain: int, previous_hash: str, position: int, text: str) -> str:
    """SHA-256 (hex) of an event: of its chain, the hash of the event before, its place, and the text of its columns.

    Each value with its length in bytes and a colon before it, and a comma behind it; `-,` for NULL. Chain 0 is hashed without its number,
    as before there were others (migrations 0003 and 0011).
    """
    number = f"{len(str(chain))}:{chain}," if chain else ""
    return hashlib.sha256(f"{number}64:{previous_hash},{len(str(position))}:{position},{text}".encode()).hexdigest()


def _as_stored(detail: object) -> str:
    # Python's own way to write JSON is jsonb's, but for numbers such as 1.50.
    return json.dumps(detail, ensure_ascii=False)

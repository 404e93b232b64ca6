"""Events: what happened, append-only."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from blocks.errors import RegistryRejected
from blocks.facts.kinds import EventKind
from blocks.facts.registry import Event
from blocks.registry.connect import Connection
from blocks.registry.documents import digest, plain
from blocks.registry.repeated import repeated
from blocks.registry.session import Session, row
from blocks.storable import storable_document


class Events:
    """Appends events, and reads them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(
        self,
        kind: EventKind,
        *,
        model: str | None = None,
        environment: str | None = None,
        fingerprint: str | None = None,
        run_id: str | None = None,
        actor: str | None = None,
        detail: Mapping[str, object] | None = None,
        organisation: str | None = None,
        key: str | None = None,
        at: datetime | None = None,
    ) -> Event:
        """Append an event and return it; one that was recorded before is returned as it was.

        The same key is recorded once. Without a key, the same content is recorded once for each run; events without key and run are new
        with each call.

        Args:
            kind: What happened.
            model: Which model it concerns.
            environment: Where.
            fingerprint: Which candidate.
            run_id: The flow run that did it.
            actor: The person or service that asked for it.
            detail: Facts; JSON, never a secret.
            organisation: Whose entry it concerns.
            key: Makes a repetition harmless.
            at: When it happened; the database's clock by default.
        """
        facts = storable_document(detail or {})
        if key is None and run_id is not None:
            content = [kind, organisation, model, environment, fingerprint, run_id, actor, facts]
            key = digest(storable_document({"content": content}))
        place = {"model": model, "environment": environment, "organisation": organisation, "fingerprint": fingerprint}
        # A key in any case: by it the event is found if the answer is lost.
        return self._append(kind, key or str(uuid.uuid4()), detail=facts, run_id=run_id, actor=actor, at=at, **place)

    @repeated
    def _append(self, kind: EventKind, key: str, *, detail: Mapping[str, object], **values: object) -> Event:
        with self._session.transaction() as connection:
            return append_event(connection, kind, key, detail=detail, **values).event

    def last_verdict(self, model: str, environment: str, fingerprint: str, *, organisation: str | None = None) -> Event | None:
        """The latest verification that the candidate passed there: `detail.evidence_sha256` names it; None if it never passed one.

        Whoever asks when, or with which evidence, a candidate was last verified asks this.
        """
        who = {"model": model, "environment": environment, "fingerprint": fingerprint, "organisation": organisation}
        return self._session.row("last_verdict", Event, who)

    def last_ready(self, model: str, environment: str, fingerprint: str | None = None, *, organisation: str | None = None) -> Event | None:
        """The latest `ready` event of the model there, or of one of its candidates; None if there is none."""
        who = {"model": model, "environment": environment, "fingerprint": fingerprint, "organisation": organisation}
        return self._session.row("last_ready", Event, who)

    def latest(
        self, model: str | None = None, environment: str | None = None, run_id: str | None = None, *, limit: int = 100
    ) -> list[Event]:
        """The latest events, newest first, for people to read; what is None does not filter.

        No answer is built on these: what is older than the latest is not among them.
        """
        return self._session.rows("events", Event, {"model": model, "environment": environment, "run_id": run_id, "limit": limit})

    def last_scrubs(self) -> list[Event]:
        """The last `scrubbed` event of each node in each environment."""
        return self._session.rows("last_scrubs", Event, {})


@dataclass(frozen=True, kw_only=True)
class Appended:
    """An event, and whether it was recorded just now."""

    event: Event
    new: bool


def append_event(connection: Connection, kind: EventKind, key: str | None, *, detail: Mapping[str, object], **values: object) -> Appended:
    """Append an event, unless one of that key is there.

    Args:
        connection: In a transaction.
        kind: What happened.
        key: Makes a repetition harmless; none makes an event that is always new.
        detail: Facts; JSON, never a secret.
        values: The event's other columns: model, environment, organisation, fingerprint, run_id, actor, at.

    Raises:
        RegistryRejected: The detail is no JSON.
    """
    parameters = {**values, "event_key": key, "kind": kind, "detail": Jsonb(plain(storable_document(detail)))}
    added = row(connection, "add_event", Event, parameters)
    # Another transaction had the key first: the insert waited for its end, so its event is seen here (READ COMMITTED).
    event = added or row(connection, "event_by_key", Event, parameters)
    if event is None:
        raise RegistryRejected(f"event {kind} was not recorded", kind=kind)
    return Appended(event=event, new=added is not None)

"""What the steps of an entry's life share: who takes one and where, and how it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from blocks.errors import RegistryRejected
from blocks.facts.kinds import EventKind
from blocks.facts.registry import Entry, Event, TakenOut
from blocks.registry.connect import Connection
from blocks.registry.documents import StoredCandidate, canonical, stored_candidate
from blocks.registry.locks import require_lock
from blocks.registry.session import change, row, rows
from blocks.storable import storable_document


@dataclass(frozen=True, kw_only=True)
class _Moment:
    at: datetime


@dataclass(frozen=True, kw_only=True)
class _Served:
    fingerprint: str | None


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of a candidate in an environment, in a transaction beside which nobody else writes there.

    Attributes:
        connection: In the step's transaction.
        who: Parameters of the statements: organisation, model, hub_revision, environment, fingerprint, run_id, actor, at.
    """

    connection: Connection
    who: Mapping[str, object]

    def change(self, name: str, **more: object) -> int:
        """Run the statement `name` with this step's values and return how many rows it touched."""
        return change(self.connection, name, {**self.who, **more})

    def take_out(self, name: str, kind: EventKind, reason: str) -> None:
        """Run a statement that takes other rows out of service, and record each as an event of that kind."""
        for served in rows(self.connection, name, _Served, {**self.who, "reason": reason}):
            self.record(kind, {"reason": reason, "by": self.who["fingerprint"]}, fingerprint=served.fingerprint)

    def pass_canary(self) -> None:
        """Route nothing to a canary that was begun beside another candidate than this step's."""
        for passed in rows(self.connection, "pass_canary", _Served, self.who):
            detail = {"weight": 0, "shadow": 0, "reason": f"{str(self.who['fingerprint'])[:12]} is ready"}
            self.record(EventKind.CANARY_SHIFTED, detail, fingerprint=passed.fingerprint)

    def record(self, kind: EventKind, detail: Mapping[str, object], **more: object) -> None:
        """Append an event with this step's values."""
        facts = storable_document(detail)
        # What is no JSON is refused here with our own error.
        canonical(facts)
        # No key: a step that is repeated finds its own event by looking, before it writes.
        self.change("add_event", event_key=None, kind=kind, detail=Jsonb(facts), **more)

    def entry(self) -> Entry | None:
        """The entry as it stands."""
        return row(self.connection, "entry", Entry, self.who)

    def present(self) -> Entry:
        """The entry as it stands.

        Raises:
            RegistryRejected: There is none.
        """
        entry = self.entry()
        if entry is None:
            raise RegistryRejected(f"there is no entry of {self.who['model']} at {self.who['hub_revision']} in {self.who['environment']}")
        return entry

    def require_lock(self, fence: int | None) -> None:
        """Refuse to go on unless the run holds the lock with this number, or nobody holds it and the run has none."""
        require_lock(self.connection, self.who, fence)

    def progress(self) -> Event | None:
        """This run's latest own event with the candidate here: deploying, ready or failed."""
        return row(self.connection, "attempt", Event, self.who)

    def current(self) -> Entry | None:
        """The entry that holds the endpoint now, if one does."""
        return row(self.connection, "current", Entry, self.who)

    def taken_out(self) -> TakenOut | None:
        """Whether a person took the model out here, and why."""
        return row(self.connection, "taken_out", TakenOut, self.who)

    def overtaken(self, since: Event) -> Event | None:
        """The event by which another candidate changed the endpoint after `since`, if one did."""
        return row(self.connection, "overtaken", Event, {**self.who, "since_id": since.id})


def candidate_of(connection: Connection, fingerprint: str, model: str) -> StoredCandidate:
    """The candidate with that fingerprint.

    Raises:
        RegistryRejected: The candidate was never registered, or is one of another model.
    """
    candidate = stored_candidate(connection, fingerprint)
    if candidate.model != model:
        raise RegistryRejected(f"candidate {fingerprint[:12]} is one of {candidate.model}, not of {model}", fingerprint=fingerprint)
    return candidate


def take_turn(connection: Connection, place: Mapping[str, object], at: datetime | None) -> datetime | None:
    """Wait until nobody else writes of the model in the environment; return `at`, or the time after the wait."""
    moment = row(connection, "lock_environment", _Moment, {**place, "at": at})
    return moment.at if moment else at


def take_step(
    connection: Connection,
    *,
    model: str,
    environment: str,
    fingerprint: str,
    run_id: str | None,
    organisation: str | None,
    actor: str | None,
    at: datetime | None,
) -> Step:
    """Wait for the model's turn in the environment, then read what the candidate is.

    Raises:
        RegistryRejected: The candidate was never registered, or is one of another model.
    """
    place = {"organisation": organisation, "model": model, "environment": environment}
    # The candidate is read after the lock, so that everything a step sees is of one moment.
    moment = take_turn(connection, place, at)
    candidate = candidate_of(connection, fingerprint, model)
    who = {
        "hub_revision": candidate.hub_revision,
        "fingerprint": fingerprint,
        "run_id": run_id,
        "actor": actor,
        "at": moment,
    }
    return Step(connection=connection, who={**place, **who})

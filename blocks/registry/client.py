"""The client of the registry: what flows, the command line and monitors call."""

from __future__ import annotations

from typing import Self

from blocks.facts.registry import Entry, Event, Route, Status, Verified
from blocks.registry.access import AccessRecord
from blocks.registry.approvals import Approvals
from blocks.registry.archive import Archive
from blocks.registry.audit import Audit
from blocks.registry.canary import Canaries
from blocks.registry.documents import Candidates, EvidenceRecord
from blocks.registry.events import Events
from blocks.registry.figures import Figures
from blocks.registry.health import HealthRecord
from blocks.registry.lifecycle import Lifecycle
from blocks.registry.locks import Locks
from blocks.registry.migrate import apply, missing
from blocks.registry.overview import Overview
from blocks.registry.repeated import repeated
from blocks.registry.run_record import RunRecord
from blocks.registry.session import Session, row
from blocks.registry.statements import migrations
from blocks.registry.switch import Switch


class RegistryClient:
    """The registry in a PostgreSQL database (15 or newer); a context manager, safe to share between threads.

    Every write may be repeated: after a cut connection the same call either finds what it wrote or writes it. It is repeated once at once;
    what then ends as `RegistryUnreachable` is the caller's to repeat.

    What a router asks is here; the rest is told by its part.

    Attributes:
        lifecycle: Moves entries: begin, ready, failed, degraded, recovered.
        canaries: Gives a candidate a share of the requests beside the one that serves.
        switch: Takes a model out of an environment and puts it back, for operators.
        locks: One run at a time changes a model in an environment.
        candidates: Keeps candidates.
        evidence: Keeps documents of evidence by their hash.
        events: Appends events, and reads them.
        approvals: Records requests for approval, and answers with used-up codes.
        runs: Answers for runs: what they began and never ended, and what became of those that died.
        health: Remembers health checks.
        figures: What metrics read.
        overview: What pages show.
        audit: Checks and exports the record.
        archive: Takes events out that lie in a file, for the owner of the tables.
        access: Remembers tokens of the console, and sessions and requests there.

    Args:
        dsn: libpq's connection string or URI. Times come back in UTC whatever it says.
        connect_timeout_seconds: How long to wait for a connection.

    Raises:
        RegistryUnreachable: The database does not answer, or cannot now. Every method may raise it; retry.
        RegistryRejected: The database refuses. Every method may raise it; the message says what to do.
    """

    def __init__(self, dsn: str, *, connect_timeout_seconds: float = 5.0) -> None:
        self._session = session = Session(dsn, connect_timeout_seconds=connect_timeout_seconds)
        self.lifecycle = Lifecycle(session)
        self.canaries = Canaries(session)
        self.switch = Switch(session)
        self.locks = Locks(session)
        self.candidates = Candidates(session)
        self.evidence = EvidenceRecord(session)
        self.events = Events(session)
        self.approvals = Approvals(session)
        self.runs = RunRecord(session)
        self.health = HealthRecord(session)
        self.figures = Figures(session)
        self.overview = Overview(session)
        self.audit = Audit(session)
        self.archive = Archive(session)
        self.access = AccessRecord(session)

    def __enter__(self) -> Self:
        self._session.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def migrate(self) -> list[str]:
        """Bring the database to the present schema and return the names of the migrations that were applied now.

        Works on an empty database and on one that has a `model_registry_entries` of its own. Safe to call from several places at once.

        Raises:
            RegistryRejected: A migration was edited after it was applied, the database is newer than the program, or an existing table is
                in the way; nothing is half done.
        """
        with self._session.connected() as connection:
            return apply(connection, migrations())

    def missing_migrations(self) -> list[str]:
        """The migrations of this program that the database does not have; reads only."""
        with self._session.connected() as connection:
            return missing(connection, migrations())

    def entries(self, model: str | None = None, environment: str | None = None, status: Status | None = None) -> list[Entry]:
        """The entries, by model and environment, latest change first; what is None does not filter."""
        return self._session.rows("entries", Entry, {"model": model, "environment": environment, "status": status})

    def current(self, model: str, environment: str, *, organisation: str | None = None) -> Entry | None:
        """The entry that holds the endpoint now: ready, or degraded or taken out by a person; None after a failed deployment over it."""
        place = {"model": model, "environment": environment, "organisation": organisation}
        return self._session.row("current", Entry, place)

    @repeated
    def previous(self, model: str, environment: str, *, organisation: str | None = None) -> Verified | None:
        """Where a rollback goes: the latest verified candidate other than the current one whose last verdict was good, or None.

        After a failed deployment nothing is current, and this is the candidate that the failed one took the place of.
        """
        place = {"model": model, "environment": environment, "organisation": organisation}
        with self._session.transaction() as connection:
            serving = row(connection, "current", Entry, place)
            event = row(connection, "previous", Event, {**place, "current": serving.fingerprint if serving else None})
        if event is None or event.fingerprint is None:
            return None
        number = event.detail.get("helm_revision")
        return Verified(event.fingerprint, int(str(number)) if number is not None else None, event)

    def route(
        self, model: str, environment: str = "production", *, hub_revision: str | None = None, organisation: str | None = None
    ) -> Route:
        """Where the model is served: its newest ready entry, or the one of `hub_revision`; without an endpoint, why not."""
        wanted = {"model": model, "hub_revision": hub_revision, "environment": environment, "organisation": organisation}
        (found,) = self._session.rows("route", Route, wanted)
        return found

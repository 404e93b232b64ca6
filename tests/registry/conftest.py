"""A real PostgreSQL for the registry's tests: one server a worker, one fresh database a test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from blocks.registry import Entry, RegistryClient
from blocks.registry.documents import digest
from blocks.registry.statements import migrations
from sandbox.postgres import Postgres
from tests.support.waiting import until

_SCHEMA = files("blocks.registry").joinpath("schema.sql").read_bytes()


@dataclass(kw_only=True)
class Databases:
    """Lends databases of one server. They are emptied and lent again: making one copies hundreds of files, emptying one takes 10 ms."""

    postgres: Postgres
    _made: int = 0
    _roles: bool = False
    _free: list[str] = field(default_factory=list)
    _lent: list[str] = field(default_factory=list)

    def empty(self) -> str:
        """An empty database; returns its connection string."""
        name = self._free.pop() if self._free else self._make()
        self._lent.append(name)
        return self.postgres.dsn_of(name)

    def migrated(self) -> str:
        """A database with the present schema; returns its connection string."""
        dsn = self.empty()
        with RegistryClient(dsn) as client:
            client.migrate()
        return dsn

    def present(self) -> str:
        """The same by the schema that the migrations add up to, down to the rows (`test_migrate.py`), in half of the time."""
        if not self._roles:  # which the server has, and a schema has not
            self._roles = bool(self.migrated())
        dsn = self.empty()
        applied = [(migration.name, migration.sha256) for migration in migrations()]
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(_SCHEMA)
            connection.cursor().executemany("INSERT INTO slipway_migrations (name, sha256) VALUES (%s, %s)", applied)
        return dsn

    def take_back(self) -> None:
        """Empty what was lent. A database that a test dropped is forgotten."""
        while self._lent:
            name = self._lent.pop()
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.postgres.dsn_of(name), autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()", (name,)
                )
                empty(connection)
                self._free.append(name)

    def _make(self) -> str:
        self._made += 1
        name = f"registry_{self._made}"
        with psycopg.connect(self.postgres.create_database(name), autocommit=True) as connection:
            empty(connection)  # a new database is then the same, to the last right, as one that was used before
        return name


def empty(connection: psycopg.Connection) -> None:
    """Make the database an empty one."""
    connection.execute("DROP SCHEMA public CASCADE")
    connection.execute("CREATE SCHEMA public")
    connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    # The tests are about transactions, not about power cuts: nothing needs to reach the disk.
    with Postgres(tmp_path_factory.mktemp("postgres"), durable=False) as postgres:
        yield Databases(postgres=postgres)


@pytest.fixture
def databases(server: Databases) -> Iterator[Databases]:
    yield server
    server.take_back()


@pytest.fixture
def empty_dsn(databases: Databases) -> str:
    return databases.empty()


@pytest.fixture
def dsn(databases: Databases) -> str:
    return databases.present()


@pytest.fixture
def client(dsn: str) -> Iterator[RegistryClient]:
    with RegistryClient(dsn) as client:
        yield client


@pytest.fixture
def sql(dsn: str) -> Iterator[psycopg.Connection]:
    """Somebody with psql."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def dsn_as(dsn: str) -> Callable[[str], str]:
    """The connection string of somebody who is a member of one group role and nothing else."""

    def dsn_as(role: str) -> str:
        name = f"member_of_{role}"
        with psycopg.connect(dsn, autocommit=True) as connection:
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchall():
                connection.execute(SQL("CREATE ROLE {} LOGIN IN ROLE {}").format(Identifier(name), Identifier(role)))
        return make_conninfo(dsn, user=name)

    return dsn_as


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Waits for a condition."""

    return until


@pytest.fixture
def waiting(databases: Databases) -> Iterator[Callable[[], int]]:
    """Counts the sessions of the lent databases that wait for somebody's lock."""
    with psycopg.connect(databases.postgres.dsn, autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'registry_%' AND pg_blocking_pids(pid) <> '{}'"

        def waiting() -> int:
            return int(connection.execute(query).fetchall()[0][0])

        yield waiting


COMMITS = {"a": "a" * 40, "b": "b" * 40, "c": "c" * 40}


@dataclass(frozen=True, kw_only=True)
class Releases:
    """Releases of one model in one environment, told in a line. A candidate is a letter and a variant: `a1` and `a2` are of one commit."""

    client: RegistryClient
    model: str = "tiny"
    environment: str = "production"

    def document(self, candidate: str) -> dict[str, object]:
        return {"model": self.model, "commit": COMMITS[candidate[0]], "variant": candidate}

    def fingerprint(self, candidate: str) -> str:
        return digest(self.document(candidate))

    def begin(self, candidate: str, run: str) -> Entry:
        commit = COMMITS[candidate[0]]
        fingerprint = self.fingerprint(candidate)
        self.client.candidates.register(fingerprint, self.document(candidate), self.model, commit)
        return self.client.lifecycle.begin(
            model=self.model,
            hub_revision=commit,
            environment=self.environment,
            namespace="models",
            endpoint=f"{self.model}-{self.environment}.models.svc.cluster.local:8000",
            fingerprint=fingerprint,
            run_id=run,
        )

    def ready(self, candidate: str, run: str, helm_revision: int = 1) -> Entry:
        return self.client.lifecycle.mark_ready(
            model=self.model,
            environment=self.environment,
            fingerprint=self.fingerprint(candidate),
            helm_revision=helm_revision,
            evidence_sha256=self.client.evidence.save("verdict", {"candidate": candidate, "outcome": "passed"}),
            run_id=run,
        )

    def release(self, candidate: str, run: str, helm_revision: int = 1) -> Entry:
        self.begin(candidate, run)
        return self.ready(candidate, run, helm_revision)

    def fail(self, candidate: str, run: str, *, cluster_changed: bool = True) -> Entry | None:
        return self.client.lifecycle.mark_failed(
            model=self.model,
            environment=self.environment,
            fingerprint=self.fingerprint(candidate),
            reason="P95 was 412 ms, allowed are 300 ms",
            run_id=run,
            cluster_changed=cluster_changed,
        )

    def degrade(self, candidate: str) -> Entry | None:
        fingerprint = self.fingerprint(candidate)
        held = self.client.lifecycle.mark_degraded(
            model=self.model, environment=self.environment, fingerprint=fingerprint, reason="answers are wrong"
        )
        return self._held(fingerprint, held)

    def recover(self, candidate: str) -> Entry | None:
        fingerprint = self.fingerprint(candidate)
        return self._held(
            fingerprint, self.client.lifecycle.mark_recovered(model=self.model, environment=self.environment, fingerprint=fingerprint)
        )

    def _held(self, fingerprint: str, held: bool) -> Entry | None:
        return next(each for each in self.client.entries(self.model, self.environment) if each.fingerprint == fingerprint) if held else None

    def statuses(self) -> dict[str, str]:
        """Status by the first letter of the commit."""
        return {entry.hub_revision[0]: entry.status for entry in self.client.entries(self.model, self.environment)}

    def current(self) -> str | None:
        entry = self.client.current(self.model, self.environment)
        return self._kept(entry.fingerprint) if entry and entry.fingerprint else None

    def previous(self) -> str | None:
        found = self.client.previous(self.model, self.environment)
        return self._kept(found.fingerprint) if found else None

    def kept(self) -> set[str]:
        """The candidates that may serve again at once."""
        return {str(each["variant"]) for each in self.client.candidates.kept(["deploying", "ready", "degraded"])}

    def _kept(self, fingerprint: str) -> str:
        """The candidate; whatever is current or previous is kept on the nodes, in every history of these tests."""
        candidate = str((self.client.candidates.get(fingerprint) or {}).get("variant"))
        assert candidate in self.kept()
        return candidate

    def kinds(self) -> list[str]:
        """Kinds of all events, oldest first."""
        return [event.kind for event in reversed(self.client.events.latest())]


@pytest.fixture
def releases(client: RegistryClient) -> Releases:
    return Releases(client=client)

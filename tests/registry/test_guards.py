"""What the database itself refuses, whoever asks."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.sql import SQL, Composed, Identifier

from blocks.registry import STATUSES, RegistryClient

if TYPE_CHECKING:
    from conftest import Databases, Releases

ALLOWED = {
    ("pending", "deploying"),
    ("deploying", "ready"),
    ("deploying", "failed"),
    ("ready", "degraded"),
    ("degraded", "ready"),
    ("ready", "failed"),
    ("degraded", "failed"),
    ("ready", "disabled"),
    ("degraded", "disabled"),
    ("failed", "deploying"),
    ("disabled", "deploying"),
}


def test_the_status_machine(sql: psycopg.Connection) -> None:
    moved = set()
    refusals = {}
    for before, after in itertools.permutations(STATUSES, 2):
        sql.execute("INSERT INTO model_registry_entries (model_name, deployment_status) VALUES (%s, %s)", (f"{before}-{after}", before))
        try:
            sql.execute("UPDATE model_registry_entries SET deployment_status = %s WHERE model_name = %s", (after, f"{before}-{after}"))
            moved.add((before, after))
        except psycopg.errors.CheckViolation as error:
            refusals[before, after] = str(error)

    assert all(f"cannot go from {before} to {after}" in refusal for (before, after), refusal in refusals.items())
    assert moved == ALLOWED


def test_no_status_is_none_that_an_entry_can_be_moved_to(sql: psycopg.Connection) -> None:
    insert = "INSERT INTO model_registry_entries (model_name, deployment_status, hub_revision, deployment_environment)"
    insert += " VALUES (%s, %s, 'a', 'here')"
    for status in STATUSES:
        sql.execute(insert, (status, status))
        with pytest.raises(psycopg.errors.CheckViolation, match=f"cannot go from {status} to no status"):
            sql.execute("UPDATE model_registry_entries SET deployment_status = NULL WHERE model_name = %s", (status,))
        sql.execute(insert, (f"none-{status}", None))
        move = "UPDATE model_registry_entries SET deployment_status = %s WHERE model_name = %s"
        if status in ("pending", "deploying"):
            sql.execute(move, (status, f"none-{status}"))
        else:
            with pytest.raises(psycopg.errors.CheckViolation, match=f"cannot go from no status to {status}"):
                sql.execute(move, (status, f"none-{status}"))


def test_other_columns_change_freely(releases: Releases, sql: psycopg.Connection) -> None:
    releases.release("a1", "run-1")

    sql.execute("UPDATE model_registry_entries SET deployment_endpoint = 'elsewhere:8000'")

    assert releases.client.route("tiny").endpoint == "elsewhere:8000"


def test_an_unknown_status_is_refused(sql: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="slipway_entry_status_known"):
        sql.execute("INSERT INTO model_registry_entries (model_name, deployment_status) VALUES ('tiny', 'fine')")


@pytest.mark.parametrize("organisation", [None, "slipway-demo"])
def test_one_entry_for_a_commit_in_an_environment(sql: psycopg.Connection, organisation: str | None) -> None:
    insert = (
        "INSERT INTO model_registry_entries (organisation, model_name, hub_revision, deployment_environment) VALUES (%s, 'tiny', %s, %s)"
    )
    sql.execute(insert, (organisation, "a" * 40, "staging"))
    sql.execute(insert, (organisation, "a" * 40, "production"))
    sql.execute(insert, (organisation, "b" * 40, "staging"))
    sql.execute(insert, ("another", "a" * 40, "staging"))

    with pytest.raises(psycopg.errors.UniqueViolation, match="slipway_entry_once"):
        sql.execute(insert, (organisation, "a" * 40, "staging"))


def test_rows_without_an_environment_may_be_alike(sql: psycopg.Connection) -> None:
    for _ in range(2):
        sql.execute("INSERT INTO model_registry_entries (model_name) VALUES ('tiny')")

    assert sql.execute("SELECT count(*) FROM model_registry_entries").fetchone() == (2,)


@pytest.mark.parametrize("table", ["slipway_events", "slipway_candidates", "slipway_evidence"])
@pytest.mark.parametrize("change", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
def test_records_only_grow(releases: Releases, sql: psycopg.Connection, table: str, change: str) -> None:
    releases.release("a1", "run-1")
    column = {"slipway_events": "actor", "slipway_candidates": "model_name", "slipway_evidence": "kind"}[table]
    everything = Composed([SQL("TABLE "), Identifier(table)])
    before = sql.execute(everything).fetchall()

    with pytest.raises(psycopg.errors.RestrictViolation, match=f"rows of {table} are never changed or removed"):
        sql.execute(change.format(table, column, "'forged'"))

    assert sql.execute(everything).fetchall() == before
    assert before


def test_a_dump_loads_into_another_database(releases: Releases, sql: psycopg.Connection, databases: Databases) -> None:
    releases.release("a1", "run-1")
    releases.release("b1", "run-2")
    target = databases.present()

    with (
        psycopg.connect(target) as other,
        sql.cursor().copy("COPY model_registry_entries TO STDOUT") as source,
        other.cursor().copy("COPY model_registry_entries FROM STDIN") as sink,
    ):
        for data in source:
            sink.write(data)

    with RegistryClient(target) as client:
        assert client.entries() == releases.client.entries()

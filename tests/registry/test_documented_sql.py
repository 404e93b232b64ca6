"""The SQL that the documentation shows does what it says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg
import pytest

from flows.spec.load import ROOT

if TYPE_CHECKING:
    from conftest import Releases

ENDPOINT = "tiny-production.models.svc.cluster.local:8000"
STATEMENTS = [
    statement.strip()
    for page in ("registry.md", "router.md")
    for block in re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    for statement in block.split(";")
    if statement.strip()
]
QUERIES = [statement for statement in STATEMENTS if statement.startswith("SELECT")]


def test_there_is_some() -> None:
    assert len(QUERIES) >= 4
    assert len(STATEMENTS) - len(QUERIES) >= 3


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_finds_what_serves(releases: Releases, sql: psycopg.Connection, query: str) -> None:
    releases.release("a1", "run-1")
    releases.release("b1", "run-2")

    (found,) = sql.execute(query.encode()).fetchall()

    assert ENDPOINT in found


def test_the_roles_can_be_made_as_shown(sql: psycopg.Connection) -> None:
    with sql.transaction(force_rollback=True):
        for statement in dict.fromkeys(STATEMENTS):
            if statement.startswith("CREATE ROLE"):
                sql.execute(statement.encode())
        members = sql.execute(
            "SELECT pg_has_role('gateway', 'slipway_router', 'member'), pg_has_role('pipeline', 'slipway_admin', 'member')"
        )

        assert members.fetchall() == [(True, True)]

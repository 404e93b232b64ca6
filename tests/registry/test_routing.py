"""What routers are told: where a model is served, or why not; and that they hear of each change."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from blocks.registry import RegistryClient, Route
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from conftest import Releases

ENDPOINT = "tiny-production.models.svc.cluster.local:8000"
PLAIN = """
SELECT deployment_endpoint FROM model_registry_entries
WHERE deployment_status = 'ready' AND model_name = 'tiny' AND deployment_environment = 'production'
ORDER BY verified_at DESC NULLS LAST LIMIT 1
"""


def answer(route: Route) -> tuple[int, str | None]:
    return route.http_status, route.endpoint or route.message


def test_a_ready_model(releases: Releases, client: RegistryClient) -> None:
    entry = releases.release("a1", "run-1")

    assert client.route("tiny") == Route(
        endpoint=ENDPOINT,
        fingerprint=entry.fingerprint,
        status="ready",
        last_checked_at=entry.last_health_check_at,
        http_status=200,
        message=None,
    )


def test_why_not(releases: Releases, client: RegistryClient) -> None:
    assert answer(client.route("tiny")) == (404, "model tiny is unknown in production")

    releases.begin("a1", "run-1")
    assert answer(client.route("tiny")) == (503, "model tiny is not ready in production: it is deploying")
    assert answer(client.route("tiny", "staging")) == (404, "model tiny is unknown in staging")

    releases.ready("a1", "run-1")
    releases.degrade("a1")
    assert answer(client.route("tiny")) == (503, "model tiny is not ready in production: it is degraded")

    client.switch.disable("tiny", "production", reason="it leaks", actor="ada")
    assert answer(client.route("tiny")) == (503, "model tiny is disabled in production: it leaks")

    releases.begin("b1", "run-2")
    assert answer(client.route("tiny")) == (503, "model tiny is disabled in production: it leaks")


def test_a_hub_revision_on_request(releases: Releases, client: RegistryClient, sql: psycopg.Connection) -> None:
    releases.release("a1", "run-1")
    releases.release("b1", "run-2")
    sql.execute(
        """INSERT INTO model_registry_entries
               (model_name, hub_revision, deployment_environment, deployment_endpoint, deployment_status, verified_at)
           VALUES ('tiny', 'c1c', 'production', 'older:8000', 'ready', now() - interval '1 day'),
               ('tiny', 'c2c', 'production', NULL, 'ready', now() + interval '1 day')"""
    )

    assert answer(client.route("tiny")) == (200, ENDPOINT)
    assert answer(client.route("tiny", hub_revision="b" * 40)) == (200, ENDPOINT)
    assert answer(client.route("tiny", hub_revision="c1c")) == (200, "older:8000")
    assert answer(client.route("tiny", hub_revision="a" * 40)) == (503, "model tiny is not ready in production: it is disabled")
    assert answer(client.route("tiny", hub_revision="dd")) == (404, "model tiny has no hub revision dd in production")


def test_organisations_have_routes_of_their_own(releases: Releases, client: RegistryClient, sql: psycopg.Connection) -> None:
    releases.release("a1", "run-1")
    sql.execute("UPDATE model_registry_entries SET organisation = 'ours'")

    assert client.route("tiny").http_status == 404
    assert client.route("tiny", organisation="theirs").http_status == 404
    assert client.route("tiny", organisation="ours").endpoint == ENDPOINT


@pytest.mark.parametrize("role", ["slipway_router", "slipway_operator", "slipway_admin"])
def test_every_role_may_ask(dsn_as: Callable[[str], str], releases: Releases, role: str) -> None:
    releases.release("a1", "run-1")

    with RegistryClient(dsn_as(role)) as client:
        assert client.route("tiny").endpoint == ENDPOINT


def test_a_router_reads_the_routes_and_cannot_change_them(dsn_as: Callable[[str], str], releases: Releases) -> None:
    releases.release("a1", "run-1")
    with psycopg.connect(dsn_as("slipway_router"), autocommit=True) as router:
        assert router.execute("SELECT model, endpoint FROM slipway_routes").fetchall() == [("tiny", ENDPOINT)]
        for change in (b"UPDATE slipway_routes SET hub_revision = ''", b"DELETE FROM slipway_routes"):
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
                router.execute(change)


def test_the_function_reads_our_view_whatever_the_callers_path_is(
    dsn_as: Callable[[str], str], releases: Releases, sql: psycopg.Connection
) -> None:
    releases.release("a1", "run-1")
    with psycopg.connect(dsn_as("slipway_router"), autocommit=True) as router:
        router.execute("SET search_path = ''")
        assert router.execute("SELECT endpoint FROM public.route('tiny')").fetchall() == [(ENDPOINT,)]


def test_the_plain_query_finds_what_is_ready_and_nothing_that_was_taken_out(releases: Releases, sql: psycopg.Connection) -> None:
    releases.release("a1", "run-1")
    assert sql.execute(PLAIN.encode()).fetchall() == [(ENDPOINT,)]

    releases.client.switch.disable("tiny", "production", reason="it leaks", actor="ada")

    assert sql.execute(PLAIN.encode()).fetchall() == []


def test_a_lookup_becomes_part_of_the_query_and_is_one_look_into_one_index(releases: Releases, sql: psycopg.Connection) -> None:
    sql.execute(
        """INSERT INTO model_registry_entries
               (model_name, hub_revision, deployment_environment, deployment_endpoint, deployment_status, verified_at)
           SELECT 'model-' || number % 200, number::text, 'production', 'e:1', CASE WHEN number <= 200 THEN 'ready' ELSE 'failed' END, now()
           FROM generate_series(1, 4000) AS number"""
    )
    sql.execute("ANALYZE model_registry_entries")

    plan = "\n".join(row[0] for row in sql.execute("EXPLAIN (ANALYZE, COSTS off) SELECT * FROM route('model-7')"))

    assert "Function Scan" not in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan
    assert "slipway_entry_places" in plan


@pytest.fixture
def heard(dsn: str) -> Iterator[Callable[[], list[str]]]:
    """What was announced since the last call."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("LISTEN slipway_routes")

        def heard() -> list[str]:
            connection.execute("NOTIFY slipway_routes, 'end'")  # notices come in the order of the commits
            return list(itertools.takewhile("end".__ne__, (notice.payload for notice in connection.notifies(timeout=HANGS_SECONDS))))

        yield heard


HERE = '{"model" : "tiny", "environment" : "production", "organisation" : null}'


def test_each_change_is_announced_once(releases: Releases, client: RegistryClient, heard: Callable[[], list[str]]) -> None:
    for act in (
        lambda: releases.begin("a1", "run-1"),
        lambda: releases.ready("a1", "run-1"),
        lambda: releases.degrade("a1"),
        lambda: releases.recover("a1"),
        lambda: client.switch.disable("tiny", "production", reason="it leaks", actor="ada"),
        lambda: client.switch.enable("tiny", "production", reason="mended", actor="ada"),
        lambda: releases.begin("b1", "run-2"),
        lambda: releases.ready("b1", "run-2"),
    ):
        act()
        assert heard() == [HERE]


def test_a_health_check_is_no_news(releases: Releases, client: RegistryClient, heard: Callable[[], list[str]]) -> None:
    entry = releases.release("a1", "run-1")
    heard()

    assert entry.updated_at is not None
    assert client.health.mark_checked([entry.key], entry.updated_at.replace(year=2100)) == 1

    assert heard() == []


def test_what_is_taken_back_is_not_announced(sql: psycopg.Connection, releases: Releases, heard: Callable[[], list[str]]) -> None:
    releases.release("a1", "run-1")
    heard()

    with sql.transaction(force_rollback=True):
        sql.execute("UPDATE model_registry_entries SET deployment_endpoint = 'elsewhere:1'")

    assert heard() == []


def test_a_row_that_moves_is_news_at_both_places(sql: psycopg.Connection, releases: Releases, heard: Callable[[], list[str]]) -> None:
    releases.release("a1", "run-1")
    heard()

    sql.execute("UPDATE model_registry_entries SET deployment_environment = 'staging'")

    assert heard() == [HERE, HERE.replace("production", "staging")]


def test_a_row_that_goes_or_is_too_long_to_name_is_announced_too(
    sql: psycopg.Connection, releases: Releases, heard: Callable[[], list[str]]
) -> None:
    replace(releases, environment="staging").release("a1", "run-1")
    heard()

    sql.execute("INSERT INTO model_registry_entries (model_name) VALUES (repeat('x', 9000))")
    assert heard() == ["{}"]
    sql.execute("DELETE FROM model_registry_entries WHERE deployment_environment = 'staging'")
    assert heard() == [HERE.replace("production", "staging")]

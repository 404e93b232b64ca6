"""What Prometheus reads, and that it costs the same however many models there are."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from blocks.registry import Gate, Health, RegistryClient
from flows.metrics.exporter import FRESH_SECONDS, Exporter
from flows.metrics.server import MOST_CONNECTIONS, metrics_server
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from conftest import Releases

Figures = dict[tuple[str, tuple[str, ...]], float]


class Watch:
    """A clock that is set forward by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


def scrape(exporter: Exporter, watch: Watch | None = None) -> Figures:
    """Name and label values → value, as Prometheus understands it."""
    if watch is not None:
        watch.now += FRESH_SECONDS
    text = generate_latest(exporter.metrics).decode()
    return {
        (sample.name, tuple(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_the_status_of_each_model_in_each_environment(releases: Releases, client: RegistryClient, watch: Watch) -> None:
    releases.release("a1", "run-1")
    releases.release("b1", "run-2")
    replace(releases, environment="staging").begin("c1", "run-3")
    exporter = Exporter(client, clock=watch)

    seen = scrape(exporter)
    assert {labels for name, labels in seen if name == "slipway_model_status"} == {
        ("production", "tiny", "", "ready"),
        ("staging", "tiny", "", "deploying"),
    }

    client.switch.disable("tiny", "production", reason="it leaks", actor="ada")
    seen = scrape(exporter, watch)
    assert ("slipway_model_status", ("production", "tiny", "", "disabled")) in seen
    assert ("slipway_model_status", ("production", "tiny", "", "ready")) not in seen


def test_verdicts_phases_and_bytes(releases: Releases, client: RegistryClient, watch: Watch) -> None:
    exporter = Exporter(client, clock=watch)
    assert ("slipway_verdicts_total", ("production", "passed")) not in scrape(exporter)
    detail = {"phases": {"prefetch": 7.5, "rollout": 45}, "prefetch_bytes": 1000}
    for outcome in ("passed", "passed", "failed", "a series of its own", None):
        client.events.add("verified", environment="production", detail={"outcome": outcome})
    for _ in range(2):
        client.events.add("ready", model="tiny", environment="production", detail=detail)
    client.events.add("verified", environment="staging", detail={"outcome": "inconclusive"})
    client.events.add("noted", detail={"phases": "none", "prefetch_bytes": None})

    seen = scrape(exporter, watch)
    assert seen["slipway_verdicts_total", ("production", "passed")] == 2
    assert seen["slipway_verdicts_total", ("production", "failed")] == 1
    assert seen["slipway_verdicts_total", ("staging", "inconclusive")] == 1
    assert ("slipway_verdicts_total", ("production", "a series of its own")) not in seen
    assert seen["slipway_events_total", ("production", "ready")] == 2
    assert seen["slipway_events_total", ("", "noted")] == 1
    assert seen["slipway_phase_seconds_sum", ("production", "prefetch")] == 15
    assert seen["slipway_phase_seconds_bucket", ("production", "5.0", "prefetch")] == 0
    assert seen["slipway_phase_seconds_bucket", ("production", "10.0", "prefetch")] == 2
    assert seen["slipway_prefetch_bytes_total", ("production",)] == 2000
    # Each event counts once, and an exporter that starts later counts the same.
    assert scrape(exporter, watch) == seen
    assert scrape(Exporter(client)) == seen


def test_how_long_releases_and_rollbacks_took(releases: Releases, client: RegistryClient, watch: Watch) -> None:
    exporter = Exporter(client, clock=watch)
    releases.begin("a1", "run-1")
    # An environment's series are there before anything is counted: no increase can be seen in one that begins at one.
    seen = scrape(exporter, watch)
    assert seen["slipway_release_seconds_count", ("production",)] == 0
    assert seen["slipway_rollback_seconds_count", ("production",)] == 0
    assert seen["slipway_events_total", ("production", "failed")] == 0
    assert seen["slipway_verdicts_total", ("production", "inconclusive")] == 0

    for seconds in (590, 610):
        client.events.add("timed", model="tiny", environment="production", detail={"total_seconds": seconds})
    client.events.add("rolled_back", model="tiny", environment="production", actor="ada", detail={"seconds": 45.5})
    client.events.add("timed", model="tiny", environment="production", detail={"total_seconds": "unknown"})

    seen = scrape(exporter, watch)
    assert seen["slipway_release_seconds_sum", ("production",)] == 1200
    # The limit of ten minutes lies between two buckets.
    assert seen["slipway_release_seconds_bucket", ("production", "600.0")] == 1
    assert seen["slipway_release_seconds_bucket", ("production", "900.0")] == 2
    assert seen["slipway_rollback_seconds_sum", ("production",)] == 45.5
    assert seen["slipway_rollback_seconds_bucket", ("production", "300.0")] == 1


def test_when_something_last_happened_to_each_model(releases: Releases, client: RegistryClient, watch: Watch) -> None:
    exporter = Exporter(client, clock=watch)
    at = datetime(2026, 1, 2, tzinfo=UTC)
    for hours, kind in ((1, "verified"), (3, "verified"), (2, "rolled_back"), (4, "timed")):
        client.events.add(kind, model="tiny", environment="production", detail={}, at=at + timedelta(hours=hours))
    client.events.add("verified", environment="production", detail={}, at=at + timedelta(hours=9))

    last = {labels: value for (name, labels), value in scrape(exporter, watch).items() if name == "slipway_last_event_timestamp_seconds"}

    # Only what alerts ask for, and only of models.
    assert last == {
        ("production", "verified", "tiny", ""): (at + timedelta(hours=3)).timestamp(),
        ("production", "rolled_back", "tiny", ""): (at + timedelta(hours=2)).timestamp(),
    }


def test_a_lock_and_whether_its_holder_lives(client: RegistryClient, sql: psycopg.Connection, watch: Watch) -> None:
    exporter = Exporter(client, clock=watch)
    lock = client.locks.take("tiny", "production", "run-1")
    sql.execute("UPDATE slipway_locks SET acquired_at = now() - interval '1 hour', heartbeat_at = now() - interval '5 minutes'")

    seen = scrape(exporter, watch)
    assert 3600 <= seen["slipway_lock_held_seconds", ("production", "tiny", "")] < 3660
    assert 300 <= seen["slipway_lock_silent_seconds", ("production", "tiny", "")] < 360

    client.locks.free(lock)
    assert not any(name.startswith("slipway_lock") for name, _ in scrape(exporter, watch))


def test_where_a_canary_is_and_whether_anybody_looks(
    releases: Releases, client: RegistryClient, sql: psycopg.Connection, watch: Watch
) -> None:
    exporter, place = Exporter(client, clock=watch), ("production", "tiny", "")
    who = {"model": "tiny", "environment": "production", "run_id": "run-2"}
    releases.release("a1", "run-1")
    releases.begin("b1", "run-2")
    pair = {"stable": releases.fingerprint("a1"), "canary": releases.fingerprint("b1")}
    client.canaries.begin(**who, **pair, endpoint="tiny-b:8000", steps=[])
    client.canaries.change(**who, phase="running", weight=5, shadow=10, until=datetime.now(UTC) - timedelta(minutes=5))
    for judge in ({}, {"verdict": 7}, {"verdict": {"e_value": "much", "limit": True}}):
        client.canaries.save_judge(**who, state=judge)
        assert not any(name.startswith("slipway_canary_harm") for name, _ in scrape(exporter, watch))
    client.canaries.save_judge(**who, state={"verdict": {"e_value": 3.5, "limit": 20}})
    sql.execute("UPDATE slipway_canaries SET since = now() - interval '1 hour', judged_at = now() - interval '15 minutes'")

    seen = scrape(exporter, watch)
    assert (seen["slipway_canary_weight", place], seen["slipway_canary_shadow", place]) == (5, 10)
    assert 3600 <= seen["slipway_canary_phase_seconds", ("production", "tiny", "", "running")] < 3660
    assert 300 <= seen["slipway_canary_overdue_seconds", ("production", "tiny", "", "running")] < 360
    assert 900 <= seen["slipway_canary_unwatched_seconds", place] < 960
    assert (seen["slipway_canary_harm_evidence", place], seen["slipway_canary_harm_limit", place]) == (3.5, 20)

    client.canaries.change(**who, phase="held")
    assert ("slipway_canary_unwatched_seconds", place) not in scrape(exporter, watch)
    client.canaries.end(**who, outcome="aborted")
    assert not any(name.startswith("slipway_canary") for name, _ in scrape(exporter, watch))


def test_a_long_record_is_read_before_the_first_scrape(client: RegistryClient, sql: psycopg.Connection) -> None:
    sql.execute(
        "INSERT INTO slipway_events (occurred_at, kind, environment) SELECT now(), 'failed', 'production' FROM generate_series(1, 1300)"
    )
    failed = ("slipway_events_total", ("production", "failed"))
    # A scrape reads a bounded number of events ...
    assert scrape(Exporter(client, page=10))[failed] < 1300
    # ... so one that begins with a scrape would seem to see hundreds of failures happen.
    exporter = Exporter(client, page=10)
    exporter.catch_up()

    assert scrape(exporter)[failed] == 1300


@pytest.mark.parametrize(
    "detail",
    [
        '{"prefetch_bytes": -1, "total_seconds": -1, "seconds": -5, "phases": {"verify": -1}}',
        '{"prefetch_bytes": 1e400, "total_seconds": 1e400, "seconds": true, "phases": {"verify": 1e400}}',
        '{"prefetch_bytes": "7", "total_seconds": null, "seconds": [], "phases": [1]}',
        '{"prefetch_bytes": 1' + "0" * 6000 + "}",
    ],
)
def test_no_event_stops_the_exporter(client: RegistryClient, sql: psycopg.Connection, detail: str) -> None:
    for kind in ("timed", "rolled_back"):
        sql.execute(
            "INSERT INTO slipway_events (occurred_at, kind, environment, detail) VALUES (now(), %s, 'production', %s)", (kind, detail)
        )
    client.events.add("timed", environment="production", run_id="run-1", detail={"prefetch_bytes": 5, "total_seconds": 3.5})
    exporter = Exporter(client)

    exporter.catch_up()

    seen = scrape(exporter)
    assert seen["slipway_prefetch_bytes_total", ("production",)] == 5
    assert seen["slipway_release_seconds_sum", ("production",)] == 3.5
    assert seen["slipway_events_total", ("production", "timed")] == 2


def test_connections_that_say_nothing_hold_nobody_up(client: RegistryClient) -> None:
    server = metrics_server("127.0.0.1", 0, Exporter(client).metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = threading.active_count()
    idle = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(3 * MOST_CONNECTIONS)]
    try:
        for number in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=HANGS_SECONDS) as answer:
                assert b"slipway_exporter_up 1" in answer.read()
            assert threading.active_count() <= before + MOST_CONNECTIONS + 3, number
    finally:
        for each in idle:
            each.close()
        server.shutdown()
        server.server_close()


def test_an_event_whose_transaction_ended_late_is_counted(
    client: RegistryClient, dsn: str, watch: Watch, waiting: Callable[[], int], wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    exporter = Exporter(client, clock=watch)
    insert = "INSERT INTO slipway_events (occurred_at, kind) VALUES (now(), %s)"
    with psycopg.connect(dsn) as late, psycopg.connect(dsn) as early:
        early.execute(insert, ("early",))
        writing = threading.Thread(target=late.execute, args=(insert, ("late",)))
        writing.start()
        wait_until(lambda: not writing.is_alive() or waiting() == 1)
        early.execute(insert, ("early",))  # with a higher id than the late one
        early.commit()
        writing.join(HANGS_SECONDS)

        seen = scrape(exporter, watch)
        assert seen["slipway_events_total", ("", "early")] == 2
        assert ("slipway_events_total", ("", "late")) not in seen
        late.commit()

    assert scrape(exporter, watch)["slipway_events_total", ("", "late")] == 1
    assert scrape(exporter, watch)["slipway_events_total", ("", "late")] == 1


def test_what_waits_for_a_person(client: RegistryClient, watch: Watch) -> None:
    exporter = Exporter(client, clock=watch)
    assert not any(name.startswith("slipway_approval") for name, _ in scrape(exporter))
    gates = [Gate(run_id=f"run-{hours}", name="production", model="tiny", environment="production", fingerprint="f") for hours in (1, 3)]
    for gate, hours in zip(gates, (1, 3), strict=True):
        client.approvals.mark(gate, "approval_requested", {}, at=datetime.now(UTC) - timedelta(hours=hours))

    seen = scrape(exporter, watch)
    assert seen["slipway_approvals_waiting", ("production",)] == 2
    assert 3 * 3600 <= seen["slipway_approval_oldest_seconds", ("production",)] < 3 * 3600 + 60

    client.approvals.mark(gates[1], "approval_expired", {})
    assert scrape(exporter, watch)["slipway_approvals_waiting", ("production",)] == 1


def test_the_monitors_lag_is_that_of_the_oldest_check(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    replace(releases, model="nano").release("b1", "run-2")
    (nano,) = client.entries("nano")
    client.health.record([Health(key=nano.key, fingerprint=nano.fingerprint, good=True)], datetime.now(UTC) + timedelta(hours=1))

    seen = scrape(Exporter(client))

    assert 0 <= seen["slipway_monitor_lag_seconds", ("production",)] < 60


def test_scrapes_in_quick_succession_cost_one(releases: Releases, client: RegistryClient, watch: Watch) -> None:
    exporter = Exporter(client, clock=watch)
    before = scrape(exporter)
    releases.release("a1", "run-1")

    assert scrape(exporter) == before
    assert scrape(exporter, watch) != before


def test_a_registry_that_is_away_is_a_figure_and_not_an_error(releases: Releases, dsn: str, watch: Watch) -> None:
    releases.release("a1", "run-1")
    with RegistryClient(dsn) as client:
        exporter = Exporter(client, clock=watch)
        before = scrape(exporter)
        assert before["slipway_exporter_up", ()] == 1

    after = scrape(exporter, watch)
    assert after["slipway_exporter_up", ()] == 0
    assert after["slipway_events_total", ("production", "ready")] == before["slipway_events_total", ("production", "ready")]
    assert not any(name == "slipway_model_status" for name, _ in after)


def test_the_number_of_statements_does_not_grow_with_the_models(
    releases: Releases, client: RegistryClient, sql: psycopg.Connection
) -> None:
    sql.execute(
        """INSERT INTO model_registry_entries
               (model_name, hub_revision, deployment_environment, deployment_endpoint, deployment_status, verified_at)
           SELECT 'model-' || number, 'a', 'production', 'e:1', 'ready', now() FROM generate_series(1, 500) AS number"""
    )

    def statements() -> int:
        found = sql.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").fetchone()
        assert found is not None
        return int(found[0])

    sql.execute("SELECT pg_stat_force_next_flush()")
    before = statements()
    seen = scrape(Exporter(client))
    sql.execute("SELECT pg_stat_force_next_flush()")

    assert len([name for name, _ in seen if name == "slipway_model_status"]) == 500
    assert statements() - before < 50

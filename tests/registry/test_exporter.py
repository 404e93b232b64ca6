"""What Prometheus reads, and that it costs the same however many models there are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from blocks.registry import Gate, Health, RegistryClient
from flows.exporter import FRESH_SECONDS, Exporter

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

    client.disable("tiny", "production", reason="it leaks", actor="ada")
    seen = scrape(exporter, watch)
    assert ("slipway_model_status", ("production", "tiny", "", "disabled")) in seen
    assert ("slipway_model_status", ("production", "tiny", "", "ready")) not in seen


def test_verdicts_phases_and_bytes(releases: Releases, client: RegistryClient, watch: Watch) -> None:
    exporter = Exporter(client, clock=watch)
    assert ("slipway_verdicts_total", ("production", "passed")) not in scrape(exporter)
    passed = client.save_evidence("verdict", {"verdict": {"outcome": "passed"}})
    failed = client.save_evidence("verdict", {"verdict": {"outcome": "failed"}})
    detail = {"evidence_sha256": passed, "phases": {"prefetch": 7.5, "rollout": 45}, "prefetch_bytes": 1000}
    for _ in range(2):
        client.add_event("ready", model="tiny", environment="production", detail=detail)
    client.add_event("degraded", model="tiny", environment="production", detail={"evidence_sha256": failed})
    client.add_event("verified", environment="staging", detail={"outcome": "inconclusive"})
    client.add_event("noted", detail={"phases": "none", "prefetch_bytes": None})

    seen = scrape(exporter, watch)
    assert seen["slipway_verdicts_total", ("production", "passed")] == 2
    assert seen["slipway_verdicts_total", ("production", "failed")] == 1
    assert seen["slipway_verdicts_total", ("staging", "inconclusive")] == 1
    assert seen["slipway_events_total", ("production", "ready")] == 2
    assert seen["slipway_events_total", ("", "noted")] == 1
    assert seen["slipway_phase_seconds_sum", ("production", "prefetch")] == 15
    assert seen["slipway_phase_seconds_bucket", ("production", "5.0", "prefetch")] == 0
    assert seen["slipway_phase_seconds_bucket", ("production", "10.0", "prefetch")] == 2
    assert seen["slipway_prefetch_bytes_total", ("production",)] == 2000
    # Each event counts once, and an exporter that starts later counts the same.
    assert scrape(exporter, watch) == seen
    assert scrape(Exporter(client)) == seen


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
        writing.join(30)

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
        client.mark_gate(gate, "approval_requested", {}, at=datetime.now(UTC) - timedelta(hours=hours))

    seen = scrape(exporter, watch)
    assert seen["slipway_approvals_waiting", ("production",)] == 2
    assert 3 * 3600 <= seen["slipway_approval_oldest_seconds", ("production",)] < 3 * 3600 + 60

    client.mark_gate(gates[1], "approval_expired", {})
    assert scrape(exporter, watch)["slipway_approvals_waiting", ("production",)] == 1


def test_the_monitors_lag_is_that_of_the_oldest_check(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    replace(releases, model="nano").release("b1", "run-2")
    (nano,) = client.entries("nano")
    client.record_health([Health(key=nano.key, fingerprint=nano.fingerprint, good=True)], datetime.now(UTC) + timedelta(hours=1))

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

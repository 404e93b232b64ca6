"""What a round of health checks leaves in the registry, and what it leaves alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from blocks.registry import Entry, Health, RegistryClient

if TYPE_CHECKING:
    from conftest import Releases

NOON = datetime(2100, 1, 1, 12, tzinfo=UTC)

#: When rounds are: no two at the same time.
ROUNDS = (NOON + timedelta(minutes=number) for number in itertools.count(1))


def check(client: RegistryClient, good: str, at: datetime | None = None) -> list[str]:
    """One check of everything after the other; `+` and `-` say how they are. The windows after the last."""
    windows: list[str] = []
    for outcome in good:
        entries = client.entries()
        checks = [Health(key=entry.key, fingerprint=entry.fingerprint, good=outcome == "+") for entry in entries]
        windows = [seen.window for seen in client.health.record(checks, at or next(ROUNDS))]
    return windows


def only(client: RegistryClient) -> Entry:
    (entry,) = client.entries()
    return entry


def test_the_last_five_checks_are_remembered(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")

    assert check(client, "+") == ["+"]
    assert check(client, "--") == ["+--"]
    assert check(client, "++-+") == ["-++-+"]
    last = only(client).last_health_check_at
    assert last is not None
    assert last > NOON
    assert check(client, "+", NOON) == ["++-++"]
    assert only(client).last_health_check_at == last


def test_a_round_that_is_told_twice_counts_once(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")

    assert check(client, "-", NOON) == ["-"]
    assert check(client, "-", NOON) == ["-"]


def test_what_is_verified_anew_begins_anew(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    check(client, "--")
    releases.release("a2", "run-2")

    assert check(client, "-") == ["-"]


def test_what_another_candidate_answered_does_not_count(releases: Releases, client: RegistryClient) -> None:
    entry = releases.release("a1", "run-1")
    releases.release("a2", "run-2")

    assert client.health.record([Health(key=entry.key, fingerprint=entry.fingerprint, good=False)], NOON) == []
    assert only(client).last_health_check_at != NOON


def test_what_does_not_serve_is_left_alone(releases: Releases, client: RegistryClient) -> None:
    releases.begin("a1", "run-1")
    assert check(client, "-") == []
    releases.ready("a1", "run-1")
    client.switch.disable("tiny", "production", reason="it leaks", actor="ada")
    assert check(client, "-") == []


def test_it_waits_for_nobody(releases: Releases, client: RegistryClient, dsn: str) -> None:
    releases.release("a1", "run-1")
    replace(releases, model="nano").release("b1", "run-1")

    with psycopg.connect(dsn) as somebody:
        somebody.execute("SELECT FROM model_registry_entries WHERE model_name = 'tiny' FOR UPDATE")
        checks = [Health(key=entry.key, fingerprint=entry.fingerprint, good=True) for entry in client.entries()]
        seen = client.health.record(checks, NOON)

    assert [entry.model for entry in seen] == ["nano"]


@pytest.mark.parametrize(("who", "back"), [("monitor", True), ("nightly", False), (None, False)])
def test_a_health_check_does_not_overrule_a_verification(releases: Releases, client: RegistryClient, who: str | None, back: bool) -> None:
    entry = releases.release("a1", "run-1")
    which = {"model": "tiny", "environment": "production", "fingerprint": str(entry.fingerprint)}
    client.lifecycle.mark_degraded(**which, reason="answers are wrong", actor=who)

    recovered = client.lifecycle.mark_recovered(**which, actor="monitor", degraded_by="monitor")

    assert recovered == back
    assert only(client).status == ("ready" if back else "degraded")


def test_an_admin_may(dsn_as: Callable[[str], str], releases: Releases) -> None:
    releases.release("a1", "run-1")
    with RegistryClient(dsn_as("slipway_admin")) as admin:
        assert check(admin, "+-") == ["+-"]


def test_the_window_is_five_signs(releases: Releases, sql: psycopg.Connection) -> None:
    releases.release("a1", "run-1")
    with pytest.raises(psycopg.errors.CheckViolation, match="slipway_entry_health_window"):
        sql.execute("UPDATE model_registry_entries SET health_window = '++++++'")

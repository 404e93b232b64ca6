"""What the console remembers: tokens by their hash, sessions that ended, requests that are sent again."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from blocks.errors import RegistryRejected
from blocks.registry import RegistryClient

NOW = datetime.now(UTC)
HASH, OTHER = "a" * 64, "b" * 64


def add(client: RegistryClient, **changes: Any) -> None:
    token = {
        "id": "ci-1",
        "secret_sha256": HASH,
        "label": "ci",
        "acts_as": "ci",
        "role": "operator",
        "models": ["tiny-*"],
        "environments": ["*"],
        "created_by": "ada",
        "expires_at": NOW + timedelta(days=1),
    }
    client.access.add_token(**{**token, **changes})  # type: ignore[arg-type]


def test_a_token_is_found_by_its_hash_and_its_use_is_noted(client: RegistryClient) -> None:
    add(client)

    found = client.access.token(HASH)

    assert found is not None
    assert (found.id, found.role, found.models, found.last_used_at) == ("ci-1", "operator", ["tiny-*"], None)
    assert client.access.tokens()[0].last_used_at is not None
    assert client.access.token(OTHER) is None


def test_a_token_ends_when_its_time_is_up_or_it_is_revoked(client: RegistryClient) -> None:
    add(client, expires_at=NOW - timedelta(seconds=1))
    add(client, id="ci-2", secret_sha256=OTHER)

    assert client.access.token(HASH) is None
    assert client.access.revoke_token("ci-2", "ada")
    assert not client.access.revoke_token("ci-2", "eve")
    assert client.access.token(OTHER) is None
    assert {token.id: token.revoked_by for token in client.access.tokens()} == {"ci-1": None, "ci-2": "ada"}


@pytest.mark.parametrize("changes", [{"role": "owner"}, {"models": []}, {"secret_sha256": "slipway_token"}, {"label": ""}])
def test_what_is_no_token_is_refused(client: RegistryClient, changes: dict[str, Any]) -> None:
    with pytest.raises(RegistryRejected):
        add(client, **changes)


def test_a_session_that_was_ended_stays_ended_until_nobody_could_use_it(client: RegistryClient, sql: psycopg.Connection) -> None:
    client.access.end_session(HASH, NOW + timedelta(hours=8))
    client.access.end_session(HASH, NOW + timedelta(hours=8))
    client.access.end_session(OTHER, NOW - timedelta(hours=1))

    client.access.begin_answer("ada", "key", HASH)

    assert client.access.is_ended(HASH)
    assert not client.access.is_ended("c" * 64)
    assert sql.execute("SELECT count(*) FROM slipway_ended_sessions").fetchone() == (1,)


def test_a_request_is_answered_once_and_told_again(client: RegistryClient) -> None:
    assert client.access.begin_answer("ada", "key", HASH) is None
    under_way = client.access.begin_answer("ada", "key", HASH)
    client.access.keep_answer("ada", "key", 202, {"run": "1"})
    client.access.keep_answer("ada", "key", 500, {"run": "2"})
    told = client.access.begin_answer("ada", "key", OTHER)

    assert under_way is not None
    assert (under_way.status, under_way.request_sha256) == (None, HASH)
    assert told is not None
    assert (told.status, told.body, told.request_sha256) == (202, {"run": "1"}, HASH)
    assert client.access.begin_answer("eve", "key", OTHER) is None, "another's key is another key"


def test_a_request_whose_process_was_lost_begins_again_and_no_other_in_its_place(client: RegistryClient, sql: psycopg.Connection) -> None:
    client.access.begin_answer("ada", "key", HASH)
    sql.execute("UPDATE slipway_api_answers SET begun_at = now() - interval '61 seconds'")

    assert client.access.begin_answer("ada", "key", OTHER) is not None
    assert client.access.begin_answer("ada", "key", HASH) is None
    assert client.access.begin_answer("ada", "key", HASH) is not None
    client.access.drop_answer("ada", "key")
    assert client.access.begin_answer("ada", "key", HASH) is None


def test_answers_are_forgotten_after_a_day(client: RegistryClient, sql: psycopg.Connection) -> None:
    client.access.begin_answer("ada", "key", HASH)
    client.access.keep_answer("ada", "key", 202, {})
    sql.execute("UPDATE slipway_api_answers SET begun_at = now() - interval '25 hours'")

    assert client.access.begin_answer("ada", "key", OTHER) is None


def test_of_several_at_once_one_begins(client: RegistryClient) -> None:
    begun: list[bool] = []
    threads = [threading.Thread(target=lambda: begun.append(client.access.begin_answer("ada", "key", HASH) is None)) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(begun) == [False] * 7 + [True]


def test_whoever_takes_models_out_may_do_all_that_the_console_does(client: RegistryClient, dsn_as: Any) -> None:
    add(client)

    with RegistryClient(dsn_as("slipway_operator")) as operator:
        assert operator.access.token(HASH) is not None
        operator.access.end_session(HASH, NOW + timedelta(hours=1))
        assert operator.access.begin_answer("ada", "key", HASH) is None
        operator.access.keep_answer("ada", "key", 202, {})
        with pytest.raises(RegistryRejected):
            operator.access.revoke_token("ci-1", "eve")

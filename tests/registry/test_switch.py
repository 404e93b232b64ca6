"""A person takes a model out of an environment, and it stays out until a person puts it back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from blocks.errors import RegistryRejected
from blocks.registry import Entry, RegistryClient, TakenOut

if TYPE_CHECKING:
    from conftest import Releases

PLACE = ("tiny", "production")


def disable(client: RegistryClient, reason: str = "it leaks") -> Entry:
    return client.switch.disable(*PLACE, reason=reason, actor="ada")


def enable(client: RegistryClient) -> Entry:
    entry = client.switch.enable(*PLACE, reason="mended", actor="bob")
    assert entry is not None
    return entry


def test_out_and_in_again(releases: Releases, client: RegistryClient) -> None:
    ready = releases.release("a1", "run-1", helm_revision=7)

    out = disable(client)
    assert (out.status, out.status_reason, out.disabled_from) == ("disabled", "it leaks", "ready")
    assert client.switch.taken_out(*PLACE) == TakenOut(reason="it leaks", actor="ada")
    # It still is what answers at the endpoint: a rollback must not go "back" to it.
    assert releases.current() == "a1"
    assert releases.previous() is None

    back = enable(client)
    assert replace(back, updated_at=ready.updated_at) == ready
    assert client.switch.taken_out(*PLACE) is None
    assert [(event.kind, event.actor, event.detail.get("reason")) for event in client.events.latest(limit=2)] == [
        ("enabled", "bob", "mended"),
        ("disabled", "ada", "it leaks"),
    ]


def test_twice_is_once(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    enable(client)
    assert disable(client) == disable(client, "another reason")
    assert enable(client) == enable(client)

    assert releases.kinds() == ["deploying", "ready", "disabled", "enabled"]


def test_what_was_degraded_comes_back_degraded(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    releases.degrade("a1")
    disable(client)

    assert enable(client).status == "degraded"
    recovered = releases.recover("a1")
    assert recovered is not None
    assert recovered.status == "ready"


@pytest.mark.parametrize("candidate", ["a2", "b1"])
def test_what_is_released_meanwhile_stays_out_until_it_is_enabled(releases: Releases, client: RegistryClient, candidate: str) -> None:
    releases.release("a1", "run-1", helm_revision=1)
    disable(client)

    entry = releases.release(candidate, "run-2", helm_revision=2)

    assert (entry.status, entry.disabled_from, entry.status_reason, entry.helm_revision) == ("disabled", "ready", "it leaks", 2)
    assert (releases.current(), releases.previous()) == (candidate, "a1")
    assert client.switch.taken_out(*PLACE) == TakenOut(reason="it leaks", actor="ada")
    back = enable(client)
    assert (back.status, back.fingerprint) == ("ready", releases.fingerprint(candidate))
    assert "ready" not in {entry.status for entry in client.entries() if entry.fingerprint != back.fingerprint}


def test_a_release_under_way_does_not_put_the_model_back(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    releases.begin("b1", "run-2")
    disable(client)

    assert releases.ready("b1", "run-2").status == "disabled"


@pytest.mark.parametrize("candidate", ["a1", "a2", "b1"])
def test_a_failed_release_over_it_cannot_be_put_back(releases: Releases, client: RegistryClient, candidate: str) -> None:
    releases.release("a1", "run-1")
    disable(client)
    releases.begin(candidate, "run-2")
    releases.fail(candidate, "run-2")

    assert releases.statuses()["a"] == "disabled"
    assert releases.current() is None
    assert client.switch.enable(*PLACE, reason="mended", actor="bob") is None
    assert (releases.statuses()["a"], releases.current()) == ("degraded", None)
    with pytest.raises(RegistryRejected, match="release it"):
        enable(client)


def test_after_a_failed_release_over_it_the_next_one_is_out_too(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    disable(client)
    releases.begin("b1", "run-2")
    releases.fail("b1", "run-2")

    assert releases.release("c1", "run-3").status == "disabled"
    assert enable(client).status == "ready"
    assert releases.statuses()["c"] == "ready"


def test_what_was_superseded_cannot_be_put_back(releases: Releases, client: RegistryClient, sql: psycopg.Connection) -> None:
    releases.release("a1", "run-1")
    releases.release("b1", "run-2")

    assert enable(client).fingerprint == releases.fingerprint("b1")
    assert releases.statuses() == {"a": "disabled", "b": "ready"}
    with pytest.raises(psycopg.errors.CheckViolation, match="cannot go from disabled to ready"):
        sql.execute(
            "UPDATE model_registry_entries SET deployment_status = 'ready', verified_at = now() WHERE deployment_status = 'disabled'"
        )
    with pytest.raises(psycopg.errors.CheckViolation, match="slipway_entry_disabled_from"):
        sql.execute("UPDATE model_registry_entries SET disabled_from = 'ready' WHERE deployment_status = 'ready'")


@pytest.mark.parametrize("given", [lambda releases: None, lambda releases: releases.begin("a1", "run-1")])
def test_there_must_be_something_to_take_out(client: RegistryClient, releases: Releases, given: Callable[[Releases], object]) -> None:
    given(releases)
    before = client.entries()

    with pytest.raises(RegistryRejected, match="nothing serves tiny in production"):
        disable(client)
    with pytest.raises(RegistryRejected, match="nothing of tiny in production can be put back"):
        enable(client)
    assert client.entries() == before


@pytest.mark.parametrize(("reason", "actor"), [("", "ada"), ("  ", "ada"), ("it leaks", "")])
def test_a_reason_and_a_name_are_needed(releases: Releases, client: RegistryClient, reason: str, actor: str) -> None:
    releases.release("a1", "run-1")

    with pytest.raises(RegistryRejected, match="needs a reason and a name"):
        client.switch.disable(*PLACE, reason=reason, actor=actor)
    assert releases.statuses() == {"a": "ready"}


def test_other_environments_and_organisations_are_left_alone(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    replace(releases, environment="staging").release("a1", "run-1")

    disable(client)

    assert [entry.status for entry in client.entries(environment="staging")] == ["ready"]
    with pytest.raises(RegistryRejected, match="nothing serves"):
        client.switch.disable(*PLACE, reason="it leaks", actor="ada", organisation="another")


def test_an_operator_may_and_a_router_may_not(dsn_as: Callable[[str], str], releases: Releases) -> None:
    releases.release("a1", "run-1")
    with RegistryClient(dsn_as("slipway_router")) as router, pytest.raises(RegistryRejected, match="does not allow this"):
        disable(router)

    with RegistryClient(dsn_as("slipway_operator")) as operator:
        assert disable(operator).status == "disabled"
        assert enable(operator).status == "ready"


def test_an_operator_is_not_led_into_another_schema(dsn_as: Callable[[str], str], releases: Releases, sql: psycopg.Connection) -> None:
    """A function with its owner's rights must not use tables that its caller made."""
    releases.release("a1", "run-1")
    with psycopg.connect(dsn_as("slipway_operator"), autocommit=True) as operator:
        operator.execute("CREATE TEMP TABLE slipway_events (LIKE slipway_events INCLUDING ALL)")
        operator.execute("SET search_path = pg_temp, public")
        operator.execute("SELECT public.slipway_disable('tiny', 'production', 'it leaks', 'ada')")
        assert operator.execute("SELECT count(*) FROM pg_temp.slipway_events").fetchone() == (0,)

    assert releases.kinds()[-1] == "disabled"


def test_the_empty_organisation_is_none(releases: Releases, client: RegistryClient, sql: psycopg.Connection) -> None:
    ready = releases.release("a1", "run-1")

    for switch in ("slipway_disable", "slipway_enable"):
        sql.execute(f"SELECT {switch}('tiny', 'production', 'it leaks', 'ada', '')".encode())
    judgement = "SELECT slipway_judge(%s, '', 'tiny', 'production', %s, 'bad', NULL, '{ready}', NULL, 'ada', '{}', NULL)"
    assert sql.execute(judgement, ("degraded", ready.fingerprint)).fetchall() == [(True,)]
    sql.execute("INSERT INTO slipway_events (occurred_at, kind, organisation, model_name) VALUES (now(), 'noted', '', 'tiny')")

    assert releases.kinds() == ["deploying", "ready", "disabled", "enabled", "degraded", "noted"]
    assert {event.organisation for event in client.events.latest()} == {None}
    assert sql.execute("SELECT count(*) FROM slipway_chains WHERE place LIKE '[\"\"%'").fetchall() == [(0,)]
    current = client.current(*PLACE, organisation="")
    assert current is not None
    assert current.organisation is None
    with pytest.raises(psycopg.errors.UniqueViolation):
        sql.execute(
            "INSERT INTO model_registry_entries (organisation, model_name, hub_revision, deployment_environment) VALUES ('', %s, %s, %s)",
            (current.model, current.hub_revision, current.environment),
        )


def test_only_what_a_judgement_can_be_is_recorded(releases: Releases, sql: psycopg.Connection) -> None:
    ready = releases.release("a1", "run-1")
    judgement = "SELECT slipway_judge(%s, NULL, 'tiny', 'production', %s, 'bad', NULL, '{}', NULL, 'ada', '{}', NULL)"

    for kind in ("approved", "ready", None):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="degraded or recovered"):
            sql.execute(judgement, (kind, ready.fingerprint))

    assert releases.kinds() == ["deploying", "ready"]

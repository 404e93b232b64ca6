"""One run at a time changes a model in an environment, and one that lost its lock can do no harm."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from blocks.errors import RegistryRejected
from blocks.registry import Lock, RegistryClient
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from conftest import Releases

PLACE = ("tiny", "production")


def fall_silent(sql: psycopg.Connection) -> None:
    sql.execute("UPDATE slipway_locks SET heartbeat_at = heartbeat_at - interval '61 seconds'")


def test_the_first_one_has_it(client: RegistryClient) -> None:
    first = client.locks.take(*PLACE, "run-1")
    second = client.locks.take(*PLACE, "run-2")

    assert (first.run_id, second.run_id, second.fence) == ("run-1", "run-1", first.fence)
    assert 0 <= second.silent_seconds < 30


def test_other_places_are_free(client: RegistryClient) -> None:
    client.locks.take(*PLACE, "run-1")

    others = [
        client.locks.take("tiny", "staging", "run-2"),
        client.locks.take("nano", "production", "run-2"),
        client.locks.take(*PLACE, "run-2", organisation="theirs"),
    ]
    assert [lock.run_id for lock in others] == ["run-2"] * 3


def test_it_is_given_back_and_numbers_only_rise(client: RegistryClient) -> None:
    first = client.locks.take(*PLACE, "run-1")
    client.locks.free(first)
    client.locks.free(first)

    second = client.locks.take(*PLACE, "run-2")

    assert (second.run_id, second.fence > first.fence) == ("run-2", True)
    client.locks.free(first)
    assert client.locks.take(*PLACE, "run-3").run_id == "run-2"


def test_a_lost_process_of_a_run_is_cleaned_up_after_by_the_run_alone(client: RegistryClient) -> None:
    client.locks.take(*PLACE, "run-1")

    client.locks.give_back(*PLACE, "run-2")
    assert client.locks.take(*PLACE, "run-3").run_id == "run-1"

    client.locks.give_back(*PLACE, "run-1")
    assert client.locks.take(*PLACE, "run-3").run_id == "run-3"


def test_a_silent_holder_is_taken_over_from_and_knows_it(client: RegistryClient, sql: psycopg.Connection) -> None:
    first = client.locks.take(*PLACE, "run-1")
    assert client.locks.keep(first)
    fall_silent(sql)

    second = client.locks.take(*PLACE, "run-2")

    assert (second.run_id, second.fence > first.fence) == ("run-2", True)
    assert not client.locks.keep(first)
    assert client.locks.keep(second)


def test_a_sign_of_life_keeps_it(client: RegistryClient, sql: psycopg.Connection) -> None:
    first = client.locks.take(*PLACE, "run-1")
    fall_silent(sql)
    assert client.locks.keep(first)

    assert client.locks.take(*PLACE, "run-2").run_id == "run-1"


def test_a_run_that_starts_again_fences_its_former_process_off(client: RegistryClient, releases: Releases) -> None:
    zombie = client.locks.take(*PLACE, "run-1")
    alive = client.locks.take(*PLACE, "run-1")

    assert alive.fence > zombie.fence
    assert not client.locks.keep(zombie)
    with pytest.raises(RegistryRejected, match="another process of this run holds tiny in production"):
        write(releases, "begin", zombie.fence)
    write(releases, "begin", alive.fence)


def write(releases: Releases, step: str, fence: int | None, run_id: str = "run-1") -> object:
    client, fingerprint = releases.client, releases.fingerprint("a1")
    client.candidates.register(fingerprint, releases.document("a1"), "tiny", "a" * 40)
    who = {"model": "tiny", "environment": "production", "fingerprint": fingerprint, "run_id": run_id, "fence": fence}
    if step == "begin":
        return client.lifecycle.begin(**who, hub_revision="a" * 40, namespace="models", endpoint="tiny:8000")
    if step == "ready":
        return client.lifecycle.mark_ready(**who, helm_revision=1, evidence_sha256=client.evidence.save("verdict", {}))
    return client.lifecycle.mark_failed(**who, reason="it crashed", cluster_changed=True)


@pytest.mark.parametrize("step", ["begin", "ready", "failed"])
def test_writes_of_who_lost_the_lock_are_refused(releases: Releases, client: RegistryClient, sql: psycopg.Connection, step: str) -> None:
    lock = client.locks.take(*PLACE, "run-1")
    if step != "begin":
        write(releases, "begin", lock.fence)
    before = client.entries(), client.events.latest()
    fall_silent(sql)
    client.locks.take(*PLACE, "run-2")

    with pytest.raises(RegistryRejected, match="run run-2 holds tiny in production: run run-1 may not write there") as refused:
        write(releases, step, lock.fence)

    assert refused.value.facts["run_id"] == "run-2"
    assert (client.entries(), client.events.latest()) == before


@pytest.mark.parametrize("fence", [None, 0, 99])
def test_writes_without_the_right_number_are_refused(releases: Releases, client: RegistryClient, fence: int | None) -> None:
    client.locks.take(*PLACE, "run-1")

    for run_id in ("run-1", "run-2"):
        with pytest.raises(RegistryRejected, match="may not write"):
            write(releases, "begin", fence, run_id)
    assert client.events.latest() == []


def test_a_lock_that_was_given_back_is_no_lock(releases: Releases, client: RegistryClient) -> None:
    lock = client.locks.take(*PLACE, "run-1")
    client.locks.free(lock)

    with pytest.raises(RegistryRejected, match="run-1 does not hold tiny in production any longer"):
        write(releases, "begin", lock.fence)


def test_health_and_operators_do_not_wait_for_a_release(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-0")
    client.locks.take(*PLACE, "run-1")

    assert releases.degrade("a1") is not None
    assert releases.recover("a1") is not None
    assert client.switch.disable(*PLACE, reason="it leaks", actor="ada").status == "disabled"


def test_of_many_at_once_one_has_it(client: RegistryClient, dsn: str) -> None:
    start = threading.Barrier(8)
    seen: list[Lock] = []

    def take(number: int) -> None:
        with RegistryClient(dsn) as own:
            start.wait(HANGS_SECONDS)
            seen.append(own.locks.take(*PLACE, f"run-{number}"))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANGS_SECONDS)

    assert len(seen) == 8
    assert len({(lock.run_id, lock.fence) for lock in seen}) == 1


def test_nobody_takes_over_in_the_middle_of_a_write(
    releases: Releases,
    client: RegistryClient,
    sql: psycopg.Connection,
    dsn: str,
    wait_until: Callable[[Callable[[], bool]], None],
    waiting: Callable[[], int],
) -> None:
    lock = client.locks.take(*PLACE, "run-1")
    write(releases, "begin", lock.fence)
    fall_silent(sql)
    taken: list[Lock] = []
    writing = threading.Thread(target=lambda: write(releases, "ready", lock.fence))
    taking = threading.Thread(target=lambda: taken.append(client.locks.take(*PLACE, "run-2")))

    with psycopg.connect(dsn) as holder:
        holder.execute("SELECT FROM model_registry_entries FOR UPDATE")
        writing.start()
        wait_until(lambda: waiting() == 1)
        taking.start()
        wait_until(lambda: waiting() == 2)
    writing.join(HANGS_SECONDS)
    taking.join(HANGS_SECONDS)

    assert releases.statuses() == {"a": "ready"}
    assert [lock.run_id for lock in taken] == ["run-2"]


def test_an_admin_may_take_it_and_an_operator_may_not(dsn_as: Callable[[str], str], releases: Releases) -> None:
    with RegistryClient(dsn_as("slipway_admin")) as admin:
        lock = admin.locks.take(*PLACE, "run-1")
        write(replace(releases, client=admin), "begin", lock.fence)
        assert admin.locks.keep(lock)
        admin.locks.free(lock)
    with RegistryClient(dsn_as("slipway_operator")) as operator, pytest.raises(RegistryRejected, match="does not allow this"):
        operator.locks.take(*PLACE, "run-2")

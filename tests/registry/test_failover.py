"""A primary is lost or demoted; clients that stay open find the one that takes writes, and nothing that was acknowledged is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from blocks.errors import RegistryUnreachable
from blocks.registry import RegistryClient
from blocks.registry.path import look
from tests.support.pgbouncer import Pooler, pooler_before
from tests.support.standby import Pair, pair_in

#: Writes in a second, for so many seconds, by so many clients.
RATE, SECONDS, WRITERS = 50, 5, 4

#: Seconds from when a standby takes writes until clients that stayed open have written to it, as docs/registry.md states.
FOUND_SECONDS = 10.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair_in(tmp_path_factory.mktemp("pair")) as pair:
        with RegistryClient(pair.primary.dsn) as client:
            client.migrate()
        yield pair


@pytest.fixture(scope="module")
def pooler(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pooler]:
    """A pooler beside the standby."""
    with pooler_before(tmp_path_factory.mktemp("pooler"), pair.standby.dsn) as pooler:
        yield pooler


def demote(pair: Pair, *, demoted: bool) -> None:
    """Have the primary refuse writes, as one that is being replaced; sessions that are open are no exception."""
    with psycopg.connect(pair.primary.dsn, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = " + ("on" if demoted else "off"))
        connection.execute("SELECT pg_reload_conf()")


def test_clients_that_stay_open_follow_whoever_takes_writes(
    pair: Pair, pooler: Pooler, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    """One story, as it ends with a primary less."""
    a_standby_is_not_mistaken_for_the_registry(pair)
    with pytest.raises(RegistryUnreachable, match="takes no writes now"), RegistryClient(pooler.of(pair.standby.dsn)):
        pass
    a_primary_that_is_demoted_under_an_open_client_is_left(pair, wait_until)
    nothing_that_was_acknowledged_is_lost_in_a_failover(pair, wait_until)
    # This one says to this day that the server is a standby.
    with RegistryClient(pooler.of(pair.standby.dsn)) as client:
        client.events.add("notified")


def a_standby_is_not_mistaken_for_the_registry(pair: Pair) -> None:
    with pytest.raises(RegistryUnreachable, match=r"takes no writes now.*a standby"), RegistryClient(pair.standby.dsn):
        pass
    with RegistryClient(pair.standby.dsn + "&target_session_attrs=any") as client:
        assert client.entries() == []
    primary, standby = look(pair.both()).servers
    assert (primary.takes_writes, primary.synchronous, primary.standby, primary.behind_seconds) == (True, True, False, None)
    assert (standby.takes_writes, standby.standby) == (False, True)
    assert standby.behind_seconds is not None
    swapped = Pair(primary=pair.standby, standby=pair.primary, name=pair.name)
    with RegistryClient(swapped.both()) as client:
        assert client.events.add("notified", key="first the standby").kind == "notified"


def a_primary_that_is_demoted_under_an_open_client_is_left(pair: Pair, wait_until: Callable[[Callable[[], bool]], None]) -> None:
    told: list[str] = []

    def writes() -> bool:
        try:
            client.events.add("notified")
            return True
        except RegistryUnreachable as error:
            told.append(error.message)
            return False

    with RegistryClient(pair.both(), connect_timeout_seconds=1) as client:
        assert writes()
        demote(pair, demoted=True)
        wait_until(lambda: not writes())
        demote(pair, demoted=False)
        wait_until(writes)
    assert "takes no writes now" in told[0]


class Writer:
    """Writes events at a steady pace, each until it is told that it is there; notes what it was told."""

    def __init__(self, client: RegistryClient, name: str) -> None:
        self._client, self._name = client, name
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.times: list[float] = []

    def write(self) -> None:
        began = time.monotonic()
        for number in range(RATE * SECONDS // WRITERS):
            threading.Event().wait(max(0.0, began + number * WRITERS / RATE - time.monotonic()))
            key = f"{self._name}/{number}"
            try:
                self._client.events.add("notified", key=key)
                self.acknowledged.append(key)
                self.times.append(time.monotonic())
            except RegistryUnreachable:
                self.refused.append(key)


def nothing_that_was_acknowledged_is_lost_in_a_failover(pair: Pair, wait_until: Callable[[Callable[[], bool]], None]) -> None:
    with RegistryClient(pair.both()) as listed, RegistryClient(pair.by_name()) as named, ThreadPoolExecutor(WRITERS) as threads:
        lock = listed.locks.take("tiny", "production", "run-1")
        writers = [Writer(listed if number % 2 else named, f"writer-{number}") for number in range(WRITERS)]
        writing = [threads.submit(writer.write) for writer in writers]
        wait_until(lambda: sum(len(writer.acknowledged) for writer in writers) > RATE)
        pair.primary.kill()
        pair.promote()
        promoted = time.monotonic()
        pair.point_to(pair.standby)
        for each in writing:
            each.result()
        found = max(next(moment for moment in writer.times if moment > promoted) for writer in writers) - promoted
        assert listed.locks.keep(lock)
        with psycopg.connect(pair.standby.dsn) as sql:
            kept = [key for (key,) in sql.execute("SELECT event_key FROM slipway_events WHERE event_key LIKE 'writer-%'")]
        report = named.audit.verify()

    acknowledged = {key for writer in writers for key in writer.acknowledged}
    assert acknowledged - set(kept) == set()
    assert len(kept) == len(set(kept))
    assert report.broken is None
    assert found < FOUND_SECONDS

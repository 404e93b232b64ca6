"""The connection breaks at the worst moments; the same call again puts things right."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from blocks.errors import RegistryUnreachable
from blocks.registry import Entry, RegistryClient
from blocks.registry.documents import digest
from sandbox.serving import LoopThread
from tests.support.candidates import fingerprint, register
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from conftest import Databases, Releases

Moment = Literal["before", "after"]


class Cutter:
    """A TCP proxy before PostgreSQL. Armed, it cuts connections at their COMMIT (a procedure's too): before the server gets
    it, or before the client hears."""

    def __init__(self, dsn: str, loop: LoopThread) -> None:
        self._socket = f"{conninfo_to_dict(dsn)['host']}/.s.PGSQL.5432"
        self.armed: Moment | None = None
        self.left = 0
        self._server = loop.run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        port = self._server.sockets[0].getsockname()[1]
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")

    def arm(self, moment: Moment, times: int = 1) -> None:
        """Cut the next so many."""
        self.armed, self.left = moment, times

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_unix_connection(self._socket)
        swallow = False

        async def up() -> None:
            nonlocal swallow
            while data := await client.read(65536):
                if self.left and (b"COMMIT" in data or b"\nCALL" in data):
                    self.left -= 1
                    if self.armed == "before":
                        return
                    swallow = True
                to_server.write(data)

        async def down() -> None:
            while data := await server.read(65536):
                if swallow:
                    return
                to_client.write(data)

        tasks = {asyncio.create_task(up()), asyncio.create_task(down())}
        _, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        to_server.close()
        to_client.close()


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    loop = LoopThread("cutter")
    yield loop
    loop.close()


@pytest.fixture
def cutter(dsn: str, loop: LoopThread) -> Cutter:
    return Cutter(dsn, loop)


@pytest.fixture
def client(cutter: Cutter) -> Iterator[RegistryClient]:
    with RegistryClient(cutter.dsn) as client:
        yield client


def nothing(_: Releases) -> None:
    pass


def serving(releases: Releases) -> None:
    releases.release("a1", "run-1")


def degraded(releases: Releases) -> None:
    releases.release("a1", "run-1")
    releases.degrade("a1")


def taken_out(releases: Releases) -> None:
    releases.release("a1", "run-1")
    releases.client.switch.disable("tiny", "production", reason="it leaks", actor="ada")


def verifying(releases: Releases) -> None:
    releases.release("a1", "run-1")
    releases.begin("b1", "run-2")
    releases.client.evidence.save("verdict", PASSED)


def registered(releases: Releases) -> None:
    register(releases.client)


def begin(releases: Releases) -> object:
    place = {"environment": "production", "namespace": "models", "endpoint": "tiny:8000"}
    return releases.client.lifecycle.begin(model="tiny", hub_revision="a" * 40, fingerprint=fingerprint(), run_id="run-1", **place)


def mark_ready(releases: Releases) -> object:
    which = {"model": "tiny", "environment": "production", "fingerprint": releases.fingerprint("b1"), "run_id": "run-2"}
    return releases.client.lifecycle.mark_ready(**which, helm_revision=2, evidence_sha256=digest(PASSED))


PASSED = {"outcome": "passed"}

#: What went before, and the write that is cut: each is one transaction.
WRITES: dict[str, tuple[Callable[[Releases], object], Callable[[Releases], object]]] = {
    "register": (nothing, registered),
    "begin": (registered, begin),
    "mark_ready": (verifying, mark_ready),
    "mark_failed": (verifying, lambda releases: releases.fail("b1", "run-2")),
    "mark_degraded": (serving, lambda releases: releases.degrade("a1")),
    "mark_recovered": (degraded, lambda releases: releases.recover("a1")),
    "disable": (serving, lambda releases: releases.client.switch.disable("tiny", "production", reason="it leaks", actor="ada")),
    "enable": (taken_out, lambda releases: releases.client.switch.enable("tiny", "production", reason="mended", actor="ada")),
    "save_evidence": (nothing, lambda releases: releases.client.evidence.save("verdict", {"x": 1})),
    "add_event": (nothing, lambda releases: releases.client.events.add("notified", run_id="run-1")),
}


def remembered(dsn: str) -> object:
    with psycopg.connect(dsn) as sql, RegistryClient(dsn) as client:
        counts = sql.execute("SELECT (SELECT count(*) FROM slipway_candidates), (SELECT count(*) FROM slipway_evidence)").fetchone()
        entries = [
            (entry.hub_revision, entry.status, entry.status_reason, entry.helm_revision, entry.fingerprint) for entry in client.entries()
        ]
        return counts, sorted(entries), [(event.kind, event.fingerprint, event.run_id) for event in client.events.latest()]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_is_cut_is_looked_up_and_done_once(
    releases: Releases, cutter: Cutter, dsn: str, databases: Databases, write: str, moment: Moment
) -> None:
    given, act = WRITES[write]
    undisturbed = databases.present()
    with RegistryClient(undisturbed) as other:
        calm = replace(releases, client=other)
        given(calm)
        act(calm)
    given(releases)

    cutter.arm(moment)
    act(releases)
    assert cutter.left == 0
    act(releases)

    assert remembered(dsn) == remembered(undisturbed)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_whoever_cannot_be_told_is_told_that_and_may_repeat_it(releases: Releases, cutter: Cutter, moment: Moment) -> None:
    cutter.arm(moment, times=2)
    with pytest.raises(RegistryUnreachable, match="the answer to a first attempt was lost"):
        releases.client.events.add("notified", key="once")

    releases.client.events.add("notified", key="once")

    assert releases.kinds() == ["notified"]


def test_an_event_without_key_and_run_is_recorded_once_if_its_answer_is_lost(releases: Releases, cutter: Cutter) -> None:
    cutter.arm("after")
    releases.client.events.add("notified")

    assert releases.kinds() == ["notified"]
    releases.client.events.add("notified")
    assert releases.kinds() == ["notified", "notified"]


def test_a_backend_killed_in_the_middle_leaves_nothing_and_the_call_is_made_again(
    releases: Releases, dsn: str, sql: psycopg.Connection, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    releases.begin("a1", "run-1")
    releases.client.evidence.save("verdict", {"candidate": "a1", "outcome": "passed"})
    done: list[Entry] = []

    def end() -> None:
        done.append(releases.ready("a1", "run-1"))

    with psycopg.connect(dsn) as holder:
        holder.execute("SELECT FROM model_registry_entries FOR UPDATE")
        thread = threading.Thread(target=end)
        thread.start()
        wait_until(lambda: kill(sql, "pg_blocking_pids(pid) <> '{}'") == 1)
        # Made again, the call waits again.
        wait_until(lambda: blocked(sql) == 1)
        assert releases.statuses() == {"a": "deploying"}
    thread.join(HANGS_SECONDS)

    assert [entry.status for entry in done] == ["ready"]
    assert releases.kinds() == ["deploying", "ready"]


def test_connections_that_were_cut_while_idle_are_replaced(
    releases: Releases, sql: psycopg.Connection, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    releases.begin("a1", "run-1")

    def cut() -> None:
        # Those that answered a moment ago, too: these are not asked again.
        assert kill(sql, "application_name = 'slipway'") >= 1
        wait_until(lambda: kill(sql, "application_name = 'slipway'") == 0)

    cut()
    # This is not made again by itself.
    assert releases.client.audit.verify().broken is None
    cut()
    assert releases.ready("a1", "run-1").status == "ready"


def blocked(sql: psycopg.Connection) -> int:
    """Sessions of this database that wait for somebody's lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pg_blocking_pids(pid) <> '{}'"
    return int(sql.execute(waiting).fetchall()[0][0])


def kill(sql: psycopg.Connection, which: str) -> int:
    """Terminate the sessions of this database that meet the condition; return how many there were."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND "
    return len(sql.execute(others + which).fetchall())

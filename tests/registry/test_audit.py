"""The chain of events shows every change, by whomever it was made."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from blocks.registry import RegistryClient
from blocks.registry.audit import ChainHead
from blocks.registry.migrate import apply
from blocks.registry.statements import migrations

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Releases


@pytest.fixture
def chained(client: RegistryClient) -> list[int]:
    """Five events; their ids in order."""
    for number in range(5):
        client.events.add("step", model="tiny", run_id=f"r{number}", actor="nightly", detail={"number": number, "text": "käse \"'\\ 漢"})
    return sorted(event.id for event in client.events.latest())


def test_an_untouched_record_holds_and_names_its_end(client: RegistryClient, chained: list[int], releases: Releases) -> None:
    releases.release("a1", "run-1")

    report = client.audit.verify()

    last = list(client.audit.chain())[-1]
    assert report.broken is None
    assert report.head == ChainHead(position=last.chain_position, hash=last.hash)
    assert client.audit.verify(report.head).broken is None


def test_an_empty_record_holds(client: RegistryClient) -> None:
    assert client.audit.verify().head.position == 0


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'somebody else'",
        "actor = NULL",
        "kind = 'approved'",
        "model_name = 'other'",
        "environment = 'production'",
        "candidate_fingerprint = repeat('f', 64)",
        "organisation = ''",
        "run_id = 'r9'",
        "event_key = 'another'",
        """detail = '{"number": 7}'""",
        "occurred_at = occurred_at + interval '1 microsecond'",
    ],
)
def test_a_superusers_change_of_any_column_is_found_and_named(
    client: RegistryClient, sql: psycopg.Connection, chained: list[int], change: str
) -> None:
    sql.execute("ALTER TABLE slipway_events DISABLE TRIGGER ALL")
    sql.execute(f"UPDATE slipway_events SET {change} WHERE id = %s", (chained[2],))  # type: ignore[arg-type]  # noqa: S608

    report = client.audit.verify()

    assert report.broken is not None
    assert f"event {chained[2]} " in report.broken
    assert report.head.position == 2


def test_a_row_that_was_hashed_anew_breaks_the_one_after_it(client: RegistryClient, sql: psycopg.Connection, chained: list[int]) -> None:
    sql.execute("ALTER TABLE slipway_events DISABLE TRIGGER ALL")
    sql.execute("UPDATE slipway_events SET actor = 'x' WHERE id = %s", (chained[2],))
    sql.execute("UPDATE slipway_events AS e SET hash = slipway_event_hash(e) WHERE id = %s", (chained[2],))

    report = client.audit.verify()

    assert report.broken is not None
    assert f"event {chained[3]} " in report.broken


def test_a_removed_row_is_found(client: RegistryClient, sql: psycopg.Connection, chained: list[int]) -> None:
    sql.execute("ALTER TABLE slipway_events DISABLE TRIGGER ALL")
    sql.execute("DELETE FROM slipway_events WHERE id = %s", (chained[1],))

    report = client.audit.verify()

    assert report.broken is not None
    assert f"event {chained[2]} " in report.broken
    assert "removed" in report.broken


def test_what_only_a_noted_head_shows(client: RegistryClient, sql: psycopg.Connection, chained: list[int]) -> None:
    noted = client.audit.verify().head
    sql.execute("ALTER TABLE slipway_events DISABLE TRIGGER ALL")
    # the newest event taken away
    sql.execute("DELETE FROM slipway_events WHERE id = %s", (chained[-1],))
    assert client.audit.verify().broken is None
    assert "removed" in str(client.audit.verify(noted).broken)
    # another one put in its place, well chained
    sql.execute("ALTER TABLE slipway_events ENABLE TRIGGER ALL")
    client.events.add("step", model="tiny", run_id="forged")
    assert client.audit.verify().broken is None
    assert "written anew" in str(client.audit.verify(noted).broken)


def test_altered_evidence_is_found(client: RegistryClient, sql: psycopg.Connection) -> None:
    client.evidence.save("verdict", {"outcome": "failed"})
    sql.execute("ALTER TABLE slipway_evidence DISABLE TRIGGER ALL")
    sql.execute("""UPDATE slipway_evidence SET document = '{"outcome": "passed"}'""")

    assert "evidence" in str(client.audit.verify().broken)


def test_a_writer_cannot_choose_its_place(client: RegistryClient, sql: psycopg.Connection, chained: list[int]) -> None:
    sql.execute("INSERT INTO slipway_events (occurred_at, kind, chain_position, previous_hash, hash) VALUES (now(), 'forged', 1, 'a', 'b')")

    assert [event.chain_position for event in client.audit.chain()] == [1, 2, 3, 4, 5, 6]
    assert client.audit.verify().broken is None


def test_many_writers_make_one_chain(dsn: str) -> None:
    start = threading.Barrier(4)

    def write(writer: int) -> None:
        with RegistryClient(dsn) as client:
            start.wait(10)
            for number in range(25):
                client.events.add("step", run_id=f"r{writer}", detail={"number": number})

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with RegistryClient(dsn) as client:
        assert client.audit.verify().head.position == 100


def test_several_rows_of_one_statement_follow_each_other(client: RegistryClient, sql: psycopg.Connection) -> None:
    sql.execute("INSERT INTO slipway_events (occurred_at, kind) SELECT now(), 'step' FROM generate_series(1, 10)")

    assert client.audit.verify().head.position == 10


def test_events_from_before_the_chain_become_its_beginning(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        apply(connection, migrations()[:2])
        connection.execute("INSERT INTO slipway_events (occurred_at, kind) SELECT now(), 'step' FROM generate_series(1, 3)")

    with RegistryClient(empty_dsn) as client:
        client.migrate()
        client.events.add("step")
        report = client.audit.verify()

    assert (report.head.position, report.broken) == (4, None)


def test_the_export_is_lines_of_json(client: RegistryClient, chained: list[int]) -> None:
    lines = [json.loads(event.line()) for event in client.audit.chain()]

    assert [line["id"] for line in lines] == chained
    assert lines[3]["detail"] == {"number": 3, "text": "käse \"'\\ 漢"}
    assert lines[3]["previous_hash"] == lines[2]["hash"]


def test_the_chain_is_read_in_batches(client: RegistryClient, sql: psycopg.Connection, waiting: Callable[[], int]) -> None:
    sql.execute("INSERT INTO slipway_events (occurred_at, kind) SELECT now(), 'step' FROM generate_series(1, 3000)")
    events = client.audit.chain()
    next(events)

    # a writer does not wait for a reader
    client.events.add("step")

    assert waiting() == 0
    assert sum(1 for _ in events) == 2999
    assert client.audit.verify().head.position == 3001

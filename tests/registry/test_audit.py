"""The chain of events shows every change, by whomever it was made."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import psycopg
import pytest

from blocks.registry import NotProven, RegistryClient, proven, written
from blocks.registry.chain import BEGINNING, ChainedEvent, ChainHead
from blocks.registry.migrate import apply
from blocks.registry.statements import migrations
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from conftest import Releases


@pytest.fixture
def chained(client: RegistryClient) -> list[int]:
    """Five events; their ids in order."""
    for number in range(5):
        client.events.add("step", model="tiny", run_id=f"r{number}", actor="nightly", detail={"number": number, "text": "käse \"'\\ 漢"})
    return sorted(event.id for event in client.events.latest())


def test_an_untouched_record_holds_and_its_seal_names_its_end(client: RegistryClient, chained: list[int], releases: Releases) -> None:
    releases.release("a1", "run-1")
    unsealed = client.audit.verify()

    assert client.audit.seal() == 2, "one chain of each place"

    report = client.audit.verify()
    assert (unsealed.broken, unsealed.events, unsealed.unsealed) == (None, 7, 7)
    assert unsealed.unsealed_since == min(event.occurred_at for event in client.events.latest())
    assert (report.broken, report.events, report.unsealed, report.unsealed_since) == (None, 8, 0, None)
    (seal,) = [event for event in client.audit.chain() if event.chain == 0]
    assert report.head == ChainHead(position=1, hash=seal.hash)
    assert client.audit.verify(report.head).broken is None
    # what is sealed is not sealed again
    assert client.audit.seal() == 0
    releases.degrade("a1")
    assert client.audit.verify(report.head).unsealed == 1
    assert client.audit.seal() == 1


def test_what_a_seal_says_is_not_its_writers_to_choose(client: RegistryClient, sql: psycopg.Connection, chained: list[int]) -> None:
    sql.execute("""INSERT INTO slipway_events (occurred_at, kind, model_name, detail) VALUES (now(), 'sealed', 'tiny', '{"chains": []}')""")

    seal = next(client.audit.chain())
    assert (seal.chain, seal.model, len(json.loads(seal.detail)["chains"])) == (0, None, 1)
    assert (client.audit.verify().broken, client.audit.verify().unsealed) == (None, 0)


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


FORGERIES = {
    "the newest event was removed": ("DELETE FROM slipway_events WHERE id = (SELECT max(id) FROM slipway_events WHERE chain = 1)",),
    "the newest event and the chain's end were": (
        "DELETE FROM slipway_events WHERE chain = 1 AND chain_position = 5",
        "UPDATE slipway_chains SET position = 4, hash = (SELECT hash FROM slipway_events WHERE chain_position = 4) WHERE chain = 1",
    ),
    "a whole chain was": ("DELETE FROM slipway_events WHERE chain = 1",),
    "a whole chain was, and its end": ("DELETE FROM slipway_events WHERE chain = 1", "DELETE FROM slipway_chains WHERE chain = 1"),
    "an event was put between others": (
        "INSERT INTO slipway_events (occurred_at, kind, model_name, chain, chain_position, previous_hash, hash)"
        " SELECT occurred_at, 'forged', model_name, 1, 6, hash, repeat('a', 64) FROM slipway_events WHERE chain_position = 5",
    ),
    "two changed places": (
        "UPDATE slipway_events SET chain_position = 9 WHERE chain = 1 AND chain_position = 2",
        "UPDATE slipway_events SET chain_position = 2 WHERE chain = 1 AND chain_position = 3",
        "UPDATE slipway_events SET chain_position = 3 WHERE chain = 1 AND chain_position = 9",
    ),
    "one went to another chain": ("UPDATE slipway_events SET chain = 7, chain_position = 1 WHERE chain = 1 AND chain_position = 5",),
    "the noted end was changed": ("UPDATE slipway_chains SET hash = repeat('b', 64) WHERE chain = 1",),
    "a seal was changed": ("""UPDATE slipway_events SET detail = '{"chains": []}' WHERE chain = 0""",),
    **{
        f"a seal was made {shape} and hashed anew": (
            f"""UPDATE slipway_events SET detail = '{{"chains": {shape}}}' WHERE chain = 0""",  # noqa: S608
            "UPDATE slipway_events AS e SET hash = slipway_event_hash(e) WHERE chain = 0",
            "UPDATE slipway_chains SET hash = (SELECT hash FROM slipway_events WHERE chain = 0) WHERE chain = 0",
        )
        for shape in ("5", "{}", "null", "[5]", '[["a", 1, "b"]]', '[[1, 1.5, "c"]]', '[[1, 99999999999999999999, "c"]]')
    },
    "a seal was changed and hashed anew": (
        """UPDATE slipway_events SET detail = '{"chains": [[1, 4, "c"]]}' WHERE chain = 0""",
        "UPDATE slipway_events AS e SET hash = slipway_event_hash(e) WHERE chain = 0",
        "UPDATE slipway_chains SET hash = (SELECT hash FROM slipway_events WHERE chain = 0) WHERE chain = 0",
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_the_owner_of_the_database_does_to_a_sealed_record_is_found(
    client: RegistryClient, sql: psycopg.Connection, chained: list[int], forgery: str
) -> None:
    client.audit.seal()
    assert client.audit.verify().broken is None
    sql.execute("SET session_replication_role = replica")
    for statement in FORGERIES[forgery]:
        sql.execute(statement.encode())

    assert client.audit.verify().broken is not None


def test_what_only_a_noted_seal_shows(client: RegistryClient, sql: psycopg.Connection, chained: list[int]) -> None:
    client.audit.seal()
    noted = client.audit.verify().head
    # everything taken away, and the ends of the chains with it
    sql.execute("SET session_replication_role = replica")
    sql.execute("DELETE FROM slipway_events")
    sql.execute("DELETE FROM slipway_sealed")
    sql.execute("UPDATE slipway_chains SET position = 0, hash = %s", (BEGINNING,))
    assert client.audit.verify().broken is None
    assert "removed" in str(client.audit.verify(noted).broken)
    # another history in its place, well chained and sealed
    sql.execute("SET session_replication_role = origin")
    client.events.add("step", model="tiny", run_id="forged")
    client.audit.seal()
    assert client.audit.verify().broken is None
    assert "written anew" in str(client.audit.verify(noted).broken)


def test_an_event_that_was_there_already_moves_no_chain(client: RegistryClient, chained: list[int]) -> None:
    for _ in range(2):
        client.events.add("step", model="tiny", run_id="r1", key="once")

    assert (client.audit.verify().broken, client.audit.verify().events) == (None, 6)


def test_altered_evidence_is_found(client: RegistryClient, sql: psycopg.Connection) -> None:
    client.evidence.save("verdict", {"outcome": "failed"})
    sql.execute("ALTER TABLE slipway_evidence DISABLE TRIGGER ALL")
    sql.execute("""UPDATE slipway_evidence SET document = '{"outcome": "passed"}'""")

    assert "evidence" in str(client.audit.verify().broken)


def test_a_writer_cannot_choose_its_place(client: RegistryClient, sql: psycopg.Connection, chained: list[int]) -> None:
    sql.execute(
        "INSERT INTO slipway_events (occurred_at, kind, model_name, chain, chain_position, previous_hash, hash)"
        " VALUES (now(), 'forged', 'tiny', 0, 1, 'a', 'b')"
    )

    assert [(event.chain, event.chain_position) for event in client.audit.chain()] == [(1, position) for position in range(1, 7)]
    assert client.audit.verify().broken is None


def test_many_writers_make_one_chain(dsn: str) -> None:
    start = threading.Barrier(4)

    def write(writer: int) -> None:
        with RegistryClient(dsn) as client:
            start.wait(HANGS_SECONDS)
            for number in range(25):
                client.events.add("step", run_id=f"r{writer}", detail={"number": number})

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with RegistryClient(dsn) as client:
        assert (client.audit.verify().broken, client.audit.verify().events) == (None, 100)


def test_several_rows_of_one_statement_follow_each_other(client: RegistryClient, sql: psycopg.Connection) -> None:
    sql.execute("INSERT INTO slipway_events (occurred_at, kind) SELECT now(), 'step' FROM generate_series(1, 10)")

    assert (client.audit.verify().broken, client.audit.verify().events) == (None, 10)


@pytest.mark.parametrize("version", [2, 10])
def test_the_chain_that_was_there_goes_on(empty_dsn: str, version: int) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        apply(connection, migrations()[:version])
        connection.execute(
            "INSERT INTO slipway_events (occurred_at, kind, model_name) SELECT now(), 'step', 'tiny' FROM generate_series(1, 3)"
        )
        noted = connection.execute("SELECT * FROM slipway_events ORDER BY id DESC LIMIT 1")
        columns = [column.name for column in noted.description or ()]
        last = dict(zip(columns, noted.fetchall()[0], strict=True))

    with RegistryClient(empty_dsn) as client:
        client.migrate()
        client.events.add("step", model="tiny")
        before = client.audit.verify()
        client.audit.seal()
        after = client.audit.verify(before.head)

        assert (before.head.position, before.broken, before.unsealed) == (3, None, 1)
        assert (after.head.position, after.broken, after.unsealed) == (4, None, 0)
        if "hash" in last:
            assert client.audit.verify(ChainHead(position=3, hash=last["hash"])).broken is None


def test_the_export_is_lines_of_json(client: RegistryClient, chained: list[int]) -> None:
    lines = [json.loads(event.line()) for event in client.audit.chain()]

    assert [line["id"] for line in lines] == chained
    assert lines[3]["detail"] == {"number": 3, "text": "käse \"'\\ 漢"}
    assert lines[3]["previous_hash"] == lines[2]["hash"]


@pytest.fixture
def exported(client: RegistryClient, chained: list[int], sql: psycopg.Connection) -> list[bytes]:
    """A sealed record as a file: the seal, five events of one chain, one of another, and the last line."""
    sql.execute("""INSERT INTO slipway_events (occurred_at, kind, model_name, detail) VALUES (now(), 'step', 'other', '{"share": 1.50}')""")
    client.audit.seal()
    return [line.encode() + b"\n" for line in written(client.audit.chain())]


def test_an_export_proves_itself(client: RegistryClient, exported: list[bytes]) -> None:
    head = client.audit.verify().head

    assert proven(exported) == (7, head)
    assert proven(exported, head) == (7, head)
    with pytest.raises(NotProven, match="written anew"):
        proven(exported, ChainHead(position=1, hash="f" * 64))
    with pytest.raises(NotProven, match="were removed"):
        proven(exported, ChainHead(position=2, hash="f" * 64))


def altered(lines: list[bytes], number: int, **changes: object) -> list[bytes]:
    """The file with one line told otherwise."""
    changed = json.dumps({**json.loads(lines[number]), **changes}, ensure_ascii=False).encode() + b"\n"
    return [*lines[:number], changed, *lines[number + 1 :]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda lines: altered(lines, 2, actor="mallory"), "line 3 .* was altered"),
        (lambda lines: altered(lines, 2, detail={"number": 7}), "line 3 .* was altered"),
        (lambda lines: altered(lines, 6, detail={"share": 2.5}), "line 7 is no event as it is exported"),
        (lambda lines: altered(lines, 2, occurred_at="never"), "line 3 is no event"),
        (lambda lines: altered(lines, 2, more=1), "line 3 is no event"),
        (lambda lines: lines[:2] + lines[3:], "line 3 .* does not follow"),
        (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "line 3 .* does not follow"),
        (lambda lines: lines[:5] + lines[6:], "not that of the lines before it"),
        (lambda lines: lines[:6] + lines[7:], "not that of the lines before it"),
        (lambda lines: [*lines[:-2], *written_anew(lines[:-2])], "was sealed and is not there"),
        (lambda lines: lines[:-1], "its last line is missing"),
        (lambda lines: altered(lines, 7, events=6), "not that of the lines before it"),
        (lambda lines: [*lines, lines[1]], "line 9 comes after the last line"),
        (lambda lines: altered(lines, 2, event_key=5), "line 3 is no event"),
        (lambda lines: altered(lines, 2, chain=[]), "line 3 is no event"),
        (lambda lines: altered(lines, 2, occurred_at="0001-01-01T00:00:00+23:59"), "line 3 is no event"),
        (lambda lines: [*lines[:2], lines[2].replace(b'"nightly"', rb'"\ud800"'), *lines[3:]], "line 3 is no event"),
        (lambda lines: [b"\xff\n"], "line 1 is no JSON object"),
        (lambda lines: [b"[" * 100_000], "line 1 is no JSON object"),
        (lambda lines: [b"[]\n"], "line 1 is no JSON object"),
        (lambda lines: [b"{}\n"], "line 1 is no event"),
        (lambda lines: [], "its last line is missing"),
    ],
)
def test_an_export_that_was_altered_is_found(exported: list[bytes], change: Callable[[list[bytes]], list[bytes]], sentence: str) -> None:
    with pytest.raises(NotProven, match=sentence):
        proven(change(exported))


@pytest.mark.parametrize("chains", [None, {}, "x", [5], [["a", 1, "b"]], [[[], 1, "b"]]])
def test_a_forged_seal_in_an_export_is_found(exported: list[bytes], chains: object) -> None:
    event = next(iter(_events(altered(exported, 0, detail={"chains": chains}))))

    with pytest.raises(NotProven, match=r"line 1 .* does not name ends of chains"):
        proven(altered(exported, 0, detail={"chains": chains}, hash=event.computed_hash()))


def _events(lines: list[bytes]) -> Iterator[ChainedEvent]:
    for line in lines:
        told = json.loads(line)
        moment = datetime.fromisoformat(told["occurred_at"])
        yield ChainedEvent(**{**told, "occurred_at": moment, "detail": json.dumps(told["detail"], ensure_ascii=False)})


def test_a_number_of_many_digits_is_exported(client: RegistryClient, sql: psycopg.Connection) -> None:
    sql.execute(
        """INSERT INTO slipway_events (occurred_at, kind, detail) VALUES (now(), 'step', ('{"n": ' || repeat('9', 5000) || '}')::jsonb)"""
    )

    assert proven([line.encode() + b"\n" for line in written(client.audit.chain())])[0] == 1


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "12026-01-01", "0100-01-01 BC", "0001-01-01"])
def test_a_time_that_no_reader_could_read_is_refused(client: RegistryClient, sql: psycopg.Connection, moment: str) -> None:
    client.locks.take("tiny", "production", "run-1")
    for statement in (
        "INSERT INTO slipway_events (occurred_at, kind) VALUES (%s, 'step')",
        "UPDATE slipway_locks SET heartbeat_at = %s",
        "INSERT INTO slipway_authenticators (approver, locked_until) VALUES ('ada', %s)",
        "INSERT INTO model_registry_entries (model_name, verified_at) VALUES ('tiny', %s)",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            sql.execute(statement.encode(), (moment,))


def test_what_is_nested_deeper_than_readers_go_is_refused(client: RegistryClient, sql: psycopg.Connection) -> None:
    insert = "INSERT INTO slipway_events (occurred_at, kind, detail) VALUES (now(), 'step', %s::jsonb)"
    deepest = '{"a": ' + "[" * 190 + "]" * 190 + "}"
    sql.execute(insert, (deepest,))
    with pytest.raises(psycopg.errors.CheckViolation):
        sql.execute(insert, (deepest.replace("[]", "[" * 20 + "]" * 20),))

    assert proven([line.encode() + b"\n" for line in written(client.audit.chain())])[0] == 1


def written_anew(lines: list[bytes]) -> list[bytes]:
    """A last line as it should be, of fewer lines."""
    events = [json.loads(line) for line in lines]
    ends = {str(event["chain"]): [event["chain_position"], event["hash"]] for event in events}
    whole = hashlib.sha256(b"".join(lines)).hexdigest()
    return [json.dumps({"format": "slipway-events/1", "events": len(lines), "ends": ends, "sha256": whole}).encode()]


def test_the_chain_is_read_in_batches(client: RegistryClient, sql: psycopg.Connection, waiting: Callable[[], int]) -> None:
    sql.execute("INSERT INTO slipway_events (occurred_at, kind) SELECT now(), 'step' FROM generate_series(1, 3000)")
    events = client.audit.chain()
    next(events)

    # a writer does not wait for a reader
    client.events.add("step")

    assert waiting() == 0
    assert sum(1 for _ in events) == 2999
    assert (client.audit.verify().broken, client.audit.verify().events) == (None, 3001)

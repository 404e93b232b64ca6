"""What repeats leaves the registry for a file; what is asked of the registry stays, and both prove themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from blocks.errors import RegistryRejected
from blocks.facts.kinds import EventKind
from blocks.registry import ArchiveParts, NotProven, RegistryClient, archived, proven, written

if TYPE_CHECKING:
    from conftest import Releases

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
BEFORE = datetime(2021, 1, 1, tzinfo=UTC)


@pytest.fixture
def old(client: RegistryClient, releases: Releases) -> RegistryClient:
    """A registry with a release that was checked every day for a month, long ago, and is checked still."""
    releases.release("a1", "run-1")
    releases.release("b1", "run-2")
    place = {"model": "tiny", "environment": "production", "fingerprint": releases.fingerprint("b1")}
    for day in range(30):
        at = LONG_AGO + timedelta(days=day)
        evidence = {"evidence_sha256": "e" * 64} if day % 7 == 0 else {}
        client.events.add(EventKind.REVALIDATED, **place, detail={"day": day, **evidence}, at=at)  # type: ignore[arg-type]
        client.events.add(EventKind.SCRUBBED, environment="production", detail={"node": f"node-{day % 2}"}, at=at)
        if day == 20:
            client.events.add(EventKind.VERIFIED, **place, detail={"outcome": "passed"}, at=at)  # type: ignore[arg-type]
    client.audit.seal()
    client.events.add(EventKind.REVALIDATED, **place, detail={"evidence_sha256": "f" * 64})  # type: ignore[arg-type]
    client.audit.seal()
    return client


def answers(client: RegistryClient, releases: Releases) -> list[object]:
    verdict = client.events.last_verdict("tiny", "production", releases.fingerprint("b1"))
    verified = client.candidates.verified("tiny", "production")
    return [verdict, verified, releases.current(), releases.previous(), releases.kept(), client.events.last_scrubs()]


def archive(client: RegistryClient) -> tuple[list[bytes], ArchiveParts]:
    parts = ArchiveParts()
    lines = [f"{line}\n".encode() for line in archived(client.archive.events(BEFORE), BEFORE, parts)]
    client.events.add(EventKind.ARCHIVED, detail={"sha256": parts.sha256, "events": parts.events})
    return lines, parts


def test_what_repeats_goes_to_a_file_and_no_answer_changes(old: RegistryClient, releases: Releases) -> None:
    before, events = answers(old, releases), old.audit.verify().events

    lines, parts = archive(old)
    removed = old.archive.remove(parts.parts, parts.sha256)

    # of each of both nodes, and of the verdicts with and without evidence, the latest stay (with evidence, one that is younger)
    assert removed == parts.events == 60 - 2 - 1
    assert proven(lines)[0] == removed
    assert answers(old, releases) == before
    report = old.audit.verify()
    assert (report.broken, report.events) == (None, events - removed + 1)
    assert [(file.sha256, file.events) for file in report.archives] == [(parts.sha256, removed)]
    assert proven(f"{line}\n".encode() for line in written(old.audit.chain(), old.audit.archived()))[0] == report.events
    for event in old.overview.record():  # as the console shows it, beside a gap, too
        place = old.overview.place_of(event.id)
        assert place is not None
        assert old.overview.proof_of(place).holds
    assert archive(old)[1].events == 0, "the rest stays"


def test_what_is_not_sealed_stays(client: RegistryClient) -> None:
    for _ in range(3):
        client.events.add(EventKind.REVALIDATED, model="tiny", environment="production", fingerprint="f", at=LONG_AGO)

    assert list(client.archive.events(BEFORE)) == []


def test_nobody_but_the_owner_takes_events_out(old: RegistryClient, dsn_as: Callable[[str], str]) -> None:
    _, parts = archive(old)
    with RegistryClient(dsn_as("slipway_admin")) as pipeline:
        with pytest.raises(RegistryRejected, match="only the owner of the registry's tables"):
            list(pipeline.archive.events(BEFORE))
        with pytest.raises(RegistryRejected, match="does not allow this to its user"):
            pipeline.archive.remove(parts.parts, parts.sha256)


def test_twice_at_once_takes_nothing_out_twice(old: RegistryClient) -> None:
    _, parts = archive(old)
    old.archive.remove(parts.parts, parts.sha256)

    with pytest.raises(RegistryRejected):
        old.archive.remove(parts.parts, parts.sha256)
    assert old.audit.verify().broken is None


@pytest.mark.parametrize(
    ("forgery", "found"),
    [
        ("DELETE FROM slipway_archived", "events between them were removed"),
        ("UPDATE slipway_archived SET hash = repeat('a', 64)", "does not follow the event before it"),
        ("UPDATE slipway_archived SET last_position = last_position + 1", "were removed|does not follow|follows position"),
        ("UPDATE slipway_archived SET file_sha256 = repeat('a', 64)", "the record says that of 0"),
        ("DELETE FROM slipway_events WHERE kind = 'verified'", "were removed"),
    ],
)
def test_a_forged_gap_is_found(old: RegistryClient, sql: psycopg.Connection, forgery: str, found: str) -> None:
    _, parts = archive(old)
    old.archive.remove(parts.parts, parts.sha256)
    sql.execute("SET session_replication_role = replica")
    sql.execute(forgery.encode())

    broken = old.audit.verify().broken

    assert broken is not None
    assert any(each in broken for each in found.split("|"))


def test_an_archive_that_was_changed_proves_nothing(old: RegistryClient) -> None:
    lines, _ = archive(old)

    for number in range(len(lines)):
        with pytest.raises(NotProven):
            proven(lines[:number] + lines[number + 1 :])
        with pytest.raises(NotProven):
            proven([*lines[:number], lines[number].replace(b"202", b"201").replace(b'"events": ', b'"events": 1'), *lines[number + 1 :]])

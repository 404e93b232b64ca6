"""Candidates, evidence and events."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from blocks.errors import RegistryRejected
from blocks.registry import RegistryClient
from blocks.registry.documents import digest
from flows.spec.candidate import Candidate, EngineSettings, Speculative
from tests.support.candidates import register, told
from tests.support.examples import candidate

if TYPE_CHECKING:
    from conftest import Releases


def test_a_candidate_is_registered_once_and_read_back(client: RegistryClient) -> None:
    files = [{"path": "a", "size_bytes": 2**40}]
    document = told(
        files=files, share=0.9, whole=1.0, small=1.5e-7, name='Größe ✓\u2028\t\x1f\x7f"\\', none=None, 漢={"b": [], "B": {}, "a": True}
    )
    fingerprint = digest(document)

    client.candidates.register(fingerprint, document, "tiny", "a" * 40)
    client.candidates.register(fingerprint, dict(reversed(document.items())), "tiny", "a" * 40)

    assert client.candidates.get(fingerprint) == document
    assert client.candidates.get("0" * 64) is None


@pytest.mark.parametrize(
    ("document", "model", "commit", "sentence"),
    [
        (told(x=2), "tiny", "a" * 40, "is not that of its document"),
        (told(x=1, remote_code=True), "tiny", "a" * 40, "is not that of its document"),
        (told(x=1), "other", "a" * 40, "is one of tiny at a{40}, as its document says"),
        (told(x=1), "tiny", "b" * 40, "is one of tiny at a{40}, as its document says"),
        (told(x=1, about={"architecture": "other"}), "tiny", "a" * 40, "is registered with another document"),
    ],
)
def test_a_fingerprint_means_one_candidate(
    client: RegistryClient, document: dict[str, object], model: str, commit: str, sentence: str
) -> None:
    named = register(client, x=1)

    with pytest.raises(RegistryRejected, match=sentence):
        client.candidates.register(named, document, model, commit)
    assert client.candidates.get(named) == told(x=1)


def test_the_database_takes_a_fingerprint_over_the_same_as_the_program(client: RegistryClient) -> None:
    full = replace(
        candidate(),
        remote_code=True,
        subfolder="deep",
        engine=EngineSettings(
            max_model_len=4096,
            gpu_memory_utilization=0.00001,
            quantization="fp8",
            speculative=Speculative(method="mtp"),
            load_format="mistral",
            variables={"VLLM_X": "1"},
            chat_template="{{ é }}",
        ),
    )
    plain = candidate()

    # with everything that came later, and with all of it saying nothing
    for each in (full, plain, replace(plain, engine=replace(plain.engine, gpu_memory_utilization=1.0))):
        client.candidates.register(each.fingerprint, each.document(), each.model, each.commit)
        assert Candidate.from_document(client.candidates.get(each.fingerprint) or {}) == each


@pytest.mark.parametrize(
    "number", [0.0, 1.0, -0.5, 0.1, 1e-4, 9.99e-5, 5e-324, 123456.789, 999999999999999.9, 1e15 + 0.5, 2**53 - 0.5, 17, -(10**30)]
)
def test_the_database_writes_numbers_as_the_program(client: RegistryClient, sql: psycopg.Connection, number: float) -> None:
    (written,) = sql.execute("SELECT slipway_canonical(%s::jsonb)", (json.dumps([number]),)).fetchall()

    assert written == (json.dumps([number]),)
    assert client.evidence.get(client.evidence.save("verdict", {"number": number})) == {"number": number}


@pytest.mark.parametrize(
    "table", ["slipway_candidates (fingerprint, model_name, hub_revision, document)", "slipway_evidence (sha256, kind, document)"]
)
def test_nobody_keeps_a_document_under_the_hash_of_another(sql: psycopg.Connection, table: str) -> None:
    values = ["e" * 64, "tiny", "a" * 40][: table.count(",")]

    with pytest.raises(psycopg.errors.CheckViolation, match="is not that of its document"):
        sql.execute(f"INSERT INTO {table} VALUES ({'%s, ' * len(values)}'{{}}')".encode(), values)  # noqa: S608


def test_evidence_is_found_by_the_hash_of_its_canonical_json(client: RegistryClient) -> None:
    sha256 = client.evidence.save("verdict", {"b": [1, 2.5], "a": "é"})

    assert sha256 == hashlib.sha256('{"a":"é","b":[1,2.5]}'.encode()).hexdigest()
    assert client.evidence.save("verdict", {"a": "é", "b": [1, 2.5]}) == sha256
    assert client.evidence.get(sha256) == {"a": "é", "b": [1, 2.5]}
    assert client.evidence.get("0" * 64) is None


def test_evidence_is_found_by_the_beginning_of_its_hash(client: RegistryClient) -> None:
    hashes = [client.evidence.save("verdict", {"number": number}) for number in range(17)]

    found = client.evidence.find(hashes[3][:12])

    assert found is not None
    assert (found.sha256, found.kind, found.document) == (hashes[3], "verdict", {"number": 3})
    assert client.evidence.find("%") is None
    assert client.evidence.find("0" * 63) is None
    shared = next(sha256[0] for sha256 in hashes if sum(other[0] == sha256[0] for other in hashes) > 1)  # 17 hashes, 16 digits
    with pytest.raises(RegistryRejected, match="give more of it"):
        client.evidence.find(shared)


@pytest.mark.parametrize("document", [{"x": math.nan}, {"x": {1, 2}}, {"x": "\ud800"}, {"x": "\0"}, {"x": 1e22}])
def test_what_cannot_be_kept_as_it_is_is_refused(client: RegistryClient, sql: psycopg.Connection, document: dict[str, object]) -> None:
    with pytest.raises(RegistryRejected):
        client.evidence.save("verdict", document)
    assert sql.execute("SELECT count(*) FROM slipway_evidence").fetchone() == (0,)


def test_whatever_others_wrote_can_be_recorded(releases: Releases, client: RegistryClient) -> None:
    said = "killed \0 \ud800"
    detail = {"why": said, "seconds": math.nan, "tokens": 10**5000, said: [math.inf]}

    event = client.events.add("noticed", actor=said, run_id="run-1", detail=detail)
    again = client.events.add("noticed", actor=said, run_id="run-1", detail=detail)

    assert event == again
    assert event.actor == "killed \u2400 ?"
    assert event.detail == {
        "why": event.actor,
        "seconds": "nan",
        "tokens": "an integer of 16610 bits",
        "killed \u2400 ?": ["inf"],
    }
    # and so a failure, and what a person says
    releases.begin("a1", "run-2")
    failed = client.lifecycle.mark_failed(
        model="tiny", environment="production", fingerprint=releases.fingerprint("a1"), reason=said, run_id="run-2", cluster_changed=True
    )
    assert failed is not None
    assert (failed.status, failed.status_reason) == ("failed", event.actor)
    releases.release("b1", "run-3")
    assert client.switch.disable("tiny", "production", reason=said, actor=said).status_reason == event.actor


def test_a_candidate_is_kept_as_it_is_or_not_at_all(client: RegistryClient) -> None:
    with pytest.raises(RegistryRejected, match="holds what no database keeps"):
        client.candidates.register("f" * 64, {"chat_template": "\0"}, "tiny", "a" * 40)
    assert client.candidates.get("f" * 64) is None


def test_evidence_that_a_superuser_altered_is_not_given_out(client: RegistryClient, sql: psycopg.Connection) -> None:
    sha256 = client.evidence.save("verdict", {"outcome": "failed"})
    sql.execute("ALTER TABLE slipway_evidence DISABLE TRIGGER ALL")
    sql.execute("""UPDATE slipway_evidence SET document = '{"outcome": "passed"}'""")

    with pytest.raises(RegistryRejected, match="altered"):
        client.evidence.find(sha256[:12])
    with pytest.raises(RegistryRejected, match="altered"):
        client.evidence.get(sha256)


def test_an_event_keeps_all_it_was_given(client: RegistryClient) -> None:
    then = datetime(2026, 5, 17, 8, 30, tzinfo=UTC)
    given = {
        "model": "tiny",
        "environment": "staging",
        "fingerprint": "f" * 64,
        "run_id": "run-1",
        "actor": "nightly",
        "organisation": "slipway-demo",
    }

    event = client.events.add("verdict", **given, detail={"p95_seconds": 0.25}, at=then)

    assert client.events.latest() == [event]
    assert {name: getattr(event, name) for name in given} == given
    assert (event.kind, event.detail, event.occurred_at) == ("verdict", {"p95_seconds": 0.25}, then)


def test_a_run_records_the_same_once(client: RegistryClient) -> None:
    first = client.events.add("notified", run_id="run-1", detail={"to": "ops"})

    assert client.events.add("notified", run_id="run-1", detail={"to": "ops"}) == first
    client.events.add("notified", run_id="run-1", detail={"to": "audit"})
    client.events.add("notified", run_id="run-2", detail={"to": "ops"})
    assert len(client.events.latest()) == 3


def test_a_key_is_recorded_once_and_no_key_always(client: RegistryClient) -> None:
    first = client.events.add("notified", key="letter-1", detail={"to": "ops"})
    assert client.events.add("notified", key="letter-1", detail={"to": "others"}) == first
    client.events.add("noticed")
    client.events.add("noticed")

    assert [event.kind for event in client.events.latest()] == ["noticed", "noticed", "notified"]


def test_events_are_filtered_and_the_newest_come_first(client: RegistryClient) -> None:
    for number in range(5):
        client.events.add("step", model=f"m{number % 2}", environment=f"e{number % 3}", run_id=f"r{number}")

    def runs(**filters: str) -> list[str | None]:
        return [event.run_id for event in client.events.latest(**filters)]

    assert runs() == ["r4", "r3", "r2", "r1", "r0"]
    assert runs(model="m0") == ["r4", "r2", "r0"]
    assert runs(model="m0", environment="e2") == ["r2"]
    assert runs(run_id="r3") == ["r3"]
    assert [event.run_id for event in client.events.latest(limit=2)] == ["r4", "r3"]


def test_entries_are_filtered(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    releases.release("b1", "run-2")

    def commits(**filters: str) -> list[str]:
        return sorted(entry.hub_revision[0] for entry in client.entries(**filters))

    assert commits() == ["a", "b"]
    assert commits(status="ready") == ["b"]
    assert commits(model="tiny", environment="production", status="disabled") == ["a"]
    assert commits(model="other") == []
    assert commits(environment="staging") == []


def test_what_a_session_is_encoded_in_does_not_matter(dsn: str) -> None:
    with RegistryClient(make_conninfo(dsn, client_encoding="LATIN1")) as client:
        event = client.events.add("step", model="tiny", actor="漢", detail={"text": "käse 漢"})

        assert (event.actor, event.detail) == ("漢", {"text": "käse 漢"})

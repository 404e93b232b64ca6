"""The commands of approvers and auditors, against a real Prefect server and registry."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner, Result

from blocks.authenticators import read_authenticator
from blocks.facts.kinds import EventKind
from flows.approval.totp import new_secret
from flows.cli.app import app
from flows.errors import SpecInvalid
from flows.release import release
from tests.flows.conftest import Site


def slipway(*arguments: str, typed: str | None = None) -> Result:
    """Run the command in this process; errors of ours come out as they are."""
    return CliRunner().invoke(app, arguments, input=typed)


def test_a_release_is_approved_from_the_command_line(site: Site) -> None:
    site.only_production()
    run = site.start(release, model=site.model, environments=["production"])
    assert site.leg(release, run).name == "Suspended"

    # the approver sees what waits
    (waiting,) = json.loads(slipway("approvals", "--json").stdout)
    assert (waiting["run"], waiting["model"], waiting["requester"], waiting["approved_by"]) == (str(run.id), site.model, "zoe", [])
    assert site.model in slipway("approvals").stdout
    # and decides; the code is asked for, and not shown
    approved = slipway("approve", str(run.id), "--as", site.approver("ada"), "--reason", "good", typed=f"{site.code('ada')}\n")
    assert approved.exit_code == 0, approved.output
    assert site.code("ada") not in approved.output
    assert site.leg(release, run).is_completed()

    assert slipway("approvals").stdout.strip() == "Nothing waits for approval."
    again = slipway("approve", str(run.id), "--as", site.approver("ada"), "--code", "123456")
    assert isinstance(again.exception, SpecInvalid)
    assert "does not wait for approval; it is Completed" in again.exception.message


def test_an_approver_enrols_once(site: Site, tmp_path: Path) -> None:
    name = site.approver("bob")
    before = site.secrets[name]

    # an authenticator that is there is not replaced by accident
    refused = slipway("approver", "enroll", name)
    assert isinstance(refused.exception, SpecInvalid)
    assert "--replace" in refused.exception.message
    assert read_authenticator(name) == before

    done = slipway("approver", "enroll", name, "--replace")
    assert done.exit_code == 0, done.output
    secret = read_authenticator(name)
    assert secret not in (None, before)
    assert f"otpauth://totp/Slipway:{name}?secret={secret}" in done.output

    stranger = slipway("approver", "enroll", "mallory")
    assert isinstance(stranger.exception, SpecInvalid)
    assert "is not an approver" in stranger.exception.message
    with site.registry() as registry:
        (event,) = registry.events.latest()
    assert (event.kind, event.detail) == ("approver_enrolled", {"approver": name, "replaced": True})


def test_a_secret_for_kubernetes_is_written_for_its_owner_only(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = site.approver("bob")
    path = tmp_path / name

    assert slipway("approver", "enroll", name, "--secret-file", str(path)).exit_code == 0

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_authenticator(name) == site.secrets[name], "the block is left alone"
    again = slipway("approver", "enroll", name, "--secret-file", str(path))
    assert isinstance(again.exception, SpecInvalid)
    # a mounted folder comes before the blocks
    monkeypatch.setenv("SLIPWAY_APPROVER_SECRETS", str(tmp_path))
    assert read_authenticator(name) == path.read_text()
    assert read_authenticator("../" + tmp_path.name + "/" + name) is None
    assert read_authenticator(site.approver("ada")) is None


def test_the_record_is_verified_exported_and_archived(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with site.registry() as registry:
        for number in range(3):
            registry.events.add("step", run_id=f"r{number}")

    assert "Not sealed yet: 3 events" in slipway("audit", "verify").stdout
    assert "Sealed: 1 chains" in slipway("audit", "seal").stdout
    held = slipway("audit", "verify")
    assert held.exit_code == 0, held.output
    head = held.stdout.strip().splitlines()[-1]
    assert slipway("audit", "verify", "--expect", head).exit_code == 0
    exported = tmp_path / "events.jsonl"
    exported.write_text(slipway("audit", "export").stdout)
    assert len(exported.read_text().splitlines()) == 5
    assert slipway("audit", "verify", "--file", str(exported), "--expect", head).exit_code == 0

    with site.registry() as registry:
        for _ in range(3):
            registry.events.add(EventKind.REVALIDATED, model="tiny", environment="development", at=datetime(2020, 1, 1, tzinfo=UTC))
        registry.audit.seal()
    archive, owner_dsn = tmp_path / "archive.jsonl", tmp_path / "owner"
    owner_dsn.write_text(site.database)
    monkeypatch.setenv("SLIPWAY_REGISTRY_DSN_FILE", str(owner_dsn))
    moved = slipway("audit", "archive", "--before", "2021-01-01", "--to", str(archive), "--as", "ada")
    assert f"2 events lie in {archive}" in moved.stdout, moved.output
    assert sha256(archive.read_bytes()).hexdigest() in moved.stdout
    assert "The record holds: 2 events" in slipway("audit", "verify", "--file", str(archive)).stdout
    assert "2 more events lie in the file" in slipway("audit", "verify", "--expect", head).stdout
    again = slipway("audit", "archive", "--before", "2021-01-01", "--to", str(archive), "--as", "ada")
    assert "cannot be made: File exists" in str(again.exception)

    with psycopg.connect(site.database, autocommit=True) as owner:
        owner.execute("ALTER TABLE slipway_events DISABLE TRIGGER ALL")
        owner.execute("UPDATE slipway_events SET run_id = 'r9' WHERE run_id = 'r1'")
    broken = slipway("audit", "verify", "--json")
    assert broken.exit_code == 1
    assert "was altered" in json.loads(broken.stdout.splitlines()[0])["broken"]
    wrong = slipway("audit", "verify", "--expect", "3")
    assert isinstance(wrong.exception, SpecInvalid)


def test_a_secret_is_random() -> None:
    assert len({new_secret() for _ in range(20)}) == 20

"""The database goes away in the middle, or has no room left: nothing is lost, nothing is doubled."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from blocks.errors import RegistryUnreachable
from blocks.registry import RegistryClient
from sandbox.postgres import Postgres
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from conftest import Databases, Releases


def test_a_server_that_goes_in_the_middle_of_a_write_keeps_nothing_of_it_and_the_call_may_be_repeated(
    releases: Releases, dsn: str, databases: Databases, wait_until: Callable[[Callable[[], bool]], None], waiting: Callable[[], int]
) -> None:
    releases.release("a1", "run-1")
    lock = releases.client.locks.take("tiny", "production", "run-2")
    releases.client.locks.free(lock)
    releases.begin("b1", "run-2")
    failures: list[RegistryUnreachable] = []

    def end() -> None:
        with RegistryClient(dsn, connect_timeout_seconds=5) as impatient:
            try:
                replace(releases, client=impatient).ready("b1", "run-2")
            except RegistryUnreachable as error:
                failures.append(error)

    writing = threading.Thread(target=end)
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(dsn) as holder:
        # It has written its own row and is about to write that of its predecessor.
        holder.execute("SELECT FROM model_registry_entries WHERE hub_revision = %s FOR UPDATE", ("a" * 40,))
        writing.start()
        wait_until(lambda: waiting() == 1)
        databases.postgres.stop()
        # The call is made again by itself: that attempt must find no server, or it would write what the first one was to write.
        writing.join(HANGS_SECONDS)
    databases.postgres.start()

    assert [failure.facts["answer"] for failure in failures] == ["lost"]
    assert releases.statuses() == {"a": "ready", "b": "deploying"}
    assert releases.ready("b1", "run-2").status == "ready"
    assert releases.statuses() == {"a": "disabled", "b": "ready"}
    assert releases.kinds() == ["deploying", "ready", "deploying", "superseded", "ready"]
    # Numbers of locks outlive it too.
    assert releases.client.locks.take("tiny", "production", "run-3").fence > lock.fence


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 24 MB."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("a small file system can be mounted by root only")
    # Not below pytest's folder, which PostgreSQL's own user may not pass through.
    folder = Path(tempfile.mkdtemp(prefix="slipway-small-"))
    folder.chmod(0o755)
    try:
        done = subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, text=True, timeout=HANGS_SECONDS
        )
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=HANGS_SECONDS)
    finally:
        folder.rmdir()


def test_a_full_disk_leaves_nothing_half_done_and_room_is_all_it_needs(releases: Releases, databases: Databases, small_disk: Path) -> None:
    # given a registry on a small disk, with a model that serves
    place = small_disk / "tablespace"
    place.mkdir(mode=0o700)
    nobody = pwd.getpwnam("nobody")
    os.chown(place, nobody.pw_uid, nobody.pw_gid)
    with psycopg.connect(databases.postgres.dsn, autocommit=True) as root:
        root.execute(f"CREATE TABLESPACE small LOCATION '{place}'".encode())
        root.execute("CREATE DATABASE on_small_disk TABLESPACE small")
        try:
            with RegistryClient(databases.postgres.dsn_of("on_small_disk")) as client:
                client.migrate()
                fill(type(releases)(client=client), small_disk / "ballast")
        finally:
            root.execute("DROP DATABASE on_small_disk WITH (FORCE)")
            root.execute("DROP TABLESPACE small")


def fill(releases: Releases, ballast: Path) -> None:
    releases.release("a1", "run-1")
    client = releases.client

    # when others take all the room
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(ballast.parent).free == 0
    writes: list[Callable[[], object]] = [lambda: releases.degrade("a1"), lambda: releases.recover("a1")]
    refused = None
    for number in range(5_000):
        before = client.entries(), client.events.latest(limit=10_000)
        try:
            writes[number % 2]()
        except RegistryUnreachable as error:
            refused = error
            break

    # then a write is refused as a whole, and may be tried again
    assert refused is not None
    assert refused.facts["sqlstate"] == "53100"
    assert "cannot answer now" in str(refused)
    assert (client.entries(), client.events.latest(limit=10_000)) == before

    # and room is all it needs
    ballast.unlink()
    assert writes[number % 2]() is not None
    assert len(client.events.latest(limit=10_000)) == len(before[1]) + 1


def test_what_was_judged_is_there_after_a_power_cut(releases: Releases, tmp_path: Path) -> None:
    # The change ends without waiting for the disk, and the call waits for it (migration 0013): with a server that does sync.
    with Postgres(tmp_path / "postgres") as postgres:
        with RegistryClient(postgres.dsn) as client:
            client.migrate()
            there = replace(releases, client=client)
            there.release("a1", "run-1")
            for _ in range(5):
                there.degrade("a1")
                there.recover("a1")
            there.degrade("a1")
            postgres.kill()
        postgres.start()
        with RegistryClient(postgres.dsn) as client:
            assert replace(releases, client=client).statuses() == {"a": "degraded"}
            assert client.audit.verify().broken is None
            assert client.events.latest("tiny", limit=1)[0].kind == "degraded"

"""PostgreSQL starts, keeps its data, and leaves no process behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from sandbox.postgres import Postgres, PostgresUnavailable
from tests.support.waiting import until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres"), durable=False) as running:
        yield running


def processes_of(folder: Path) -> list[psutil.Process]:
    """The processes whose command line or working folder says that they belong to this server."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(folder) in " ".join(process.cmdline()) or process.cwd().startswith(str(folder)):
                found.append(process)
    return found


def test_each_test_may_have_a_database_of_its_own(server: Postgres) -> None:
    first = server.create_database("one")
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    second = server.create_database("two", template="one")

    with psycopg.connect(second) as connection:
        assert connection.execute("SELECT x FROM t").fetchone() == (1,)
        assert connection.execute("SELECT current_database()").fetchone() == ("two",)
    with psycopg.connect(server.dsn) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT x FROM t")


def test_it_does_not_run_as_root(server: Postgres) -> None:
    with psycopg.connect(server.dsn) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None

        assert psutil.Process(row[0]).uids().effective != 0


def test_a_restart_ends_connections_and_keeps_the_data(server: Postgres) -> None:
    dsn = server.create_database("kept")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")

        server.restart()

        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT x FROM t").fetchone() == (1,)


def test_nothing_runs_after_close_although_a_client_is_connected(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "pg", durable=False)
    server.start()
    with psycopg.connect(server.dsn):
        assert processes_of(tmp_path)

        server.close()

        assert "database system is shut down" in (tmp_path / "pg" / "postgres.log").read_text(), "it was killed"
        assert processes_of(tmp_path) == []
    server.close()


def test_a_folder_whose_path_is_too_long_for_a_socket_works(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / "pg"

    with Postgres(folder, durable=False) as server, psycopg.connect(server.dsn) as connection:
        row = connection.execute("SHOW unix_socket_directories").fetchone()
        assert row is not None
        sockets = Path(row[0])
        assert sockets.is_dir()
        assert len(os.fsencode(sockets)) < 80

    assert not sockets.exists()


def test_nothing_runs_after_the_owner_was_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from sandbox.postgres import Postgres\n"
        "Postgres(Path(sys.argv[1]), durable=False).start(); print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "pg")]
    owner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdin is not None
    assert owner.stdout.readline() == "ready\n"
    assert processes_of(tmp_path)

    owner.send_signal(signal.SIGKILL)
    owner.wait()

    until(lambda: not processes_of(tmp_path))
    with Postgres(tmp_path / "pg", durable=False) as again, psycopg.connect(again.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    owner.stdin.close()
    owner.stdout.close()


def test_what_stops_it_from_starting_is_told(tmp_path: Path) -> None:
    with Postgres(tmp_path / "pg", durable=False):
        pass
    (tmp_path / "pg/data/postgresql.conf").write_text("no_such_setting = on\n")

    with pytest.raises(PostgresUnavailable, match="no_such_setting"):
        Postgres(tmp_path / "pg", durable=False).start()

    assert processes_of(tmp_path) == []


def test_without_a_start_there_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(PostgresUnavailable, match="has not been started"):
        _ = Postgres(tmp_path).dsn

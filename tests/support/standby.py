"""A primary and its standby, of Debian's PostgreSQL (15 is the oldest that Slipway takes); where it is not installed, tests skip."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sandbox.postgres import Postgres

#: A write is acknowledged when the standby has it too.
_ACKNOWLEDGED = {"synchronous_commit": "on", "wal_receiver_status_interval": "1", "max_connections": "50"}


@dataclass(kw_only=True)
class Pair:
    """A primary and a standby.

    Attributes:
        primary: Takes writes.
        standby: Follows it.
        name: A folder of sockets that is a link: a name that moves from one server to the other.
    """

    primary: Postgres
    standby: Postgres
    name: Path

    def both(self) -> str:
        """A connection string that names both, the primary first."""
        hosts = [_host(self.primary), _host(self.standby)]
        return f"postgresql://postgres@/postgres?host={quote(','.join(hosts), safe='')}"

    def by_name(self) -> str:
        """A connection string with the name that moves."""
        return make_conninfo(self.primary.dsn, host=str(self.name))

    def point_to(self, server: Postgres) -> None:
        """Have the name mean that server from now on."""
        link = self.name.with_suffix(".new")
        link.symlink_to(_host(server))
        link.rename(self.name)

    def promote(self) -> None:
        """Make the standby a primary; returns when it takes writes."""
        with psycopg.connect(self.standby.dsn, autocommit=True) as connection:
            assert connection.execute("SELECT pg_promote(true, 30)").fetchall() == [(True,)]


def _host(server: Postgres) -> str:
    return str(conninfo_to_dict(server.dsn)["host"])


@contextmanager
def pair_in(folder: Path) -> Iterator[Pair]:
    """Start a primary and a standby that has all that it acknowledged."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_basebackup"))
    if not found:
        pytest.skip("PostgreSQL with pg_basebackup is not installed (Debian: apt-get install postgresql)")
    primary = Postgres(folder / "a", durable=False, executables=found[-1].parent, settings=_ACKNOWLEDGED)
    with primary, primary.follower(folder / "b") as standby:
        with psycopg.connect(primary.dsn, autocommit=True) as connection:
            # In the file and not on the command line, so that the standby, once promoted, does not wait for one of its own.
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
        pair = Pair(primary=primary, standby=standby, name=folder / "name")
        pair.point_to(primary)
        yield pair

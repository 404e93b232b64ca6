"""Connections to the registry: a small pool, one place where errors are mapped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb, set_json_loads
from psycopg_pool import ConnectionPool

from blocks.facts.kinds import GROUPS
from blocks.registry.mapping import Address, translate
from blocks.registry.statements import statement
from blocks.storable import storable, storable_text

Row = TypeVar("Row")
Connection = psycopg.Connection[tuple[Any, ...]]

#: A release makes a handful of calls at once; a router or a monitor has clients of its own.
_POOL_SIZE = 4

#: Digits of an integer that is read as one.
_LONGEST_INTEGER = 400

#: Seconds until a peer that vanished without a word counts as gone (TCP only).
_GONE_AFTER_SECONDS = 15


class Session:
    """A pool, and one place where errors are mapped; what the parts of `RegistryClient` share.

    Args:
        dsn: libpq's connection string or URI.
        connect_timeout_seconds: How long to wait for a connection.
    """

    def __init__(self, dsn: str, *, connect_timeout_seconds: float = 5.0) -> None:
        self.address = Address.of(dsn)
        self._dsn = dsn
        self._connect: dict[str, Any] = {
            # A read leaves no transaction open behind it; what must hang together opens one.
            "autocommit": True,
            # libpq counts whole seconds and takes one for two.
            "connect_timeout": max(2, round(connect_timeout_seconds)),
            # A name in the connection string wins.
            "fallback_application_name": "slipway",
            "keepalives_idle": _GONE_AFTER_SECONDS,
            # In milliseconds. Keepalives are not sent while something is unacknowledged; this covers that.
            "tcp_user_timeout": _GONE_AFTER_SECONDS * 1000,
        }
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            dsn,
            kwargs=self._connect,
            configure=_configure,
            # A connection that was cut while it lay in the pool is replaced, not handed out.
            check=ConnectionPool.check_connection,
            min_size=0,
            max_size=_POOL_SIZE,
            timeout=connect_timeout_seconds,
            # The pool would try for five minutes by itself; trying again is the task's.
            reconnect_timeout=connect_timeout_seconds,
            num_workers=1,
            open=False,
            name="registry",
        )

    def open(self) -> None:
        """Make sure that the database can be had; connections are made when they are needed."""
        # The pool would retry a wrong password in silence until its time is up; a connection of our own tells the reason at once.
        try:
            psycopg.connect(self._dsn, **self._connect).close()
            self._pool.open()
        except psycopg.Error as error:
            raise translate(error, self.address) from error

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection of the pool, in autocommit mode; its errors are ours."""
        try:
            with self._pool.connection() as connection:
                yield connection
        except psycopg.Error as error:
            raise translate(error, self.address) from error

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection of the pool in a transaction that ends with the block."""
        with self.connected() as connection, connection.transaction():
            yield connection


def rows(connection: Connection, name: str, shape: type[Row], parameters: Mapping[str, object]) -> list[Row]:
    """Run the statement `name` and return its rows as `shape`s."""
    with connection.cursor(row_factory=class_row(shape)) as cursor:
        return cursor.execute(statement(name), _sent(parameters)).fetchall()


def row(connection: Connection, name: str, shape: type[Row], parameters: Mapping[str, object]) -> Row | None:
    """Run the statement `name` and return its first row, if there is one."""
    with connection.cursor(row_factory=class_row(shape)) as cursor:
        return cursor.execute(statement(name), _sent(parameters)).fetchone()


def change(connection: Connection, name: str, parameters: Mapping[str, object]) -> int:
    """Run the statement `name` and return how many rows it touched."""
    return connection.execute(statement(name), _sent(parameters)).rowcount


def _sent(parameters: Mapping[str, object]) -> Mapping[str, object]:
    # Here, where all parameters pass: a failure whose words cannot be kept would be a failure that nobody records.
    kept = {name: _kept(value) for name, value in parameters.items()}
    # Every statement may ask for a group of kinds; what it does not ask for is not sent.
    return {**GROUPS, **kept}


def _kept(value: object) -> object:
    if isinstance(value, Jsonb):
        return Jsonb(storable(value.obj))
    if isinstance(value, list):
        return [_kept(each) for each in value]
    return storable_text(value) if isinstance(value, str) else value


def _configure(connection: Connection) -> None:
    connection.execute(statement("session"))
    set_json_loads(_read, connection)


def _read(text: str | bytes) -> Any:
    return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | str:
    # jsonb holds numbers of any length. Python refuses to read those of more than 4300 digits, and one event would stop whoever reads all.
    return int(digits) if len(digits) <= _LONGEST_INTEGER else f"an integer of {len(digits)} digits"

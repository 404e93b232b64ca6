"""Connections to the registry: a small pool, one place where errors are mapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import TypeVar

import psycopg
from psycopg.abc import Buffer
from psycopg.rows import RowFactory, class_row, tuple_row
from psycopg.types.datetime import TimestamptzLoader
from psycopg.types.json import Jsonb, set_json_loads
from psycopg_pool import ConnectionPool, PoolTimeout

from blocks.facts.kinds import GROUPS
from blocks.registry import jsonb
from blocks.registry.connect import Connection, check, connection_parameters, is_pooled
from blocks.registry.mapping import READ_ONLY, Address, translate
from blocks.registry.repeated import ANSWER, LOST, REFUSED, repeated
from blocks.registry.statements import statement
from blocks.storable import storable, storable_text

Row = TypeVar("Row")

#: A release makes a handful of calls at once; a router or a monitor has clients of its own.
_POOL_SIZE = 4

#: Seconds after which a connection is replaced.
_OLDEST_SECONDS = 300.0

#: Statements that have another form where they cannot have names. It brings its settings along: no transaction is begun for them.
_POOLED = {"route": "route_through_pooler"}


class Session:
    """A pool, and one place where errors are mapped; what the parts of `RegistryClient` share.

    Behind a pooler nothing that is sent depends on the session of the server that it meets: settings and locks are those of a transaction,
    so that it may be one in transaction mode. The server itself is told the settings once a connection, and keeps named statements.

    Args:
        dsn: libpq's connection string or URI.
        connect_timeout_seconds: How long to wait for a connection.
    """

    def __init__(self, dsn: str, *, connect_timeout_seconds: float = 5.0) -> None:
        self.address = Address.of(dsn)
        self._parameters = connection_parameters(dsn, connect_timeout_seconds=connect_timeout_seconds)
        # The hosts are tried one after the other.
        patience_seconds = connect_timeout_seconds * self.address.hosts
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            connection_class=Connection,
            kwargs={**self._parameters, "autocommit": True, "prepare_threshold": None},
            configure=_configure,
            # A connection that was cut while it lay in the pool is replaced, not handed out.
            check=check,
            min_size=0,
            max_size=_POOL_SIZE,
            timeout=patience_seconds,
            # The pool would try for five minutes by itself; trying again is the task's.
            reconnect_timeout=patience_seconds,
            # A name may have moved while the server that it named before goes on answering.
            max_lifetime=_OLDEST_SECONDS,
            num_workers=1,
            open=False,
            name="registry",
        )

    def open(self) -> None:
        """Make sure that the database can be had; connections are made when they are needed."""
        # The pool would retry a wrong password in silence until its time is up; a connection of our own tells the reason at once.
        self._reach()
        self._pool.open()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection of the pool, in autocommit mode; its errors are ours."""
        lent: Connection | None = None
        try:
            with self._pool.connection() as connection:
                lent = connection
                yield connection
                connection.used = monotonic()
        except PoolTimeout as error:
            self._reach()  # the pool does not tell why it has none
            ours = translate(error, self.address)
            ours.facts[ANSWER] = REFUSED  # there is one now
            raise ours from error
        except psycopg.Error as error:
            ours = translate(error, self.address)
            if lent is not None and lent.closed:
                ours.facts[ANSWER] = LOST
            elif error.sqlstate == READ_ONLY:
                # A primary that was demoted while we were connected: the others of the pool are to it, too.
                self._pool.drain()
                ours.facts[ANSWER] = REFUSED
            raise ours from error

    def _reach(self) -> None:
        try:
            Connection.connect(**self._parameters).close()
        except psycopg.Error as error:
            raise translate(error, self.address) from error

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection of the pool in a transaction that ends with the block."""
        with self.connected() as connection, connection.transaction():
            set_up(connection)
            yield connection

    @repeated
    def rows(self, name: str, shape: type[Row], parameters: Mapping[str, object]) -> list[Row]:
        """Run the statement `name` in a transaction of its own and return its rows as `shape`s."""
        with self._ran(name, parameters, class_row(shape)) as cursor:
            return cursor.fetchall()

    @repeated
    def row(self, name: str, shape: type[Row], parameters: Mapping[str, object]) -> Row | None:
        """Run the statement `name` in a transaction of its own and return its first row, if there is one."""
        with self._ran(name, parameters, class_row(shape)) as cursor:
            return cursor.fetchone()

    @repeated
    def change(self, name: str, parameters: Mapping[str, object]) -> int:
        """Run the statement `name` in a transaction of its own and return how many rows it touched."""
        with self._ran(name, parameters, tuple_row) as cursor:
            return cursor.rowcount

    @contextmanager
    def _ran(self, name: str, parameters: Mapping[str, object], factory: RowFactory[Row]) -> Iterator[psycopg.Cursor[Row]]:
        with self.connected() as connection, connection.cursor(row_factory=factory) as cursor:
            if _own_session(connection):
                cursor.execute(statement(name), _sent(parameters))  # a transaction by itself, in one round trip
            elif name in _POOLED:
                cursor.execute(statement(_POOLED[name]), _sent(parameters))
            else:
                # No pipeline: PgBouncer 1.18 loses a connection to the server now and then to one that fails.
                with connection.transaction():
                    set_up(connection)
                    cursor.execute(statement(name), _sent(parameters))
            yield cursor


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
    if kept.get("organisation") == "":
        kept["organisation"] = None  # as the database has it (migration 0016)
    # Every statement may ask for a group of kinds; what it does not ask for is not sent.
    return {**GROUPS, **kept}


def _kept(value: object) -> object:
    if isinstance(value, Jsonb):
        return Jsonb(storable(value.obj))
    if isinstance(value, list):
        return [_kept(each) for each in value]
    return storable_text(value) if isinstance(value, str) else value


def set_up(connection: Connection) -> None:
    """Settings of the transaction that has begun, where its connection does not have them."""
    if not _own_session(connection):
        connection.execute(statement("settings"), {"local": True})


def _configure(connection: Connection) -> None:
    set_json_loads(jsonb.read, connection)
    connection.adapters.register_loader("timestamptz", _InUtc)
    # What belongs to a session of the server: settings, and named statements, which save planning from the fifth time on.
    if not is_pooled(connection):
        connection.execute(statement("settings"), {"local": False})
        connection.prepare_threshold = 5


def _own_session(connection: Connection) -> bool:
    """Whether nobody else uses the session of the server: `_configure` found no pooler."""
    return connection.prepare_threshold is not None


class _InUtc(TimestamptzLoader):
    """The time zone of the session is the server's, and may be anybody's behind a pooler."""

    def load(self, data: Buffer) -> datetime:
        return super().load(data).astimezone(UTC)

"""How a connection to the registry is made, and what it meets: the server itself, or a pooler before it."""

from __future__ import annotations

import select
from collections.abc import Mapping
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from blocks.registry.statements import statement

#: libpq's words for a server that is not what `target_session_attrs` asks for.
NO_WRITES = "session is read-only"

#: Seconds until a peer that vanished without a word counts as gone (TCP only).
_GONE_AFTER_SECONDS = 15

#: Seconds for which a connection that answered is taken at its word, as long as nothing comes from the server unasked.
_FRESH_SECONDS = 1.0

#: What a connection string may say otherwise.
_DEFAULTS: dict[str, Any] = {
    "fallback_application_name": "slipway",
    # Of several hosts the one that takes writes; and a server that was demoted is not mistaken for the registry.
    "target_session_attrs": "read-write",
    "keepalives_idle": _GONE_AFTER_SECONDS,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # In milliseconds. Keepalives are not sent while something is unacknowledged; this covers that.
    "tcp_user_timeout": _GONE_AFTER_SECONDS * 1000,
}


def connection_parameters(dsn: str, *, connect_timeout_seconds: float) -> dict[str, Any]:
    """libpq's parameters: those of the connection string, and Slipway's where it says nothing."""
    # libpq counts whole seconds and takes one for two.
    timeout = max(2, round(connect_timeout_seconds))
    # Whatever the database's encoding is: what it cannot keep is then refused by it, and what it keeps can be read.
    return {**_DEFAULTS, "connect_timeout": timeout, **conninfo_to_dict(dsn), "client_encoding": "UTF8"}


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection to the first of the hosts that is what `target_session_attrs` asks for.

    As libpq does it, but that a server which is said to be read-only is asked: PgBouncer (1.18) goes on telling clients the
    `in_hot_standby` that it was told when it connected to the server, so that a standby that was promoted since would be refused.

    Attributes:
        used: When a call last ended well on it, by `time.monotonic`; `-inf` if none did.
    """

    used: float = -inf

    @classmethod
    def connect(cls, conninfo: str = "", **parameters: Any) -> Self:
        """Connect.

        Raises:
            psycopg.OperationalError: None of the hosts can be had, or none takes writes.
        """
        try:
            return super().connect(conninfo, **parameters)
        except psycopg.OperationalError as error:
            if NO_WRITES not in str(error):
                raise
            for server in servers(parameters):
                with suppress(psycopg.OperationalError):
                    connection = super().connect(conninfo, **server)
                    if connection.execute(statement("takes_writes")).fetchall() == [(True,)]:
                        connection.rollback()
                        return connection
                    connection.close()
            raise


def servers(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parameters for each of the hosts by itself, whatever it is."""
    lists = {name: str(parameters[name]).split(",") for name in ("host", "hostaddr", "port") if parameters.get(name)}
    several = max(map(len, lists.values()), default=1)
    # One port may stand for all hosts.
    each = [{name: values[number % len(values)] for name, values in lists.items()} for number in range(several)]
    return [{**parameters, **server, "target_session_attrs": "any"} for server in each]


def check(connection: Connection) -> None:
    """Find out that a connection which lay in the pool is still there, for the price of a round trip only where there is doubt.

    Raises:
        psycopg.OperationalError: It is not.
    """
    # A server that ends a connection says so, and be it by closing it: that can be seen here without asking.
    unasked = select.poll()
    unasked.register(connection.fileno(), select.POLLIN)
    if monotonic() - connection.used > _FRESH_SECONDS or unasked.poll(0):
        ConnectionPool.check_connection(connection)


def is_pooled(connection: Connection) -> bool:
    """Whether a pooler lies between: it makes up the process number that a server tells whoever connects (BackendKeyData)."""
    ((process,),) = connection.execute(statement("backend")).fetchall()
    return bool(process != connection.info.backend_pid)

"""What lies on the way to the registry: a pooler, a standby, the primary, and whether notices are heard; looks, and changes nothing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import class_row

from blocks.facts.registry import RegistryPath, RegistryServer
from blocks.registry.connect import Connection, connection_parameters, servers
from blocks.registry.mapping import Address, translate
from blocks.registry.statements import statement

#: Seconds within which a notice is heard, or is not.
_HEARD_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class _Met:
    process: int
    version: str
    standby: bool
    takes_writes: bool
    behind_seconds: float | None
    synchronous: bool
    open_schema: str | None


def look(dsn: str, direct_dsn: str | None = None, *, connect_timeout_seconds: float = 5.0) -> RegistryPath:
    """Ask every host of the connection string what it is, and the direct one whether it hears what the other says.

    Args:
        dsn: The registry's connection string.
        direct_dsn: The one where routers listen, if there is one.
        connect_timeout_seconds: How long to wait for each host.

    Raises:
        RegistryRejected: A string cannot be read.
    """
    parameters = _parameters(dsn, connect_timeout_seconds)
    found = tuple(_server(each) for each in servers(parameters))
    if direct_dsn is None:
        return RegistryPath(servers=found)
    direct = _parameters(direct_dsn, connect_timeout_seconds)
    try:
        with _connected(direct) as connection:
            met = _met(connection, direct)
            heard = not met.standby and any(each.takes_writes for each in found) and _hears(connection, parameters)
    except psycopg.Error as error:
        return RegistryPath(servers=found, direct=_unusable(direct, error))
    return RegistryPath(servers=found, direct=met, heard=heard)


def _parameters(dsn: str, connect_timeout_seconds: float) -> dict[str, Any]:
    Address.of(dsn)  # libpq would quote one that it cannot read
    return connection_parameters(dsn, connect_timeout_seconds=connect_timeout_seconds)


def _connected(parameters: Mapping[str, Any]) -> Connection:
    return Connection.connect(**parameters, autocommit=True, prepare_threshold=None)


def _server(parameters: Mapping[str, Any]) -> RegistryServer:
    try:
        with _connected(parameters) as connection:
            return _met(connection, parameters)
    except psycopg.Error as error:
        return _unusable(parameters, error)


def _met(connection: Connection, parameters: Mapping[str, Any]) -> RegistryServer:
    with connection.cursor(row_factory=class_row(_Met)) as cursor:
        (met,) = cursor.execute(statement("server")).fetchall()
    return RegistryServer(
        address=_address(parameters),
        version=met.version.split()[0],
        pooled=met.process != connection.info.backend_pid,
        standby=met.standby,
        takes_writes=met.takes_writes,
        behind_seconds=met.behind_seconds if met.standby else None,
        synchronous=met.synchronous,
        open_schema=met.open_schema,
    )


def _unusable(parameters: Mapping[str, Any], error: psycopg.Error) -> RegistryServer:
    return RegistryServer(address=_address(parameters), problem=translate(error, Address.of(make_conninfo(**parameters))).message)


def _address(parameters: Mapping[str, Any]) -> str:
    return f"{parameters.get('host') or parameters.get('hostaddr') or 'localhost'}:{parameters.get('port') or 5432}"


def _hears(connection: Connection, parameters: Mapping[str, Any]) -> bool:
    """Whether the connection hears what another one says, which need not come past a pooler."""
    token = uuid.uuid4().hex
    connection.execute(statement("listen_probe"))
    with _connected(parameters) as other:
        other.execute(statement("notify_probe"), {"token": token})
    heard = [notice.payload for notice in connection.notifies(timeout=_HEARD_SECONDS, stop_after=1)]
    connection.execute(statement("unlisten_probe"))
    return token in heard

"""How a connection to the registry is made, and what it meets: the server itself, or a pooler before it."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from blocks.registry.statements import statement

#: Seconds until a peer that vanished without a word counts as gone (TCP only).
_GONE_AFTER_SECONDS = 15

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
    return {**_DEFAULTS, "connect_timeout": max(2, round(connect_timeout_seconds)), **conninfo_to_dict(dsn)}


def is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Whether a pooler lies between: it makes up the process number that a server tells whoever connects (BackendKeyData)."""
    ((process,),) = connection.execute(statement("backend")).fetchall()
    return bool(process != connection.info.backend_pid)

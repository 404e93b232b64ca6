"""One function maps psycopg's errors to ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import psycopg
from psycopg.conninfo import conninfo_to_dict

from blocks.errors import PipelineError, RegistryRejected, RegistryUnreachable
from blocks.registry.connect import NO_WRITES

#: read_only_sql_transaction: a standby, or a primary that was demoted.
READ_ONLY = "25006"

#: SQLSTATEs, or the two characters of their class, after which the same statement may succeed (PostgreSQL's appendix A).
_PASSING = {
    "08",  # connection exception
    READ_ONLY,  # a standby that may be promoted
    "40",  # serialisation failure, deadlock
    "53",  # out of disk, memory or connections
    "55P03",  # lock not available in time
    "57",  # shut down, starting up, or the statement was cancelled
    "58",  # error of the system below
}

#: Undefined table, column or function: the schema is older than the program.
_SCHEMA_MISSING = {"42P01", "42703", "42883", "3F000"}

#: libpq gives no SQLSTATE while connecting; these words of the server mean that asking again cannot help.
_REFUSED_AT_THE_DOOR = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    # PgBouncer's words.
    "no such database",
)

#: PgBouncer's words for a parameter that it does not pass on, such as `options`.
_PARAMETER_REFUSED = "unsupported startup parameter"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the registry is, without anything secret.

    Attributes:
        host: Host name, address, or folder of the Unix socket; several with commas between.
        port: TCP port, or the socket's number.
        database: Name of the database.
    """

    host: str
    port: int
    database: str

    @classmethod
    def of(cls, dsn: str) -> Self:
        """The address that a connection string names.

        Raises:
            RegistryRejected: It cannot be parsed.
        """
        try:
            parts = conninfo_to_dict(dsn)
            user = parts.get("user") or ""
            _require_readable(dsn)
            # libpq takes a list, for a primary and its standbys; the first stands for all.
            port = int(str(parts.get("port") or 5432).split(",")[0])
        except (psycopg.Error, ValueError):
            # Not chained: the parser's message quotes the string, and with it the password.
            raise RegistryRejected(
                "the registry's connection string cannot be read; it looks like postgresql://user:password@host:5432/database"
            ) from None
        return cls(
            host=str(parts.get("host") or parts.get("hostaddr") or "localhost"), port=port, database=str(parts.get("dbname") or user)
        )

    @property
    def hosts(self) -> int:
        """How many there are to choose from."""
        return self.host.count(",") + 1

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


def _require_readable(dsn: str) -> None:
    """Refuse an address in which libpq takes a part of the password for the host or the database, and names it in its errors."""
    place = dsn.partition("://")[2].partition("?")[0]
    server, _, database = place.partition("/")
    # libpq lets the user and password end at the first @, and the server at the first slash.
    if server.count("@") > 1 or "@" in database:
        raise RegistryRejected(
            "the registry's connection string cannot be read: write an @ in the user or password as %40, a / as %2F and a ? as %3F"
        )


def _told(error: psycopg.Error) -> str:
    """What the server or libpq says, in a line; of several hosts, what each says."""
    lines = (error.diag.message_primary or str(error)).strip().splitlines()
    each = [line.removeprefix("- ") for line in lines if line.startswith("- host:")]
    return "; ".join(each) or (lines[0] if lines else type(error).__name__)


def translate(error: psycopg.Error, address: Address) -> PipelineError:
    """Our error for one of psycopg's: `RegistryUnreachable` where trying again may help, `RegistryRejected` otherwise.

    The rows and parameters of the statement (the server's DETAIL) are left out, as they may hold what nobody should read in a log.
    """
    facts = {"host": address.host, "port": address.port, "database": address.database}
    state = error.sqlstate
    text = _told(error)
    if state is None:
        if _PARAMETER_REFUSED in text:
            what = f"the pooler at {address} does not pass on a parameter of the connection string ({text})"
            return RegistryRejected(f"{what}: take it out, and set it for the user by ALTER ROLE instead", **facts)
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            # Only libpq's own text tells a closed door from an empty house.
            if any(words in str(error) for words in _REFUSED_AT_THE_DOOR):
                return RegistryRejected(
                    f"the registry at {address} refuses the connection: {text}; check user, password and database", **facts
                )
            if NO_WRITES in text:
                what = "a standby, or a primary that was demoted; target_session_attrs=any in the connection string would read from it"
                return RegistryUnreachable(f"the registry at {address} takes no writes now: {text}; it is {what}", **facts)
            return RegistryUnreachable(f"the registry at {address} cannot be reached: {text}", **facts)
        return RegistryRejected(f"the registry at {address} was asked something that cannot be sent: {text}", **facts)
    facts["sqlstate"] = state
    if error.diag.constraint_name:
        facts["constraint"] = error.diag.constraint_name
    if state in _PASSING or state[:2] in _PASSING:
        return RegistryUnreachable(f"the registry at {address} cannot answer now: {text}", **facts)
    if state in _SCHEMA_MISSING:
        return RegistryRejected(f"the registry at {address} lacks a part of its schema ({text}): run slipway migrate", **facts)
    # insufficient_privilege
    if state == "42501":
        return RegistryRejected(f"the registry at {address} does not allow this to its user ({text}): use a role with that right", **facts)
    # not_null_violation, in a table that was there before Slipway
    if state == "23502" and error.diag.column_name:
        return RegistryRejected(
            f"column {error.diag.column_name} of {error.diag.table_name} is NOT NULL, and Slipway does not fill it: give it a default",
            **facts,
        )
    hint = f" {error.diag.message_hint}" if error.diag.message_hint else ""
    return RegistryRejected(f"the registry refused: {text}.{hint}" if hint else f"the registry refused: {text}", **facts)

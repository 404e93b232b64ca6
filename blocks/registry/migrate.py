"""Brings a database to the present schema, forward only."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.errors import RegistryRejected
from blocks.registry.connect import Connection
from blocks.registry.session import change, set_up
from blocks.registry.statements import Migration, statement

#: The migration that lets the pipeline read which were applied.
_READABLE_SINCE = "0009_unfinished"


def apply(connection: Connection, migrations: Sequence[Migration]) -> list[str]:
    """Apply what is missing, in order, and return its names.

    Each migration is a transaction of its own that also holds its record, under a lock that lets one migrator in at a time. Interrupted
    at any moment, the next call goes on where this one stopped. `connection` must be in autocommit mode.

    Raises:
        RegistryRejected: A migration was edited after it was applied, or the database is newer than the program.
    """
    applied: list[str] = []
    for migration in migrations:
        with connection.transaction():
            set_up(connection)
            connection.execute(statement("make_migrations_table"))
            connection.execute(statement("lock_migrations"))
            # Read again under each lock: another migrator may have gone on in between.
            recorded = _recorded(connection, migrations)
            if migration.name in recorded:
                continue
            # Without parameters: only then psycopg sends several statements at once, and leaves percent signs alone.
            connection.execute(migration.script.encode())
            change(connection, "record_migration", {"name": migration.name, "sha256": migration.sha256})
        applied.append(migration.name)
    return applied


def missing(connection: Connection, migrations: Sequence[Migration]) -> list[str]:
    """Names of the migrations that the database does not have. Whoever may not read which it has lacks the one that lets them."""
    (table_is_there, may_read) = connection.execute(statement("migrations_table")).fetchall()[0]
    if not table_is_there:
        return [migration.name for migration in migrations]
    if not may_read:
        return [migration.name for migration in migrations if migration.name >= _READABLE_SINCE]
    recorded = {name for name, _ in connection.execute(statement("applied_migrations")).fetchall()}
    return [migration.name for migration in migrations if migration.name not in recorded]


def _recorded(connection: Connection, migrations: Sequence[Migration]) -> set[str]:
    recorded: dict[str, str] = dict(connection.execute(statement("applied_migrations")).fetchall())
    known = {migration.name: migration.sha256 for migration in migrations}
    for name, sha256 in recorded.items():
        if name not in known:
            raise RegistryRejected(
                f"the registry has migration {name}, which this Slipway does not know: use a newer Slipway", migration=name
            )
        if known[name] != sha256:
            raise RegistryRejected(
                f"migration {name} was edited after it was applied to the registry: restore its text and add a new migration instead",
                migration=name,
            )
    return set(recorded)

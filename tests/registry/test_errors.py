"""What a person reads when the registry cannot be had, and whether it is worth another try."""

from __future__ import annotations

import pickle
import socket
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from blocks.errors import RegistryRejected, RegistryUnreachable
from blocks.registry import RegistryClient
from blocks.registry.connect import connection_parameters
from blocks.registry.mapping import Address, translate
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Databases

SECRET = "opensesame"


def error_of(act: Callable[[], object]) -> BaseException:
    with pytest.raises((RegistryUnreachable, RegistryRejected)) as caught:
        act()
    return caught.value


def everything_said(error: BaseException | None) -> str:
    """The error, its facts and all that it was caused by."""
    said = ""
    while error is not None:
        said += f"{error!r} {getattr(error, 'facts', '')} "
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return said


def open_and_close(dsn: str) -> None:
    with RegistryClient(dsn, connect_timeout_seconds=2):
        pass


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        error = error_of(lambda: open_and_close(f"postgresql://slipway:{SECRET}@127.0.0.1:{port}/models"))

    assert isinstance(error, RegistryUnreachable)
    assert error.facts == {"host": "127.0.0.1", "port": port, "database": "models"}
    assert f"127.0.0.1:{port}/models cannot be reached" in str(error)
    assert SECRET not in everything_said(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301  (our own bytes)


def test_somebody_listens_but_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        error = error_of(lambda: open_and_close(f"postgresql://slipway:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/models"))

    assert isinstance(error, RegistryUnreachable)
    assert time.monotonic() - start < HANGS_SECONDS
    assert SECRET not in everything_said(error)


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgres//u:{SECRET}@h/d",
        f"postgresql://u:{SECRET}@h:port/d",
        f"host=h bogus=1 password={SECRET}",
        f"host=h port=x password={SECRET}",
    ],
)
def test_a_connection_string_that_cannot_be_read_is_not_quoted(dsn: str) -> None:
    error = error_of(lambda: RegistryClient(dsn))

    assert isinstance(error, RegistryRejected)
    assert "postgresql://user:password@host:5432/database" in str(error)
    assert SECRET not in everything_said(error)


@pytest.mark.parametrize("change", [{"dbname": "nowhere"}, {"user": "nobody_here"}])
def test_a_database_or_user_that_does_not_exist(dsn: str, change: dict[str, str]) -> None:
    error = error_of(lambda: open_and_close(make_conninfo(dsn, password=SECRET, **change)))

    assert isinstance(error, RegistryRejected)
    assert "check user, password and database" in str(error)
    assert SECRET not in everything_said(error)


def test_no_schema_yet(empty_dsn: str) -> None:
    with RegistryClient(empty_dsn) as client:
        for read in (client.entries, client.events.latest, lambda: client.route("tiny"), lambda: client.candidates.get("f" * 64)):
            error = error_of(read)
            assert isinstance(error, RegistryRejected)
            assert "run slipway migrate" in str(error)


def test_a_user_without_rights(dsn: str, sql: psycopg.Connection) -> None:
    sql.execute("CREATE ROLE somebody LOGIN")
    with RegistryClient(make_conninfo(dsn, user="somebody")) as client:
        error = error_of(client.entries)
    sql.execute("DROP ROLE somebody")

    assert isinstance(error, RegistryRejected)
    assert "does not allow this" in str(error)
    assert error.facts["sqlstate"] == "42501"


def test_the_database_goes_away_while_the_client_is_open(databases: Databases) -> None:
    dsn = databases.present()
    with RegistryClient(dsn, connect_timeout_seconds=1) as client:
        client.entries()
        with psycopg.connect(databases.postgres.dsn, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {conninfo_to_dict(dsn)['dbname']} WITH (FORCE)")
        error = error_of(client.entries)

    # Not only that no connection is to be had: the reason.
    assert isinstance(error, RegistryRejected)
    assert "does not exist" in str(error)


@pytest.mark.parametrize(
    ("vendor", "ours"),
    [
        (errors.AdminShutdown, RegistryUnreachable),
        (errors.CannotConnectNow, RegistryUnreachable),
        (errors.TooManyConnections, RegistryUnreachable),
        (errors.DiskFull, RegistryUnreachable),
        (errors.DeadlockDetected, RegistryUnreachable),
        (errors.LockNotAvailable, RegistryUnreachable),
        (errors.QueryCanceled, RegistryUnreachable),
        (errors.ReadOnlySqlTransaction, RegistryUnreachable),
        (errors.ConnectionFailure, RegistryUnreachable),
        (psycopg.OperationalError, RegistryUnreachable),
        (psycopg.InterfaceError, RegistryUnreachable),
        (errors.UniqueViolation, RegistryRejected),
        (errors.UndefinedColumn, RegistryRejected),
        (errors.InsufficientPrivilege, RegistryRejected),
        (errors.StringDataRightTruncation, RegistryRejected),
        (psycopg.DataError, RegistryRejected),
        (psycopg.ProgrammingError, RegistryRejected),
    ],
)
def test_which_errors_are_worth_another_try(vendor: type[psycopg.Error], ours: type[Exception]) -> None:
    address = Address(host="db", port=5432, database="models")

    assert type(translate(vendor("no"), address)) is ours


@pytest.mark.parametrize("password", ["p@ss", "1/opensesame", "pa/ss", "a@b@c"])
def test_an_address_in_which_a_part_of_the_password_would_be_the_host_is_refused(password: str) -> None:
    error = error_of(lambda: Address.of(f"postgresql://slipway:{password}@db.example/models"))

    assert "write an @ in the user or password as %40" in str(error) or "cannot be read" in str(error)
    assert password not in everything_said(error)


@pytest.mark.parametrize(
    "dsn", ["postgresql://me%40x:p%40ss@db/models", "postgresql:///models?host=/run/pg&user=me@x", "host=db user=me@x dbname=models"]
)
def test_an_address_with_an_at_where_one_can_be_is_read(dsn: str) -> None:
    assert Address.of(dsn).database == "models"


def test_what_a_connection_string_says_of_the_connection_wins() -> None:
    said = connection_parameters(
        "postgresql://u@a,b/d?target_session_attrs=any&connect_timeout=9&keepalives_idle=60", connect_timeout_seconds=5
    )

    assert (said["host"], said["target_session_attrs"], said["connect_timeout"], said["keepalives_idle"]) == ("a,b", "any", "9", "60")
    unsaid = connection_parameters("postgresql://u@a/d", connect_timeout_seconds=5)
    assert (unsaid["target_session_attrs"], unsaid["connect_timeout"]) == ("read-write", 5)
    assert unsaid["tcp_user_timeout"] >= 1000 * unsaid["keepalives_idle"]

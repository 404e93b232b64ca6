"""Through a real PgBouncer in transaction mode: clients share its few connections, and nothing that they send may depend on a session."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from blocks.errors import PipelineError, RegistryRejected
from blocks.facts.kinds import EventKind
from blocks.registry import EntryKey, Gate, Health, Lock, RegistryClient, session
from blocks.registry.chain import ArchivedPart
from blocks.registry.documents import digest
from blocks.registry.overview import EventPlace
from blocks.registry.path import look
from blocks.registry.statements import statement
from tests.support.candidates import told
from tests.support.pgbouncer import Pooler, pooler_before

if TYPE_CHECKING:
    from conftest import Databases

CLIENTS = 100

#: Connections that the pooler has to the server.
SIZE = 4

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def pooler(server: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pooler]:
    with pooler_before(tmp_path_factory.mktemp("pooler"), server.postgres.dsn, size=SIZE) as pooler:
        yield pooler


@pytest.fixture
def pooled(pooler: Pooler, dsn: str) -> str:
    return pooler.of(dsn)


def test_clients_that_stay_open_make_every_call_and_keep_their_locks(pooled: str, sql: psycopg.Connection) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(RegistryClient(pooled)) for _ in range(CLIENTS)]
        locks = [client.locks.take("(held)", f"place-{number}", f"run-{number}") for number, client in enumerate(clients)]

        def visit(number: int) -> list[str]:
            # Each begins elsewhere: all kinds of calls are under way at any moment. Nobody makes one of each, which would take long.
            mine = itertools.islice(itertools.cycle(sorted(methods(clients[number]).items())), number, number + 6)
            wrong = []
            for name, method in mine:
                try:
                    call(method, number)
                    if not clients[number].locks.keep(locks[number]):
                        wrong.append(f"{name}: the lock was lost")
                except PipelineError as error:
                    wrong.append(f"{name}: {error.message}")
            return wrong

        with ThreadPoolExecutor(8) as threads:
            # Twice: the second time each meets connections that others have used for something else.
            visits = [threads.map(visit, numbers) for numbers in (range(CLIENTS), reversed(range(CLIENTS)))]
            wrong = [each for visited in visits for some in visited for each in some]
        held = {lock.environment: (lock.run_id, lock.fence) for lock in clients[0].locks.held() if lock.model == "(held)"}

    assert wrong == []
    assert held == {lock.environment: (lock.run_id, lock.fence) for lock in locks}
    assert 1 <= sql.execute(_CONNECTIONS).fetchall()[0][0] <= SIZE
    assert left_behind(pooled) == {("0", 0, 0, 0, 0)}


def test_settings_go_along_with_each_call_only_past_a_pooler(pooled: str, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(to: str) -> list[str]:
        names: list[str] = []
        with monkeypatch.context() as listening:
            listening.setattr(session, "statement", lambda name: names.append(name) or statement(name))
            with RegistryClient(to) as client:
                client.route("nothing")
                client.previous("nothing", "production")
        return names

    assert said(dsn) == ["settings", "route", "current", "previous"]
    assert said(pooled) == ["route_through_pooler", "settings", "current", "previous"], "a route brings its own"
    direct = session.Session(dsn)
    direct.open()
    with direct.connected() as connection:
        held = connection.execute("SELECT current_setting('timezone'), current_setting('lock_timeout')").fetchall()
    direct.close()
    assert held == [("UTC", "15s")]


#: Those that the pooler has to the database; the tests' own come from elsewhere.
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> ''"

#: What a stranger would inherit.
_STATE = """
SELECT
    current_setting('lock_timeout'), (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels()),
    (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
    (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema())
"""


def left_behind(pooled: str) -> set[tuple[object, ...]]:
    """What is found in the sessions of the server by whoever comes next: each holds one, so that all are seen."""
    with ExitStack() as stack:
        strangers = [stack.enter_context(psycopg.connect(pooled, prepare_threshold=None)) for _ in range(SIZE)]
        return {state for stranger in strangers for state in stranger.execute(_STATE).fetchall()}


def test_it_is_seen_what_lies_between_and_whether_notices_are_heard(pooled: str, dsn: str) -> None:
    past = look(pooled, dsn)
    through = look(pooled, pooled)

    (server,) = past.servers
    assert (server.pooled, server.standby, server.takes_writes, server.problem) == (True, False, True, "")
    assert past.direct is not None
    assert (past.direct.pooled, past.heard) == (False, True)
    assert through.direct is not None
    assert (through.direct.pooled, through.heard) == (True, False)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"options": "-c role=slipway_admin"}, "take it out"),
        ({"dbname": "nowhere"}, "check user, password and database"),
        ({"user": "nobody_here"}, "check user, password and database"),
    ],
)
def test_what_a_pooler_refuses_at_the_door_is_no_reason_to_wait(pooler: Pooler, dsn: str, more: dict[str, str], said: str) -> None:
    with pytest.raises(RegistryRejected, match=said), RegistryClient(pooler.of(dsn, **more)):
        pass


def methods(client: RegistryClient) -> dict[str, Callable[..., object]]:
    """Every public method of the client and of its parts; a new one is among them by itself."""
    parts = {"client": client} | {name: part for name, part in vars(client).items() if not name.startswith("_")}
    return {
        f"{name}.{called}": method
        for name, part in parts.items()
        for called, method in inspect.getmembers(part, inspect.ismethod)
        if not called.startswith("_")
    }


def call(method: Callable[..., object], number: int) -> None:
    """Make the call with arguments of that client's own; what the rules of the registry refuse is an answer."""
    given = {name: value for name, value in arguments(method, number).items() if name in inspect.signature(method).parameters}
    try:
        answer = method(**given)
        if isinstance(answer, Iterator):
            list(answer)
    except RegistryRejected as error:
        # P0001 is what our own functions in the database raise.
        if error.facts.get("sqlstate", "P0001") != "P0001":
            raise


def arguments(method: Callable[..., object], number: int) -> dict[str, object]:
    """A value for each name that a parameter without a default has."""
    model, run, commit = f"model-{number}", f"run-{number}", "a" * 40
    document = told(model, commit)
    fingerprint = digest(document)
    gate = Gate(run_id=run, name="production", model=model, environment="production", fingerprint=fingerprint)
    key = EntryKey(organisation=None, model=model, hub_revision=commit, environment="production")
    parameters = inspect.signature(method).parameters
    values = {
        "model": model,
        "environment": "production",
        "fingerprint": fingerprint,
        "hub_revision": commit,
        "namespace": "models",
        "endpoint": "tiny:8000",
        "run_id": run,
        "run_ids": [run],
        "runs": [(run, model, NOW)],
        "kind": EventKind.APPROVED,
        "kinds": [EventKind.READY],
        "statuses": ["ready"],
        "reason": "it leaks",
        "actor": "ada",
        "approver": f"ada-{number}",
        "refusal": None,
        "code_step": 7,
        "gate": gate.name if "gate" in parameters and parameters["gate"].annotation == "str" else gate,
        "number": 1,
        "detail": {"number": number},
        "document": document,
        "prefix": "0123456789",
        "sha256": "0" * 64,
        "evidence_sha256": "0" * 64,
        "cluster_changed": True,
        "lock": Lock(model=model, environment="production", organisation=None, run_id=run, fence=1, silent_seconds=0.0),
        "keys": [key],
        "checks": [Health(key=key, fingerprint=fingerprint, good=True)],
        "at": NOW,
        "limit": 10,
        "after_id": 0,
        "stable": "0" * 64,
        "canary": fingerprint,
        "steps": [{"weight": 100}],
        "state": {"looks": number},
        "outcome": "aborted",
        "wish": "hold",
        "id": f"t{number}",
        "secret_sha256": f"{number:064x}",
        "label": "nightly",
        "acts_as": "ada",
        "role": "operator",
        "models": [model],
        "environments": ["production"],
        "created_by": "ada",
        "expires_at": NOW + timedelta(hours=1),
        "session_sha256": f"{number:064x}",
        "forget_at": NOW + timedelta(hours=1),
        "caller": f"ada-{number}",
        "key": "k",
        "request_sha256": "0" * 64,
        "status": 202 if "status" in parameters and parameters["status"].annotation == "int" else "ready",
        "body": {"run": run},
        "sha256s": ["0" * 64],
        "event_id": number,
        "place": EventPlace(chain=1, position=1, sealed_position=None, sealed_hash=None, seal_id=None, seal_position=None),
        "before": NOW,
        # There is none of them: it is refused, and put back what was opened for it.
        "parts": [ArchivedPart(chain=10**6 + number, first=1, last=1, previous_hash="0" * 64, hash="0" * 64)],
    }
    for name, parameter in parameters.items():
        assert name in values or parameter.default is not parameter.empty, f"say here what to give for {name}"
    return values

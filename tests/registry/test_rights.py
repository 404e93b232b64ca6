"""Every statement that a role can make of what the catalogue holds, tried and compared with what is declared in rights.yaml."""

# ruff: noqa: S608 - statements are made of names that the catalogue holds
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml

from blocks.registry import RegistryClient
from blocks.registry.documents import digest

if TYPE_CHECKING:
    from conftest import Releases

ROLES = ("slipway_router", "slipway_operator", "slipway_admin")
DECLARED = yaml.safe_load((Path(__file__).parent / "rights.yaml").read_text())
MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
COLUMNS = """
SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
GROUP BY c.relname
"""
FUNCTIONS = """
SELECT p.proname, p.oid::regprocedure::text, p.prosecdef, l.lanname, p.prosqlbody IS NOT NULL,
    coalesce((SELECT option FROM unnest(p.proconfig) AS option WHERE option LIKE 'search_path=%'), '')
FROM pg_proc AS p
JOIN pg_language AS l ON l.oid = p.prolang
WHERE p.pronamespace = 'public'::regnamespace
ORDER BY p.proname
"""


def allowed(connection: psycopg.Connection, statement: str) -> bool:
    """Whether the statement gets past the rights; what it did is taken back."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.WrongObjectType, psycopg.errors.ObjectNotInPrerequisiteState):
        # The latter two are of a view, which is no table, and which nobody may write as it is made of two.
        return False
    except psycopg.Error:
        return True
    return True


@pytest.fixture
def tables(sql: psycopg.Connection) -> dict[str, list[str]]:
    return dict(sql.execute(COLUMNS).fetchall())


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def member(role: str, dsn_as: Callable[[str], str]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn_as(role), autocommit=True) as connection:
        yield connection


def test_everything_in_the_schema_is_declared(sql: psycopg.Connection, tables: dict[str, list[str]]) -> None:
    assert set(tables) == set(DECLARED["tables"])
    assert {name for name, *_ in sql.execute(FUNCTIONS)} == set(DECLARED["functions"])
    sequences = sql.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'")
    assert {name for (name,) in sequences} == {"slipway_events_id_seq", "slipway_chains_chain_seq"}


def test_what_a_role_may_do_with_a_table(role: str, member: psycopg.Connection, tables: dict[str, list[str]]) -> None:
    found = {}
    for table, columns in tables.items():
        rights: dict[str, Any] = {
            "select": allowed(member, f"SELECT FROM {table} LIMIT 0"),
            "insert": {column for column in columns if allowed(member, f"INSERT INTO {table} ({column}) VALUES (DEFAULT)")},
            "update": {column for column in columns if allowed(member, f"UPDATE {table} SET {column} = DEFAULT WHERE false")},
        }
        others = {
            "delete": f"DELETE FROM {table} WHERE false",
            "truncate": f"TRUNCATE {table}",
            "alter": f"ALTER TABLE {table} ADD mine integer",
            "drop": f"DROP TABLE {table} CASCADE",
            "comment": f"COMMENT ON TABLE {table} IS 'mine'",
            "owner": f"ALTER TABLE {table} OWNER TO CURRENT_USER",
            "drop view": f"DROP VIEW {table} CASCADE",
            "index": f"CREATE INDEX ON {table} ((1))",
            "cluster": f"CLUSTER {table}",
            "rule": f"CREATE RULE mine AS ON INSERT TO {table} DO INSTEAD NOTHING",
            "trigger": f"CREATE TRIGGER mine AFTER INSERT ON {table} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        }
        rights |= {word: True for word, statement in others.items() if allowed(member, statement)}
        for privilege in ("REFERENCES", "TRIGGER", "SELECT WITH GRANT OPTION"):
            if member.execute("SELECT has_table_privilege(%s, %s)", (table, privilege)).fetchall() != [(False,)]:
                rights[privilege.lower()] = True
        found[table] = {word: right for word, right in rights.items() if right}
        rows = rights["select"] and allowed(member, f"SELECT FROM {table} LIMIT 0 FOR KEY SHARE")
        assert rows == bool(rights["update"]), f"rows of {table} may be locked by who may change them"
        modes = [mode for mode in MODES if allowed(member, f"LOCK TABLE {table} IN {mode} MODE NOWAIT")]
        assert modes == list(MODES[: rights["select"]]), f"{table} may be locked in {modes}"

    declared = {table: roles.get(role, {}) for table, roles in DECLARED["tables"].items()}
    assert found == {
        table: {word: set(right) if isinstance(right, list) else right for word, right in rights.items()}
        for table, rights in declared.items()
    }


def test_which_functions_a_role_may_call(role: str, member: psycopg.Connection, sql: psycopg.Connection) -> None:
    for name, signature, *_ in sql.execute(FUNCTIONS).fetchall():
        # Asked for and not called: a call with NULL is reckoned away before the right to it is looked at.
        may = member.execute("SELECT has_function_privilege(%s::regprocedure, 'EXECUTE')", (signature,)).fetchall()
        assert may == [(role in DECLARED["functions"][name],)], signature
        assert not allowed(member, f"ALTER ROUTINE public.{signature.removeprefix('public.')} RENAME TO mine"), signature
    for sequence in ("slipway_events_id_seq", "slipway_chains_chain_seq"):
        assert not allowed(member, f"SELECT nextval('{sequence}')")


def test_names_in_functions_mean_the_same_whoever_calls_them(sql: psycopg.Connection) -> None:
    for _, signature, definer, language, bound, path in sql.execute(FUNCTIONS).fetchall():
        # A body that was bound when it was made needs no path, and could not become part of a query with one.
        # One that ends transactions can have none, and names what it calls in full.
        ends = signature.startswith("slipway_judge_together(") and not definer
        assert ends or (bound and not definer) or path == "search_path=pg_catalog, public, pg_temp", signature
        assert bound or language == "plpgsql", signature


@pytest.mark.parametrize("statement", DECLARED["refused"])
def test_what_nobody_may_do(member: psycopg.Connection, statement: str) -> None:
    # Outside of a transaction, where some of them have to be.
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        member.execute(statement.encode())


def test_the_pipeline_goes_on_beside_whatever_a_role_does(
    role: str, member: psycopg.Connection, dsn_as: Callable[[str], str], releases: Releases, tables: dict[str, list[str]]
) -> None:
    releases.release("a1", "run-1")
    shadows = [f"CREATE TEMPORARY TABLE {table} (LIKE public.{table})" for table in tables if readable(role, table)]
    shadows += [f"CREATE TEMPORARY TABLE {table} ()" for table in tables if not readable(role, table)]
    locks = [f"LOCK TABLE public.{table} IN ACCESS SHARE MODE" for table in tables if readable(role, table)]
    reads = [f"SELECT count(*) FROM public.{table}" for table in tables if readable(role, table)]
    # Another model's place is theirs to stop, with their name and a reason on record.
    stops = ["SELECT public.slipway_disable('other', 'production', 'mine', 'me')"] * (role != "slipway_router")
    with RegistryClient(dsn_as("slipway_admin")) as client:
        type(releases)(client=client, model="other").release("a1", "run-1")
        pipeline = type(releases)(client=client)
        for number, statement in enumerate([*DECLARED["harmless"], *shadows, *locks, *reads, *stops]):
            with member.transaction(force_rollback=True):
                member.execute(statement.encode())
                assert client.events.add("noticed", model="tiny", environment="production", run_id=f"run-{number}").id, statement  # type: ignore[arg-type]
                (pipeline.recover if number % 2 else pipeline.degrade)("a1")
            assert member.execute("SELECT http_status FROM public.route('tiny')").fetchall() == [(200 if number % 2 else 503,)], statement
            member.execute("RESET ALL")
    assert releases.client.audit.verify().broken is None


def readable(role: str, table: str) -> bool:
    return bool(DECLARED["tables"][table].get(role, {}).get("select"))


def test_a_temporary_table_of_the_pipeline_itself_is_not_where_its_events_go(
    dsn_as: Callable[[str], str], releases: Releases, tables: dict[str, list[str]]
) -> None:
    releases.release("a1", "run-1")
    with psycopg.connect(dsn_as("slipway_admin"), autocommit=True) as pipeline:
        for table in tables:
            pipeline.execute(f"CREATE TEMPORARY TABLE {table} (LIKE public.{table})".encode())
        pipeline.execute("CREATE TEMPORARY TABLE chain_of_mine (LIKE public.slipway_events)")
        pipeline.execute("INSERT INTO public.slipway_events (occurred_at, kind, model_name) VALUES (now(), 'noticed', 'tiny')")
        pipeline.execute("SELECT public.slipway_disable('tiny', 'production', 'mine', 'me')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            pipeline.execute(
                "CREATE TRIGGER mine BEFORE INSERT ON pg_temp.chain_of_mine FOR EACH ROW EXECUTE FUNCTION public.slipway_chain_event()"
            )

    assert releases.kinds() == ["deploying", "ready", "noticed", "disabled"]
    assert releases.statuses() == {"a": "disabled"}
    assert releases.client.audit.verify().broken is None


def test_numbers_that_only_rise(dsn_as: Callable[[str], str]) -> None:
    with RegistryClient(dsn_as("slipway_admin")) as client, psycopg.connect(dsn_as("slipway_admin"), autocommit=True) as pipeline:
        client.locks.take("tiny", "production", "run-1")
        client.locks.take("tiny", "production", "run-1")
        pipeline.execute("INSERT INTO slipway_authenticators (approver) VALUES ('ada')")
        pipeline.execute("UPDATE slipway_authenticators SET last_step = 7")
        for statement in ("UPDATE slipway_locks SET fence = 1", "UPDATE slipway_authenticators SET last_step = 6"):
            with pytest.raises(psycopg.errors.RestrictViolation, match="only ever rises"):
                pipeline.execute(statement.encode())


def test_how_numbers_are_written_is_not_for_who_computes_a_fingerprint(dsn_as: Callable[[str], str]) -> None:
    other = digest({"model": "tiny", "commit": "a" * 40, "share": 0.1})
    document = json.dumps({"model": "tiny", "commit": "a" * 40, "share": 0.123456789})
    insert = "INSERT INTO slipway_candidates (fingerprint, document, model_name, hub_revision) VALUES (%s, %s, 'tiny', repeat('a', 40))"
    with psycopg.connect(dsn_as("slipway_admin"), autocommit=True) as pipeline:
        pipeline.execute("SET extra_float_digits = -15")
        with pytest.raises(psycopg.errors.CheckViolation):
            pipeline.execute(insert, (other, document))


def test_a_turn_of_the_empty_organisation_is_that_of_none(dsn_as: Callable[[str], str], sql: psycopg.Connection) -> None:
    with psycopg.connect(dsn_as("slipway_admin"), autocommit=True) as pipeline:
        pipeline.execute("SELECT slipway_turn('', 'tiny', 'production'), slipway_turn(NULL, 'tiny', 'production')")

    assert sql.execute("SELECT place FROM slipway_chains WHERE chain <> 0").fetchall() == [('[null, "tiny", "production"]',)]


def test_what_was_superseded_cannot_be_said_to_have_been_taken_out(dsn_as: Callable[[str], str], releases: Releases) -> None:
    releases.release("a1", "run-1")
    releases.release("b1", "run-2")
    with psycopg.connect(dsn_as("slipway_admin"), autocommit=True) as pipeline, pytest.raises(psycopg.errors.CheckViolation):
        pipeline.execute("UPDATE model_registry_entries SET disabled_from = 'ready' WHERE deployment_status = 'disabled'")


def test_a_reason_is_bounded(dsn_as: Callable[[str], str], releases: Releases) -> None:
    releases.release("a1", "run-1")
    with psycopg.connect(dsn_as("slipway_operator"), autocommit=True) as operator:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="4000 characters at the most"):
            operator.execute("SELECT slipway_disable('tiny', 'production', repeat('x', 4001), 'me')")
        # and a place that nobody serves is not made by asking for it
        assert operator.execute("SELECT slipway_disable('nobody', 'production', 'mine', 'me')").fetchall() == [(0,)]

    chains = [event.model for event in releases.client.audit.chain()]
    assert set(chains) == {"tiny"}

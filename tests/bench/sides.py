"""This build and one before it, in turns: status changes, lookups and how soon a change is followed, each through PgBouncer too.

The build before depends on its session, so it meets PgBouncer in session mode; this one meets it in transaction mode, as people have it.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from sandbox.postgres import Postgres
from tests.bench.before import ROOT, checkout
from tests.bench.figures import Line, line, percentile
from tests.support.pgbouncer import Pooler

#: One chain for all events, and a client that sends a statement after the other.
BEFORE = "7ebc22d"

MODELS = 5_000
REVISIONS = 10
ENVIRONMENTS = ("staging", "production")
LOOKUPS = 2_000
FOLLOWED = 100
WRITERS = 8
WRITING_SECONDS = 5
ROUNDS = 3

CHANGES_PER_SECOND = 2_000
CHANGES_RATIO = 8.0
#: "No slower": two runs of one build differ by as much.
NO_SLOWER = 1.05
FOLLOWED_SECONDS = 0.1

#: Each model has one ready entry in each environment and others that it superseded.
ENTRIES: LiteralString = """
INSERT INTO model_registry_entries (
    model_name, hub_revision, deployment_environment, deployment_namespace, deployment_endpoint, deployment_status, candidate_fingerprint,
    helm_revision, verified_at, last_health_check_at
)
SELECT
    'model-' || model, encode(sha256(convert_to('commit' || model || '.' || revision, 'UTF8')), 'hex'), environment, 'models',
    'model-' || model || '-' || environment || '.models.svc.cluster.local:8000',
    CASE revision WHEN %(revisions)s THEN 'ready' ELSE 'disabled' END,
    encode(sha256(convert_to(model || '.' || revision, 'UTF8')), 'hex'), revision, now() - make_interval(days => 100 - revision), now()
FROM generate_series(1, %(models)s) AS model, generate_series(1, %(revisions)s) AS revision, unnest(%(environments)s::text[]) AS environment
ORDER BY random()
"""
CANDIDATES: LiteralString = """
INSERT INTO slipway_candidates (fingerprint, document, model_name, hub_revision)
SELECT DISTINCT ON (candidate_fingerprint) candidate_fingerprint, '{}'::jsonb, model_name, hub_revision FROM model_registry_entries
"""


@dataclass(frozen=True, kw_only=True)
class Side:
    """A build with a registry of its own.

    Attributes:
        name: As figures call it.
        tree: Where the build lies.
        dsn: How it reaches its registry.
        direct_dsn: The same past the pooler, where its router listens; empty where there is none, or it needs none.
    """

    name: str
    tree: Path
    dsn: str
    direct_dsn: str = ""

    @contextmanager
    def process(self, *question: object) -> Iterator[subprocess.Popen[str]]:
        """A process that is ready for the question."""
        # -P: its folder is not where the build's modules are looked for.
        command = [sys.executable, "-P", str(ROOT / "tests" / "bench" / "turns.py"), self.dsn, self.direct_dsn]
        environment = {**os.environ, "PYTHONPATH": str(self.tree)}
        with subprocess.Popen(command, cwd=self.tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                _say(process, json.dumps(question))
                yield process
            finally:
                process.kill()


@contextmanager
def sides(postgres: Postgres, folder: Path, *, models: int, revisions: int, environments: tuple[str, ...]) -> Iterator[list[Side]]:
    """Both builds, each by itself and, if PgBouncer is there, through it; `before` comes first."""
    sizes = {"models": models, "revisions": revisions, "environments": list(environments)}
    with checkout(BEFORE) as tree, ExitStack() as stack:
        found = []
        for name, where, mode in (("before", tree, "session"), ("now", ROOT, "transaction")):
            dsn = postgres.create_database(f"{name}_{models}")
            migrate = "import sys; from blocks.registry import RegistryClient\nwith RegistryClient(sys.argv[1]) as client: client.migrate()"
            subprocess.run([sys.executable, "-c", migrate, dsn], cwd=where, env={**os.environ, "PYTHONPATH": str(where)}, check=True)
            fill_entries(dsn, sizes)
            found.append(Side(name=name, tree=where, dsn=dsn))
            if has_pooler():
                files = folder / f"pooler_{name}_{models}"
                files.mkdir(mode=0o755)
                pooler = Pooler(files, dsn, size=4 * WRITERS, mode=mode)
                stack.callback(pooler.close)
                pooler.wait(dsn)
                direct = {"direct_dsn": dsn} if mode == "transaction" else {}
                found.append(Side(name=f"{name}, through PgBouncer", tree=where, dsn=pooler.of(dsn), **direct))
        yield found


def has_pooler() -> bool:
    """Whether PgBouncer is installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None


def fill_entries(dsn: str, sizes: dict[str, Any]) -> None:
    """Entries and candidates, without announcing each."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(ENTRIES, sizes)
        connection.execute(CANDIDATES)
        connection.execute("VACUUM ANALYZE")


def looking_up(postgres: Postgres, folder: Path) -> Iterator[Line]:
    """`RegistryClient.route`, as programs ask it."""
    with sides(postgres, folder, models=MODELS, revisions=REVISIONS, environments=ENVIRONMENTS) as both:
        seconds = _turns(both, "lookups", MODELS, LOOKUPS)
    yield from _compared("client.route()", seconds)


def following(postgres: Postgres, folder: Path) -> Iterator[Line]:
    """From the commit of a change to the first request that the reference router treats accordingly."""
    with sides(postgres, folder, models=500, revisions=2, environments=ENVIRONMENTS) as both:
        seconds = _turns(both, "followed", FOLLOWED)
    for number, what in enumerate(("change to first refused request", "change to first routed request")):
        yield from _compared(what, {name: [each[number] for each in rounds] for name, rounds in seconds.items()}, at_most=FOLLOWED_SECONDS)


def writing(postgres: Postgres, folder: Path) -> Iterator[Line]:
    """Status changes in a second, each acknowledged on the disk: eight processes, each with entries of its own."""
    with sides(postgres, folder, models=500, revisions=2, environments=("staging",)) as both:
        for side in both:
            # As they would go on after a minute of autovacuum: plans that were made for empty tables read all of them at each change.
            _race(side)
            with psycopg.connect(side.direct_dsn or side.dsn, autocommit=True, prepare_threshold=None) as connection:
                connection.execute("ANALYZE")
        rates: dict[str, list[float]] = {side.name: [] for side in both}
        for _ in range(ROUNDS):
            for side in both:
                rates[side.name].append(_race(side))
    for name, measured in rates.items():
        now = name.startswith("now")
        bar = CHANGES_PER_SECOND if now else None
        yield line(f"status changes, {WRITERS} writers, {name}", statistics.median(measured), "per second", at_least=bar)
        if now:
            ratios = [after / then for after, then in zip(measured, rates["before"], strict=True)]
            yield line(f"status changes, {name} to before", statistics.median(ratios), "", at_least=CHANGES_RATIO)


def _race(side: Side) -> float:
    """Changes in a second of all writers."""
    with ExitStack() as stack:
        writers = [stack.enter_context(side.process("changes", number, WRITERS, WRITING_SECONDS)) for number in range(WRITERS)]
        for writer in writers:
            _heard(writer)
        for writer in writers:
            _say(writer, "go")
        return sum(done / seconds for done, seconds in (json.loads(_heard(writer)) for writer in writers))


def _turns(both: list[Side], *question: object) -> dict[str, list[Any]]:
    """The answers of each side, by rounds; the first round warms up."""
    with ExitStack() as stack:
        asked = [(side.name, stack.enter_context(side.process(*question))) for side in both]
        answers: dict[str, list[Any]] = {name: [] for name, _ in asked}
        for _, process in asked:
            _heard(process)
        for number in range(ROUNDS + 1):
            for name, process in asked:
                _say(process, "go")
                answer = json.loads(_heard(process))
                if number:
                    answers[name].append(answer)
    return answers


def _compared(what: str, seconds: dict[str, list[list[float]]], at_most: float | None = None) -> Iterator[Line]:
    for name, rounds in seconds.items():
        now = name.startswith("now")
        yield line(f"{what}, {name}, P50", statistics.median(percentile(each, 50) for each in rounds), "seconds")
        worst = statistics.median(percentile(each, 99) for each in rounds)
        yield line(f"{what}, {name}, P99", worst, "seconds", at_most=at_most if now else None)
        if now:
            then = seconds[name.replace("now", "before", 1)]
            ratios = [percentile(after, 50) / percentile(before, 50) for after, before in zip(rounds, then, strict=True)]
            yield line(f"{what}, P50, {name} to before", statistics.median(ratios), "", at_most=NO_SLOWER)


def _say(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{words}\n")
    process.stdin.flush()


def _heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    words = process.stdout.readline()
    assert words, "the process ended"
    return words

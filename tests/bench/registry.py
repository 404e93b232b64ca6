"""What the registry costs at size: 100,000 entries and 1,000,000 events.

`make bench-registry` prints the figures and writes them as JSON lines to `build/bench-registry.json`. The peer of a route lookup is a
SELECT by primary key on the same connection, asked in turns with it; that of a status change is the build before, in turns with this one.
Figures are medians over rounds. The database syncs to disk.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import LiteralString

import httpx
import psutil
import psycopg
from prometheus_client import generate_latest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from blocks.endpoint import Endpoint
from blocks.registry import Registry, RegistryClient
from flows.health.tasks import check_health
from flows.metrics.exporter import FRESH_SECONDS, PAGE, PAGES, Exporter
from sandbox.postgres import Postgres
from sandbox.router import Router
from sandbox.serving import HttpServer, LoopThread
from tests.bench.before import ROOT, checkout
from tests.support.pgbouncer import Pooler, pooler_before

MODELS = 5_000
REVISIONS = 10
ENVIRONMENTS = ("staging", "production")
EVENTS = 1_000_000
ROUNDS = 7
LOOKUPS = 3_000
WRITERS = 8
WRITING_SECONDS = 5
WRITING_ROUNDS = 3
AUDITS = 2
PROPAGATIONS = 300
ENDPOINTS = 1_000
WATCH_ROUNDS = 5
SCRAPES = 5
RESULTS = Path("build") / "bench-registry.json"

# What the project promises.
LOOKUP_RATIO = 1.5
LOOKUPS_PER_SECOND = 2_000
CHANGES_PER_SECOND = 2_000
CHANGES_RATIO = 8.0
AUDIT_SECONDS = 10.0
AUDIT_GROWTH_MB = 10.0
PROPAGATION_SECONDS = 0.1
WATCH_SECONDS = 10.0
SCRAPE_SECONDS = 2.0
KEPT_SECONDS = 5.0
WATCH_GROWTH_MB = 10.0

#: Each model has one ready entry in each environment and nine that it superseded.
_ENTRIES: LiteralString = """
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
_CANDIDATES: LiteralString = """
INSERT INTO slipway_candidates (fingerprint, document, model_name, hub_revision)
SELECT DISTINCT ON (candidate_fingerprint) candidate_fingerprint, '{}'::jsonb, model_name, hub_revision FROM model_registry_entries
"""
_EVENTS: LiteralString = """
INSERT INTO slipway_events (occurred_at, kind, model_name, environment, candidate_fingerprint, run_id, detail)
SELECT
    e.updated_at, (ARRAY['deploying', 'ready', 'degraded', 'recovered', 'superseded'])[number %% 5 + 1], e.model_name,
    e.deployment_environment, e.candidate_fingerprint, 'run-' || number, '{"reason": "answers are wrong"}'::jsonb
FROM generate_series(1, %(events)s / %(entries)s) AS number, model_registry_entries AS e
"""

_WATCHED: LiteralString = """
INSERT INTO model_registry_entries
    (model_name, hub_revision, deployment_environment, deployment_endpoint, deployment_status, candidate_fingerprint, verified_at)
SELECT
    'model-' || number, 'a', 'production', '127.1.' || number / 250 || '.' || number %% 250 + 1 || ':' || %(port)s, 'ready', 'f', now()
FROM generate_series(1, %(endpoints)s) AS number
"""

Line = dict[str, object]

#: One chain for all events, and a client that sends a statement after the other.
BEFORE = "7ebc22d"


def fill(dsn: str) -> None:
    """Make the entries and events of a large registry, without announcing each entry."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        sizes = {"models": MODELS, "revisions": REVISIONS, "environments": list(ENVIRONMENTS)}
        entries = MODELS * REVISIONS * len(ENVIRONMENTS)
        connection.execute("SET session_replication_role = replica")
        connection.execute(_ENTRIES, sizes)
        connection.execute(_CANDIDATES)
        connection.execute("SET session_replication_role = origin")
        connection.execute(_EVENTS, {"events": EVENTS, "entries": entries})
        connection.execute("VACUUM ANALYZE")
        counted = connection.execute("SELECT (SELECT count(*) FROM model_registry_entries), (SELECT count(*) FROM slipway_events)")
        assert counted.fetchone() == (entries, EVENTS)


def lookups(dsn: str) -> Iterator[Line]:
    """The time of a route lookup beside that of a SELECT by primary key, and how many of the former one connection does in a second."""
    chosen = random.Random(7)
    with psycopg.connect(dsn, autocommit=True) as connection:
        keys = [row[0] for row in connection.execute("SELECT id FROM model_registry_entries ORDER BY random() LIMIT 10000")]
        cursor = connection.cursor()

        def by_key() -> None:
            cursor.execute(
                "SELECT deployment_endpoint, candidate_fingerprint, deployment_status, last_health_check_at, helm_revision, hub_revision "
                "FROM model_registry_entries WHERE id = %s",
                (chosen.choice(keys),),
            )
            cursor.fetchall()

        def by_route() -> None:
            cursor.execute(
                "SELECT endpoint, candidate, status, last_checked_at, http_status, message FROM route(%s)",
                (f"model-{chosen.randint(1, MODELS)}",),
            )
            assert cursor.fetchall()[0][4] == 200

        def by_plain_query() -> None:
            cursor.execute(
                "SELECT deployment_endpoint FROM model_registry_entries WHERE deployment_status = 'ready' AND model_name = %s "
                "AND deployment_environment = %s ORDER BY verified_at DESC NULLS LAST LIMIT 1",
                (f"model-{chosen.randint(1, MODELS)}", "production"),
            )
            assert len(cursor.fetchall()) == 1

        asked: dict[str, Callable[[], None]] = {"primary key": by_key, "route()": by_route, "plain query": by_plain_query}
        seconds: dict[str, list[list[float]]] = {name: [] for name in asked}
        for number in range(ROUNDS + 1):
            one_round: dict[str, list[float]] = {name: [] for name in asked}
            for _ in range(LOOKUPS):
                for name, ask in asked.items():
                    began = time.perf_counter()
                    ask()
                    one_round[name].append(time.perf_counter() - began)
            if number:  # the first one warms up
                for name, measured in one_round.items():
                    seconds[name].append(measured)

        ratios = [percentile(r, 99) / percentile(k, 99) for r, k in zip(seconds["route()"], seconds["primary key"], strict=True)]
        for name in asked:
            yield line(f"lookup by {name}, P50", statistics.median(percentile(r, 50) for r in seconds[name]), "seconds")
            yield line(f"lookup by {name}, P99", statistics.median(percentile(r, 99) for r in seconds[name]), "seconds")
        yield line("P99 of route() / P99 of primary key", statistics.median(ratios), "", at_most=LOOKUP_RATIO)

        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < 3:
            by_route()
            done += 1
        yield line("route() from one connection", done / (time.perf_counter() - began), "per second", at_least=LOOKUPS_PER_SECOND)


def writing(postgres: Postgres) -> Iterator[Line]:
    """Status changes in a second, each acknowledged on the disk: eight processes, in turns with the build before."""
    with checkout(BEFORE) as before, tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        now = _raced(postgres, "now", ROOT)
        # The build before breaks behind a pooler: it depends on its session.
        ways = {"before": (_raced(postgres, "before", before), before), "now": (now, ROOT)}
        if shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
            Path(folder).chmod(0o755)
            pooler = Pooler(Path(folder), postgres.dsn, size=WRITERS)
            stack.callback(pooler.close)
            pooler.wait(postgres.dsn)
            ways["now, through PgBouncer"] = (pooler.of(now), ROOT)
        for way in ("before", "now"):
            # Both go on as they would after a minute of autovacuum: plans that were made for empty tables read all of them at each change.
            _race(*ways[way])
            with psycopg.connect(ways[way][0], autocommit=True) as connection:
                connection.execute("ANALYZE")
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(WRITING_ROUNDS):
            for way, (dsn, tree) in ways.items():
                rates[way].append(_race(dsn, tree))
        for way, measured in rates.items():
            bar = None if way == "before" else CHANGES_PER_SECOND
            yield line(f"status changes, {WRITERS} writers, {way}", statistics.median(measured), "per second", at_least=bar)
            if way != "before":
                ratios = [after / then for after, then in zip(measured, rates["before"], strict=True)]
                yield line(f"status changes, {way} to before", statistics.median(ratios), "", at_least=CHANGES_RATIO)


def _raced(postgres: Postgres, build: str, tree: Path) -> str:
    """A database of that build with a thousand entries of which each writer has its own; its connection string."""
    dsn = postgres.create_database(f"raced_{build}")
    migrate = "import sys; from blocks.registry import RegistryClient\nwith RegistryClient(sys.argv[1]) as client: client.migrate()"
    subprocess.run([sys.executable, "-c", migrate, dsn], cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, check=True)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(_ENTRIES, {"models": 500, "revisions": 2, "environments": ["staging"]})
        connection.execute(_CANDIDATES)
        connection.execute("VACUUM ANALYZE")
    return dsn


def _race(dsn: str, tree: Path) -> float:
    """Changes in a second of all writers."""
    command = [sys.executable, str(ROOT / "tests" / "bench" / "flips.py"), dsn]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, str(number), str(WRITERS), str(WRITING_SECONDS)],
                    cwd=tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
            )
            for number in range(WRITERS)
        ]  # fmt: skip
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        rate = 0.0
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            assert writer.stdout is not None
            done, seconds = writer.stdout.readline().split()
            rate += int(done) / float(seconds)
    return rate


def auditing(dsn: str) -> Iterator[Line]:
    """Recomputing the whole record, and what it costs in memory."""
    with RegistryClient(dsn) as client:
        client.audit.seal()
        seconds, memory = [], []
        for _ in range(AUDITS + 1):
            began = time.perf_counter()
            report = client.audit.verify()
            seconds.append(time.perf_counter() - began)
            memory.append(psutil.Process().memory_info().rss)
            assert (report.broken, report.unsealed) == (None, 0)
    yield line(f"audit verify, {EVENTS:,} events", statistics.median(seconds[1:]), "seconds", at_most=AUDIT_SECONDS)
    yield line("audit verify, memory after it was done again", (memory[-1] - memory[0]) / 1e6, "MB", at_most=AUDIT_GROWTH_MB)


def pooled(postgres: Postgres, folder: Path) -> Iterator[Line]:
    """Lookups through a PgBouncer in transaction mode, beside those on a connection of one's own in turns with them."""
    ask = "SELECT endpoint, candidate, status, last_checked_at, http_status, message FROM {}(%s)"
    chosen = random.Random(7)
    with (
        pooler_before(folder, postgres.dsn) as pooler,
        psycopg.connect(postgres.dsn, autocommit=True) as own,
        psycopg.connect(pooler.of(postgres.dsn), autocommit=True, prepare_threshold=None) as shared,
    ):
        ways = {
            "route(), own connection": (own, ask.format("route")),
            "route_through_pooler(), PgBouncer": (shared, ask.format("route_through_pooler")),
            "route(), PgBouncer, unnamed": (shared, ask.format("route")),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(LOOKUPS):
            for name, (connection, statement) in ways.items():
                began = time.perf_counter()
                connection.execute(statement.encode(), (f"model-{chosen.randint(1, MODELS)}",)).fetchall()
                seconds[name].append(time.perf_counter() - began)
    for name, measured in seconds.items():
        yield line(f"{name}, P50", percentile(measured, 50), "seconds")
        yield line(f"{name}, P99", percentile(measured, 99), "seconds")


async def _answer(request: Request) -> Response:
    return PlainTextResponse("served")


def propagation(postgres: Postgres) -> Iterator[Line]:
    """From the commit that puts a model back to the first request that the reference router sends to it."""
    with LoopThread("bench") as loop, RegistryClient(postgres.dsn) as client, httpx.Client(trust_env=False) as asking:
        upstream = HttpServer(Starlette(routes=[Route("/v1/completions", _answer, methods=["POST"])]), loop)
        upstream.start()
        router = Router(make_conninfo(postgres.dsn, options="-c role=slipway_router"), lambda endpoint: (upstream.url, {}, None), loop)
        began = time.perf_counter()
        router.start()
        yield line("the reference router loads all routes", time.perf_counter() - began, "seconds")

        def status() -> int:
            return asking.post(f"{router.url}/v1/completions", json={"model": "model-1"}).status_code

        on, off = [], []
        for _ in range(PROPAGATIONS):
            client.switch.disable("model-1", "production", reason="bench", actor="bench")
            off.append(until(lambda: status() == 503))
            client.switch.enable("model-1", "production", reason="bench", actor="bench")
            on.append(until(lambda: status() == 200))
        router.close()
        upstream.close()
    yield line("change to first routed request, P50", percentile(on, 50), "seconds")
    yield line("change to first routed request, P99", percentile(on, 99), "seconds", at_most=PROPAGATION_SECONDS)
    yield line("change to first refused request, P99", percentile(off, 99), "seconds")


def watching(postgres: Postgres) -> Iterator[Line]:
    """A round of the monitor over many endpoints, each at an address of its own, and what it costs in memory."""
    registry = Registry(dsn=SecretStr(postgres.create_database("watched")))
    with registry.client() as client:
        client.migrate()
    command = [sys.executable, "-m", "tests.bench.engines"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as engines:
        try:
            assert engines.stdout is not None
            port = int(engines.stdout.readline())
            with psycopg.connect(registry.dsn.get_secret_value()) as connection:
                connection.execute(_WATCHED, {"endpoints": ENDPOINTS, "port": port})
            seconds, memory = [], []
            for _ in range(WATCH_ROUNDS + 1):
                seen = check_health(registry, {"production": Endpoint()})
                assert (seen.checked, seen.failing) == (ENDPOINTS, 0), seen.message
                seconds.append(seen.seconds)
                memory.append(psutil.Process().memory_info().rss)
        finally:
            engines.kill()
    yield line(f"monitor, {ENDPOINTS:,} endpoints", statistics.median(seconds[1:]), "seconds", at_most=WATCH_SECONDS)
    yield line(f"monitor, memory after {WATCH_ROUNDS} more rounds", (memory[-1] - memory[0]) / 1e6, "MB", at_most=WATCH_GROWTH_MB)


def scraping(dsn: str) -> Iterator[Line]:
    """A scrape of the exporter: the dearest one while it reads the whole record, and one when it has."""
    with RegistryClient(dsn) as client:
        number = itertools.count(step=FRESH_SECONDS)
        exporter = Exporter(client, clock=lambda: next(number))
        seconds = []
        for _ in range(EVENTS // (PAGES * PAGE) + SCRAPES + 2):
            began = time.perf_counter()
            text = generate_latest(exporter.metrics)
            seconds.append(time.perf_counter() - began)
    places = MODELS * len(ENVIRONMENTS)
    assert text.count(b"slipway_model_status{") == places
    yield line("exporter, a scrape while it catches up, worst", max(seconds[:-SCRAPES]), "seconds")
    yield line(f"exporter, a scrape of {places:,} places", statistics.median(seconds[-SCRAPES:]), "seconds", at_most=SCRAPE_SECONDS)


def keeping(dsn: str) -> Iterator[Line]:
    """The list of what no node may remove, which each prefetch asks for: all models, all environments, the whole history."""
    with RegistryClient(dsn) as client:
        seconds = []
        for _ in range(SCRAPES + 1):
            began = time.perf_counter()
            kept = client.candidates.kept(["deploying", "ready", "degraded"])
            seconds.append(time.perf_counter() - began)
    assert len(kept) >= MODELS
    yield line(
        f"candidates that are kept, of {MODELS * len(ENVIRONMENTS):,} places",
        statistics.median(seconds[1:]),
        "seconds",
        at_most=KEPT_SECONDS,
    )


def until(condition: Callable[[], bool]) -> float:
    """Seconds until the condition holds."""
    began = time.perf_counter()
    while not condition():
        assert time.perf_counter() - began < 10
    return time.perf_counter() - began


def percentile(values: list[float], percent: float) -> float:
    """The percentile by nearest rank."""
    return sorted(values)[max(0, -(-len(values) * int(percent) // 100) - 1)]


def line(name: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None) -> Line:
    """One figure; `met` says whether it keeps what is promised, if something is."""
    met = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    bar = {"at_most": at_most} if at_most is not None else {"at_least": at_least} if at_least is not None else {}
    return {"name": name, "value": round(value, 7), "unit": unit, **bar, **({"met": met} if bar else {})}


def main() -> int:
    """Measure, print, and write; 1 if a promise is not kept."""
    RESULTS.parent.mkdir(exist_ok=True)
    kept = True
    with tempfile.TemporaryDirectory() as folder, Postgres(Path(folder) / "postgres") as postgres, RESULTS.open("w") as results:
        with RegistryClient(postgres.dsn) as client:
            client.migrate()
        print(f"Filling a registry with {MODELS * REVISIONS * len(ENVIRONMENTS):,} entries and {EVENTS:,} events ...", flush=True)
        fill(postgres.dsn)
        dsn = postgres.dsn
        through = pooled(postgres, Path(folder)) if shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin") else ()
        parts = (
            lookups(dsn),
            through,
            propagation(postgres),
            writing(postgres),
            auditing(dsn),
            keeping(dsn),
            scraping(dsn),
            watching(postgres),
        )
        for figure in itertools.chain.from_iterable(parts):
            results.write(json.dumps(figure) + "\n")
            shown = f"{float(str(figure['value'])):,.6g} {figure['unit']}".strip()
            promise = next((f"{word.replace('_', ' ')} {figure[word]}" for word in ("at_most", "at_least") if word in figure), "")
            print(f"{figure['name']:<45} {shown:<24} {promise}{'' if figure.get('met', True) else '  NOT MET'}", flush=True)
            kept &= bool(figure.get("met", True))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

"""What the registry costs at size: 100,000 entries and 1,000,000 events.

`make bench-registry` prints the figures and writes them as JSON lines to `build/bench-registry.json`. The peer of a route lookup is a
SELECT by primary key on the same connection, asked in turns with it; that of a status change, of a client's lookup and of how soon a
change is followed is the build before, in turns with this one (`sides.py`). Figures are medians over rounds. The database syncs to disk.
`make bench-registry ARGS="writing auditing"` measures parts of it.
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import LiteralString

import psutil
import psycopg
from prometheus_client import generate_latest
from pydantic import SecretStr

from blocks.endpoint import Endpoint
from blocks.registry import Registry, RegistryClient
from flows.health.tasks import check_health
from flows.metrics.exporter import FRESH_SECONDS, PAGE, PAGES, Exporter
from sandbox.postgres import Postgres
from tests.bench.figures import Line, line, percentile
from tests.bench.sides import ENVIRONMENTS, MODELS, REVISIONS, fill_entries, following, has_pooler, looking_up, writing
from tests.support.pgbouncer import pooler_before

EVENTS = 1_000_000
ROUNDS = 7
LOOKUPS = 3_000
AUDITS = 2
ENDPOINTS = 1_000
WATCH_ROUNDS = 5
SCRAPES = 5
RESULTS = Path("build") / "bench-registry.json"

# What the project promises.
LOOKUP_RATIO = 1.5
LOOKUPS_PER_SECOND = 2_000
AUDIT_SECONDS = 10.0
AUDIT_GROWTH_MB = 10.0
WATCH_SECONDS = 10.0
SCRAPE_SECONDS = 2.0
KEPT_SECONDS = 5.0
WATCH_GROWTH_MB = 10.0

_EVENTS: LiteralString = """
INSERT INTO slipway_events (occurred_at, kind, model_name, environment, candidate_fingerprint, run_id, detail)
SELECT
    e.updated_at, (ARRAY['deploying', 'ready', 'degraded', 'recovered', 'superseded'])[%(number)s::integer %% 5 + 1], e.model_name,
    e.deployment_environment, e.candidate_fingerprint, 'run-' || %(number)s::integer, '{"reason": "answers are wrong"}'::jsonb
FROM model_registry_entries AS e
"""

_WATCHED: LiteralString = """
INSERT INTO model_registry_entries
    (model_name, hub_revision, deployment_environment, deployment_endpoint, deployment_status, candidate_fingerprint, verified_at)
SELECT
    'model-' || number, 'a', 'production', '127.1.' || number / 250 || '.' || number %% 250 + 1 || ':' || %(port)s, 'ready', 'f', now()
FROM generate_series(1, %(endpoints)s) AS number
"""


def fill(dsn: str) -> None:
    """Make the entries and events of a large registry, without announcing each entry."""
    fill_entries(dsn, {"models": MODELS, "revisions": REVISIONS, "environments": list(ENVIRONMENTS)})
    entries = MODELS * REVISIONS * len(ENVIRONMENTS)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(1, EVENTS // entries + 1):
            connection.execute(_EVENTS, {"number": number})
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


def pooled(dsn: str, folder: Path) -> Iterator[Line]:
    """Lookups through a PgBouncer in transaction mode, beside those on a connection of one's own in turns with them."""
    ask = "SELECT endpoint, candidate, status, last_checked_at, http_status, message FROM {}(%s)"
    chosen = random.Random(7)
    with (
        pooler_before(folder, dsn) as pooler,
        psycopg.connect(dsn, autocommit=True) as own,
        psycopg.connect(pooler.of(dsn), autocommit=True, prepare_threshold=None) as shared,
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


def main() -> int:
    """Measure the parts that are named, or all; print, and write. 1 if a promise is not kept."""
    RESULTS.parent.mkdir(exist_ok=True)
    missed = []
    with tempfile.TemporaryDirectory() as name, Postgres(Path(name) / "postgres") as postgres, RESULTS.open("w") as results:
        folder = Path(name)
        folder.chmod(0o755)  # PgBouncer reads its files there as somebody else

        @cache
        def large() -> str:
            print(f"Filling a registry with {MODELS * REVISIONS * len(ENVIRONMENTS):,} entries and {EVENTS:,} events ...", flush=True)
            dsn = postgres.create_database("large")
            with RegistryClient(dsn) as client:
                client.migrate()
            fill(dsn)
            return dsn

        # Each makes ready what it asks: any of them can be run alone.
        parts: dict[str, Callable[[], Iterator[Line]]] = {
            "lookups": lambda: itertools.chain(lookups(large()), looking_up(postgres, folder)),
            "pooled": lambda: pooled(large(), folder) if has_pooler() else iter(()),
            "propagation": lambda: following(postgres, folder),
            "writing": lambda: writing(postgres, folder),
            "auditing": lambda: auditing(large()),
            "keeping": lambda: keeping(large()),
            "scraping": lambda: scraping(large()),
            "watching": lambda: watching(postgres),
        }
        chosen = sys.argv[1:] or list(parts)
        if unknown := set(chosen) - set(parts):
            print(f"no such part: {', '.join(sorted(unknown))} (there are {', '.join(parts)})", file=sys.stderr)
            return 2
        for figure in itertools.chain.from_iterable(parts[part]() for part in chosen):
            results.write(json.dumps(figure) + "\n")
            results.flush()
            shown = f"{float(str(figure['value'])):,.6g} {figure['unit']}".strip()
            promise = next((f"{word.replace('_', ' ')} {figure[word]}" for word in ("at_most", "at_least") if word in figure), "")
            print(f"{figure['name']:<70} {shown:<24} {promise}{'' if figure.get('met', True) else '  NOT MET'}", flush=True)
            if not figure.get("met", True):
                missed.append(f"{figure['name']}: {shown}, {promise}")
    for sentence in missed:
        print(f"not met: {sentence}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Metrics for Prometheus, read from the registry.

A scrape costs five statements however many models there are, and no more often than every few seconds. Counters and histograms are made
from the whole record of events: they start where they ended, not at zero, when the exporter is started again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from blocks.errors import PipelineError
from blocks.facts.kinds import EventKind
from blocks.registry import RegistryClient
from blocks.registry.figures import Outcome
from blocks.strict_json import amount
from flows.metrics import gauges

#: Seconds during which scrapes get the same figures: several Prometheus servers cost no more than one.
FRESH_SECONDS = 10.0

#: Events that a scrape reads at the most, in pages of so many; a long record is caught up with over several scrapes.
PAGES = 10
PAGE = 10_000

#: How many ids back events are looked for again: one whose transaction took longer appears after its successors.
OVERLAP = 1_000

#: Seconds; from a cached prefetch to a model that loads for an hour.
PHASE_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600)

#: Seconds; the limits of a rollback (300) and of a release (600) are among them.
RUN_BUCKETS = (15, 30, 60, 120, 180, 240, 300, 420, 600, 900, 1200, 1800, 3600)

#: Kinds of events whose last time is told for each model: what alerts ask for, so that their number stays small.
TOLD = (
    EventKind.READY,
    EventKind.FAILED,
    EventKind.DEGRADED,
    EventKind.ROLLED_BACK,
    EventKind.ROLLBACK_FAILED,
    EventKind.VERIFIED,
)

_OUTCOMES = ("passed", "failed", "inconclusive", "errored")


class Exporter(Collector):
    """Collects the figures of one registry.

    Args:
        registry: An open client.
        clock: Seconds that only go forward; for tests.
        page: Events that one statement reads.
    """

    def __init__(self, registry: RegistryClient, *, clock: Callable[[], float] = time.monotonic, page: int = PAGE) -> None:
        self._registry = registry
        self._clock = clock
        self._page = page
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._gauges: list[Metric] = []
        self._highest = 0
        self._seen: set[int] = set()
        self._last: dict[gauges.EventPlace, float] = {}
        self.metrics = CollectorRegistry()
        # First, as it brings the others up to date.
        self.metrics.register(self)
        self._phases = Histogram(
            "slipway_phase_seconds",
            "How long the phases of releases took that became ready.",
            ["environment", "phase"],
            buckets=PHASE_BUCKETS,
            registry=self.metrics,
        )
        self._releases = self._runs("slipway_release_seconds", "How long releases took that became ready, without waiting for people.")
        self._rollbacks = self._runs("slipway_rollback_seconds", "How long rollbacks took, from the request to the record.")
        self._verdicts = Counter("slipway_verdicts", "Verifications by their verdict.", ["environment", "outcome"], registry=self.metrics)
        self._events = Counter("slipway_events", "Events of the registry by their kind.", ["environment", "kind"], registry=self.metrics)
        self._prefetched = Counter(
            "slipway_prefetch_bytes", "Bytes that releases brought to nodes.", ["environment"], registry=self.metrics
        )

    def _runs(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, ["environment"], buckets=RUN_BUCKETS, registry=self.metrics)

    def catch_up(self) -> None:
        """Read the whole record, before the first scrape: a counter that is seen to grow into its past would be taken for news.

        Raises:
            RegistryUnreachable: The registry did not answer.
        """
        while not self._catch_up():
            pass

    def describe(self) -> list[Metric]:
        """Nothing: what there is shows when it is collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges; counters and histograms are brought up to date on the way."""
        # Each scrape comes in a thread of its own.
        with self._lock:
            if self._read_at is None or self._clock() - self._read_at >= FRESH_SECONDS:
                self._gauges = self._read()
                self._read_at = self._clock()
            yield from self._gauges

    def _read(self) -> list[Metric]:
        try:
            now, statuses = datetime.now(UTC), self._registry.figures.place_statuses()
            found = [*gauges.places(statuses, now), *gauges.approvals(self._registry.approvals.open_requests(), now)]
            found += gauges.locks(self._registry.figures.lock_ages())
            found += gauges.canaries(self._registry.canaries.open(), now)
            for environment in {place.environment for place in statuses}:
                self._begin_at_zero(environment)
            self._catch_up()
        except PipelineError:
            # Nothing else: figures of before would pass for those of now.
            return [gauges.up(0)]
        return [gauges.up(1), *found, *gauges.last_events(self._last)]

    def _begin_at_zero(self, environment: str) -> None:
        """Show an environment's series before anything is counted: Prometheus sees no increase in a series that begins at one."""
        for kind in TOLD:
            self._events.labels(environment, kind)
        for outcome in _OUTCOMES:
            self._verdicts.labels(environment, outcome)
        for family in (self._releases, self._rollbacks, self._prefetched):
            family.labels(environment)

    def _catch_up(self) -> bool:
        """Count events that are new, a number of pages at the most; whether that was all of them."""
        for _ in range(PAGES):
            # More by what is looked for again, or a page of known events would pass for the end.
            page = self._registry.figures.outcomes(max(0, self._highest - OVERLAP), self._page + OVERLAP)
            new = [outcome for outcome in page if outcome.id not in self._seen]
            for outcome in new:
                self._count(outcome)
            self._seen |= {outcome.id for outcome in new}
            self._highest = max([self._highest, *self._seen])
            # What lies further back is not asked for again.
            self._seen = {number for number in self._seen if number > self._highest - OVERLAP}
            if len(page) < self._page + OVERLAP:
                return True
        return False

    def _count(self, outcome: Outcome) -> None:
        # Written by whoever may write events, and read again at every start: what is no figure is left out, and ends nothing.
        environment, detail = outcome.environment or "", outcome.detail
        self._events.labels(environment, outcome.kind).inc()
        if outcome.outcome in _OUTCOMES:
            self._verdicts.labels(environment, outcome.outcome).inc()
        phases = detail.get("phases")
        for name, seconds in phases.items() if isinstance(phases, dict) else ():
            if (taken := amount(seconds)) is not None:
                self._phases.labels(environment, str(name)).observe(taken)
        for family, kind, key in ((self._releases, EventKind.TIMED, "total_seconds"), (self._rollbacks, EventKind.ROLLED_BACK, "seconds")):
            if outcome.kind == kind and (taken := amount(detail.get(key))) is not None:
                family.labels(environment).observe(taken)
        if (fetched := amount(detail.get("prefetch_bytes"))) is not None:
            self._prefetched.labels(environment).inc(fetched)
        if outcome.kind in TOLD and outcome.model is not None:
            place = (outcome.model, environment, outcome.organisation or "", outcome.kind)
            self._last[place] = max(self._last.get(place, 0.0), outcome.occurred_at.timestamp())

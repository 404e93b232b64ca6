"""Metrics for Prometheus, read from the registry.

A scrape costs three statements however many models there are, and no more often than every few seconds. Counters and histograms are made
from the whole record of events: they start where they ended, not at zero, when the exporter is started again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from blocks.errors import PipelineError
from blocks.registry import OpenRequest, RegistryClient
from blocks.registry.figures import Outcome, PlaceStatus

#: Seconds during which scrapes get the same figures: several Prometheus servers cost no more than one.
FRESH_SECONDS = 10.0

#: Events that a scrape reads at the most, in pages of so many; a long record is caught up with over several scrapes.
PAGES = 10
PAGE = 10_000

#: How many ids back events are looked for again: one whose transaction took longer appears after its successors.
OVERLAP = 1_000

#: Seconds; from a cached prefetch to a model that loads for an hour.
PHASE_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600)


class Exporter(Collector):
    """Collects the figures of one registry.

    Args:
        registry: An open client.
        clock: Seconds that only go forward; for tests.
    """

    def __init__(self, registry: RegistryClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._gauges: list[Metric] = []
        self._highest = 0
        self._seen: set[int] = set()
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
        self._verdicts = Counter("slipway_verdicts", "Verifications by their verdict.", ["environment", "outcome"], registry=self.metrics)
        self._events = Counter("slipway_events", "Events of the registry by their kind.", ["environment", "kind"], registry=self.metrics)
        self._prefetched = Counter(
            "slipway_prefetch_bytes", "Bytes that releases brought to nodes.", ["environment"], registry=self.metrics
        )

    def describe(self) -> list[Metric]:
        """Nothing: what there is shows when it is collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges; counters and histograms are brought up to date on the way."""
        with self._lock:
            if self._read_at is None or self._clock() - self._read_at >= FRESH_SECONDS:
                self._gauges = self._read()
                self._read_at = self._clock()
            yield from self._gauges

    def _read(self) -> list[Metric]:
        try:
            gauges = [*_places(self._registry.place_statuses()), *_approvals(self._registry.open_requests())]
            self._catch_up()
        except PipelineError:
            return [_up(0)]
        return [_up(1), *gauges]

    def _catch_up(self) -> None:
        for _ in range(PAGES):
            page = self._registry.outcomes(max(0, self._highest - OVERLAP), PAGE)
            new = [outcome for outcome in page if outcome.id not in self._seen]
            for outcome in new:
                self._count(outcome)
            self._seen |= {outcome.id for outcome in new}
            self._highest = max([self._highest, *self._seen])
            self._seen = {number for number in self._seen if number > self._highest - OVERLAP}
            if len(page) < PAGE:
                return

    def _count(self, outcome: Outcome) -> None:
        environment = outcome.environment or ""
        self._events.labels(environment, outcome.kind).inc()
        if outcome.outcome is not None:
            self._verdicts.labels(environment, outcome.outcome).inc()
        phases = outcome.detail.get("phases")
        for name, seconds in phases.items() if isinstance(phases, dict) else ():
            if isinstance(seconds, (int, float)):
                self._phases.labels(environment, str(name)).observe(seconds)
        fetched = outcome.detail.get("prefetch_bytes")
        if isinstance(fetched, int):
            self._prefetched.labels(environment).inc(fetched)


def _places(places: list[PlaceStatus]) -> list[Metric]:
    status = GaugeMetricFamily(
        "slipway_model_status",
        "1 for the status that a model has in an environment.",
        labels=["model", "environment", "organisation", "status"],
    )
    for place in places:
        status.add_metric([place.model, place.environment, place.organisation or "", place.status], 1)
    now = datetime.now(UTC)
    lag = GaugeMetricFamily(
        "slipway_monitor_lag_seconds", "Time since the oldest last health check of what is ready.", labels=["environment"]
    )
    checked: dict[str, list[float]] = {}
    for place in places:
        if place.status == "ready" and place.last_checked_at is not None:
            checked.setdefault(place.environment, []).append((now - place.last_checked_at).total_seconds())
    for environment, seconds in sorted(checked.items()):
        lag.add_metric([environment], max(0.0, *seconds))
    return [status, lag]


def _approvals(requests: list[OpenRequest]) -> list[Metric]:
    waiting = GaugeMetricFamily("slipway_approvals_waiting", "Requests for approval that wait for a person.", labels=["environment"])
    oldest = GaugeMetricFamily("slipway_approval_oldest_seconds", "How long the longest of them has waited.", labels=["environment"])
    now = datetime.now(UTC)
    ages: dict[str, list[float]] = {}
    for request in requests:
        ages.setdefault(request.environment or "", []).append((now - request.occurred_at).total_seconds())
    for environment, seconds in sorted(ages.items()):
        waiting.add_metric([environment], len(seconds))
        oldest.add_metric([environment], max(0.0, *seconds))
    return [waiting, oldest]


def _up(value: int) -> Metric:
    return GaugeMetricFamily("slipway_exporter_up", "Whether the last look at the registry succeeded.", value=value)

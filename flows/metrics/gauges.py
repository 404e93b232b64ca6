"""What the registry says of this moment, as gauges: statuses, ages, locks. Pure; `flows/metrics/exporter.py` reads and serves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from blocks.registry import Canary, OpenRequest
from blocks.registry.figures import HeldLock, PlaceStatus

#: Labels of everything that there is one of for a model in an environment.
PLACE = ("model", "environment", "organisation")

#: A model in an environment, and a kind of event: the values of PLACE and `kind`.
EventPlace = tuple[str, str, str, str]


def places(statuses: Sequence[PlaceStatus], now: datetime) -> list[Metric]:
    """The status of each model in each environment, and how far behind the monitor is."""
    status = GaugeMetricFamily("slipway_model_status", "1 for the status that a model has in an environment.", labels=[*PLACE, "status"])
    checked: dict[str, list[float]] = {}
    for place in statuses:
        status.add_metric([place.model, place.environment, place.organisation or "", place.status], 1)
        if place.status == "ready" and place.last_checked_at is not None:
            checked.setdefault(place.environment, []).append((now - place.last_checked_at).total_seconds())
    lag = GaugeMetricFamily(
        "slipway_monitor_lag_seconds", "Time since the oldest last health check of what is ready.", labels=["environment"]
    )
    for environment, seconds in sorted(checked.items()):
        lag.add_metric([environment], max(0.0, *seconds))
    return [status, lag]


def approvals(requests: Sequence[OpenRequest], now: datetime) -> list[Metric]:
    """How many requests wait for a person, and for how long."""
    waiting = GaugeMetricFamily("slipway_approvals_waiting", "Requests for approval that wait for a person.", labels=["environment"])
    oldest = GaugeMetricFamily("slipway_approval_oldest_seconds", "How long the longest of them has waited.", labels=["environment"])
    ages: dict[str, list[float]] = {}
    for request in requests:
        ages.setdefault(request.environment or "", []).append((now - request.occurred_at).total_seconds())
    for environment, seconds in sorted(ages.items()):
        waiting.add_metric([environment], len(seconds))
        oldest.add_metric([environment], max(0.0, *seconds))
    return [waiting, oldest]


def locks(held: Sequence[HeldLock]) -> list[Metric]:
    """Which runs change something now, and whether they live."""
    holding = GaugeMetricFamily("slipway_lock_held_seconds", "How long a run has held the lock of a model in an environment.", labels=PLACE)
    silent = GaugeMetricFamily("slipway_lock_silent_seconds", "Time since the last sign of life of the run that holds it.", labels=PLACE)
    for lock in held:
        values = [lock.model, lock.environment, lock.organisation or ""]
        holding.add_metric(values, lock.held_seconds)
        silent.add_metric(values, max(0.0, lock.silent_seconds))
    return [holding, silent]


def canaries(found: Sequence[Canary], now: datetime) -> list[Metric]:
    """Where each canary is: its shares, how long it is in its phase, and whether anybody looks at it."""
    weight = GaugeMetricFamily("slipway_canary_weight", "Percent of a model's requests that its canary answers.", labels=PLACE)
    shadow = GaugeMetricFamily("slipway_canary_shadow", "Percent of the other requests that it is sent a copy of.", labels=PLACE)
    phase = GaugeMetricFamily("slipway_canary_phase_seconds", "How long it has had its phase, step and weight.", labels=[*PLACE, "phase"])
    overdue = GaugeMetricFamily("slipway_canary_overdue_seconds", "How long the end of that is past.", labels=[*PLACE, "phase"])
    unwatched = GaugeMetricFamily("slipway_canary_unwatched_seconds", "How long it gets requests that nobody has judged.", labels=PLACE)
    evidence = GaugeMetricFamily("slipway_canary_harm_evidence", "The judge's e-value of harm; it is harm from `limit` on.", labels=PLACE)
    limit = GaugeMetricFamily("slipway_canary_harm_limit", "From which evidence on the judge says harm.", labels=PLACE)
    for canary in found:
        values = [canary.model, canary.environment, canary.organisation or ""]
        weight.add_metric(values, canary.weight)
        shadow.add_metric(values, canary.shadow)
        phase.add_metric([*values, canary.phase], _seconds(canary.since, now))
        overdue.add_metric([*values, canary.phase], _seconds(canary.until or now, now))
        if canary.phase == "running" and canary.weight + canary.shadow:
            unwatched.add_metric(values, _seconds(max(canary.since, canary.judged_at or canary.since), now))
        # What the judge keeps is its own: the figures of its verdict, where they are there.
        verdict = canary.judge.get("verdict")
        for family, name in ((evidence, "e_value"), (limit, "limit")):
            figure = verdict.get(name) if isinstance(verdict, Mapping) else None
            if isinstance(figure, int | float) and not isinstance(figure, bool):
                family.add_metric(values, figure)
    return [weight, shadow, phase, overdue, unwatched, evidence, limit]


def _seconds(since: datetime, now: datetime) -> float:
    # The database's clock may be ahead of this one.
    return max(0.0, (now - since).total_seconds())


def last_events(seen: Mapping[EventPlace, float]) -> list[Metric]:
    """When something of each kind last happened to a model in an environment, as Unix time."""
    last = GaugeMetricFamily(
        "slipway_last_event_timestamp_seconds", "When an event of that kind last happened, as Unix time.", labels=[*PLACE, "kind"]
    )
    for values, at in sorted(seen.items()):
        last.add_metric(values, at)
    return [last]


def up(value: int) -> Metric:
    """Whether the registry answered."""
    return GaugeMetricFamily("slipway_exporter_up", "Whether the last look at the registry succeeded.", value=value)

"""What a canary looked like over time: for people, in a bounded number of points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from flows.canary.judge.scores import quantile

#: No more points than that: when there are as many, each two of them become one.
MOST_POINTS = 120
#: How long a point lasts at first, in seconds.
_FIRST_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """A stretch of time.

    Attributes:
        until: Its end, in seconds since the judge began to look.
        weight: The canary's share of the traffic at its end, in percent.
        log_e: The logarithm of the evidence for harm at its end.
        requests: Of what serves, and of the canary.
        errors: The same, of those that ended in an error.
        p50: Medians of the end-to-end latency, in seconds; none where nothing was measured.
        p95: The same of its 95th percentiles.
    """

    until: float
    weight: int
    log_e: float
    requests: tuple[int, int]
    errors: tuple[int, int]
    p50: tuple[float | None, float | None]
    p95: tuple[float | None, float | None]


@dataclass(kw_only=True)
class Trace:
    """Points, oldest first, and what will be the next one."""

    points: list[Point] = field(default_factory=list)
    seconds: float = _FIRST_SECONDS
    begun: float = 0.0
    requests: list[int] = field(default_factory=lambda: [0, 0])
    errors: list[int] = field(default_factory=lambda: [0, 0])
    latencies: list[list[float]] = field(default_factory=lambda: [[], []])

    def add(
        self,
        now: float,
        weight: int,
        log_e: float,
        requests: tuple[int, int],
        errors: tuple[int, int],
        latencies: tuple[list[float], list[float]] | None,
        bounds: tuple[float, ...],
    ) -> None:
        """One more window, which ended at `now`."""
        for arm in (0, 1):
            self.requests[arm] += requests[arm]
            self.errors[arm] += errors[arm]
            if latencies is not None:
                known = self.latencies[arm] or [0.0] * len(latencies[arm])
                if len(known) == len(latencies[arm]):
                    self.latencies[arm] = [before + count for before, count in zip(known, latencies[arm], strict=True)]
        if now - self.begun < self.seconds:
            return
        p50, p95 = ((self._quantile(0, bounds, share), self._quantile(1, bounds, share)) for share in (0.5, 0.95))
        point = Point(
            until=now,
            weight=weight,
            log_e=log_e,
            requests=(self.requests[0], self.requests[1]),
            errors=(self.errors[0], self.errors[1]),
            p50=p50,
            p95=p95,
        )
        self.points.append(point)
        self.begun, self.requests, self.errors, self.latencies = now, [0, 0], [0, 0], [[], []]
        if len(self.points) >= MOST_POINTS:
            self.points = [_merged(one, other) for one, other in zip(self.points[::2], self.points[1::2], strict=True)]
            self.seconds *= 2

    def _quantile(self, arm: int, bounds: tuple[float, ...], share: float) -> float | None:
        return quantile(self.latencies[arm], bounds, share) if self.latencies[arm] else None

    def state(self) -> dict[str, Any]:
        """What it knows, as JSON."""
        return asdict(self)

    @classmethod
    def resumed(cls, state: Mapping[str, Any]) -> Trace:
        """The same as the one whose state that is."""
        return cls(
            points=[_point(point) for point in state["points"]],
            seconds=state["seconds"],
            begun=state["begun"],
            requests=list(state["requests"]),
            errors=list(state["errors"]),
            latencies=[list(arm) for arm in state["latencies"]],
        )


def _point(state: Mapping[str, Any]) -> Point:
    parts: dict[str, Any] = {key: tuple(part) if isinstance(part, list | tuple) else part for key, part in state.items()}
    return Point(**parts)


def _merged(one: Point, other: Point) -> Point:
    """Two points as one; percentiles are averaged by the number of requests, since the requests themselves are not kept."""

    def average(name: str, arm: int) -> float | None:
        known = [(getattr(point, name)[arm], point.requests[arm]) for point in (one, other) if getattr(point, name)[arm] is not None]
        count = sum(requests for _, requests in known)
        return sum(value * requests for value, requests in known) / count if count else None

    return Point(
        until=other.until,
        weight=other.weight,
        log_e=other.log_e,
        requests=(one.requests[0] + other.requests[0], one.requests[1] + other.requests[1]),
        errors=(one.errors[0] + other.errors[0], one.errors[1] + other.errors[1]),
        p50=(average("p50", 0), average("p50", 1)),
        p95=(average("p95", 0), average("p95", 1)),
    )

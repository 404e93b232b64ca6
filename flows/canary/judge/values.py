"""Values of one measure, such as times to the first token: the canary's against those of what serves, stratum by stratum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.canary.judge.drift import Drift
from flows.canary.judge.scores import TAIL, Score, Worths, mean_worth, moved, quantile, ratio_of, too_coarse, worths
from flows.canary.judge.window import BLOCK_SECONDS, Histogram

#: So many values of the canary make a block, at least.
_LEAST_OF_A_BLOCK = 8
#: So many values must have been seen before others are ranked among them.
_LEAST_SEEN = 30
#: A block's weight rises with its number of values up to here: then it scatters by what candidates do, not by how few values there are.
_MOST_WEIGHT = 30.0
#: A block's difference of means, in multiples of the mean before, is at most this.
_MOST_DIFFERENCE = 3.0

_SCORES: tuple[Score, ...] = ("middle", "tail", "mean")

#: Counts by bucket and the sum of the values, of what serves and of the canary.
Arms = tuple[list[float], list[float]]


@dataclass(kw_only=True)
class Values:
    """What is known of one measure.

    Attributes:
        bounds: The upper bounds of the buckets, as the first window had them.
        strata: By stratum: of what serves and of the canary, the counts by bucket with the sum of the values at the end.
        pending: The same, of what is not a block yet.
        waited: For how many seconds that was collected.
        drifts: By score.
    """

    bounds: tuple[float, ...]
    strata: dict[str, Arms] = field(default_factory=dict)
    pending: dict[str, Arms] = field(default_factory=dict)
    waited: float = 0.0
    drifts: dict[Score, Drift] = field(default_factory=lambda: {score: Drift() for score in _SCORES})

    def learn(self, window: Mapping[str, tuple[Histogram, Histogram]]) -> None:
        """See what serves, and compare nothing."""
        for name, (current, _) in window.items():
            _add(self._arms(self.strata, name)[0], current)

    def add(self, window: Mapping[str, tuple[Histogram, Histogram]], seconds: float) -> None:
        """What came in so many more seconds."""
        self.waited += seconds
        for name, pair in window.items():
            for known, now in zip(self._arms(self.pending, name), pair, strict=True):
                _add(known, now)
        least = sum(min(sum(current[:-1]), sum(canary[:-1])) for current, canary in self.pending.values())
        if self.waited < BLOCK_SECONDS or least < _LEAST_OF_A_BLOCK:
            return
        self._compare()
        for name, pending in self.pending.items():
            for known, added in zip(self._arms(self.strata, name), pending, strict=True):
                known[:] = [before + now for before, now in zip(known, added, strict=True)]
        self.pending, self.waited = {}, 0.0

    def _compare(self) -> None:
        total, sums = 0.0, dict.fromkeys(_SCORES, 0.0)
        for name, (current, canary) in self.pending.items():
            seen = [before + of_canary for before, of_canary in zip(*self._arms(self.strata, name), strict=True)]
            count, n_current, n_canary = sum(seen[:-1]), sum(current[:-1]), sum(canary[:-1])
            if count < _LEAST_SEEN or not n_current or not n_canary:
                continue
            weight = n_current * n_canary / (n_current + n_canary)
            middle, tail = worths(seen[:-1])
            sums["middle"] += weight * (mean_worth(middle, canary, n_canary) - mean_worth(middle, current, n_current))
            sums["tail"] += weight * (mean_worth(tail, canary, n_canary) - mean_worth(tail, current, n_current))
            if seen[-1] > 0:
                by_mean = (canary[-1] / n_canary - current[-1] / n_current) * count / seen[-1]
                sums["mean"] += weight * max(-_MOST_DIFFERENCE, min(_MOST_DIFFERENCE, by_mean))
            total += weight
        if total:
            for score, drift in self.drifts.items():
                drift.add(sums[score] / total, total / (1 + total / _MOST_WEIGHT))

    def ratio(self, score: Score, shift: float) -> float:
        """How many times as large values are if their mean worth is shifted by so much, all of them by the same ratio."""
        if score == "mean":
            return self._mean_ratio(shift)
        strata = self._ranked(score)
        return ratio_of(shift, lambda ratio: _shift_at(ratio, strata, self.bounds)) if strata else 1.0

    def exceeds(self, score: Score, ratio: float) -> bool:
        """Whether the canary's values are so many times as large, or more; what is below one, as large or less. Cheaper than to tell it."""
        side, shift = math.copysign(1.0, ratio - 1), self.drifts[score].mean
        if score == "mean":
            return side * self._mean_ratio(shift) >= side * ratio
        strata = self._ranked(score)
        return bool(strata) and side * shift >= side * _shift_at(ratio, strata, self.bounds)

    def _ranked(self, score: Score) -> list[tuple[list[float], Worths]]:
        """Of each stratum the counts of what serves, and what each bucket is worth."""
        place = 0 if score == "middle" else 1
        return [
            (current[:-1], worths([one + other for one, other in zip(current[:-1], canary[:-1], strict=True)])[place])
            for current, canary in self.strata.values()
            if any(current[:-1])
        ]

    def _mean_ratio(self, shift: float) -> float:
        # The shift is in multiples of the mean of both; the ratio is to what serves.
        current, canary = self._columns()
        if not sum(current[:-1]) or not current[-1]:
            return 1.0
        both = (current[-1] + canary[-1]) / (sum(current[:-1]) + sum(canary[:-1]))
        return max(0.0, 1 + shift * both * sum(current[:-1]) / current[-1])

    def coarse(self, score: Score, ratio: float) -> bool:
        """Whether buckets are too wide to see values move by this ratio."""
        if score == "mean":
            return False
        counts = self.pooled()[0]
        if score == "tail":
            left = (1 - TAIL) * sum(counts)
            for place in reversed(range(len(counts))):
                counts[place] = min(counts[place], left)
                left -= counts[place]
        return too_coarse(counts, self.bounds, ratio)

    def told(self, score: Score) -> tuple[float | None, float | None]:
        """The median, the 95th percentile or the mean: of what serves, and of the canary."""
        if score == "mean":
            return _mean(self._columns()[0]), _mean(self._columns()[1])
        share = 0.5 if score == "middle" else 0.95
        current, canary = self.pooled()
        return quantile(current, self.bounds, share), quantile(canary, self.bounds, share)

    def pooled(self) -> tuple[list[float], list[float]]:
        """The counts of what serves and of the canary, over all strata."""
        current, canary = self._columns()
        return current[:-1], canary[:-1]

    def _columns(self) -> Arms:
        empty = [0.0] * (len(self.bounds) + 2)
        current, canary = (
            [sum(column) for column in zip(empty, *(arms[arm] for arms in self.strata.values()), strict=True)] for arm in (0, 1)
        )
        return current, canary

    def _arms(self, of: dict[str, Arms], name: str) -> Arms:
        size = len(self.bounds) + 2
        return of.setdefault(name, ([0.0] * size, [0.0] * size))

    def state(self) -> dict[str, Any]:
        """What it knows, as JSON."""
        return {
            "bounds": list(self.bounds),
            "strata": {name: list(arms) for name, arms in self.strata.items()},
            "pending": {name: list(arms) for name, arms in self.pending.items()},
            "waited": self.waited,
            "drifts": {score: drift.state() for score, drift in self.drifts.items()},
        }

    @classmethod
    def resumed(cls, state: Mapping[str, Any]) -> Values:
        """The same as the one whose state that is."""
        return cls(
            bounds=tuple(map(float, state["bounds"])),
            strata={name: _both(arms) for name, arms in state["strata"].items()},
            pending={name: _both(arms) for name, arms in state["pending"].items()},
            waited=float(state["waited"]),
            drifts={score: Drift.resumed(state["drifts"][score]) for score in _SCORES},
        )


def _both(arms: Sequence[Sequence[float]]) -> Arms:
    current, canary = arms
    return list(map(float, current)), list(map(float, canary))


def _shift_at(ratio: float, strata: Sequence[tuple[list[float], Worths]], bounds: Sequence[float]) -> float:
    """By how much the mean worth would be shifted if all values were so many times as large."""
    shifts = (mean_worth(worth, moved(counts, bounds, ratio), 1.0) - mean_worth(worth, counts, 1.0) for counts, worth in strata)
    return sum(shifts) / sum(sum(counts) for counts, _ in strata)


def _mean(arm: Sequence[float]) -> float | None:
    return arm[-1] / sum(arm[:-1]) if any(arm[:-1]) else None


def _add(known: list[float], histogram: Histogram) -> None:
    for place, count in enumerate(histogram.counts):
        known[place] += count
    known[-1] += histogram.total

"""Percentiles by nearest rank, with exact bootstrap confidence intervals.

A bootstrap interval usually comes from drawing many resamples. For one order statistic the distribution over all resamples is known: of
`n` values drawn with replacement, the k-th smallest is at most the j-th smallest of the sample if at least k draws hit one of the j
smallest, which is a binomial with probability j/n (Efron 1979). The interval's ends are quantiles of that distribution: no random draws,
so no seed and no noise of their own, and the same samples always give the same verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Two-sided confidence of the intervals.
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A percentile and its confidence interval, in the unit of the samples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """What is told of a set of samples: how many, the median and the 95th percentile."""

    count: int
    p50: Interval
    p95: Interval


def percentiles(values: Sequence[float]) -> Percentiles | None:
    """Both percentiles with their intervals; none of no values."""
    if not values:
        return None
    ordered = sorted(values)
    return Percentiles(count=len(values), p50=_interval(ordered, 50), p95=_interval(ordered, 95))


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `percent` per cent of all values do not exceed.

    Raises:
        ValueError: There are no values, or `percent` is not in (0, 100].
    """
    if not values or not 0 < percent <= 100:
        raise ValueError("a percentile needs values and a percentage in (0, 100]")
    return sorted(values)[_rank(len(values), percent) - 1]


def _rank(count: int, percent: float) -> int:
    return math.ceil(percent / 100 * count)


def _interval(ordered: Sequence[float], percent: float) -> Interval:
    count, rank = len(ordered), _rank(len(ordered), percent)
    tail = (1 - CONFIDENCE) / 2
    low, high = _quantile(count, rank, tail), _quantile(count, rank, 1 - tail)
    return Interval(value=ordered[rank - 1], low=ordered[low - 1], high=ordered[high - 1])


def _quantile(count: int, rank: int, probability: float) -> int:
    """The smallest place in the ordered sample that the resampled order statistic does not exceed with that probability."""
    # The probability grows with the place, so it can be bisected.
    below, reaches = 0, count
    while reaches - below > 1:
        middle = (below + reaches) // 2
        if at_least(rank, count, middle / count) >= probability:
            reaches = middle
        else:
            below = middle
    return reaches


def at_least(successes: int, trials: int, chance: float) -> float:
    """The probability of so many successes or more of a binomial, to about 1e-12.

    Terms further than twelve standard deviations from the mean are left out: together they are below 1e-30.
    """
    if successes <= 0 or chance >= 1:
        return 1.0
    if chance <= 0:
        return 0.0
    reach = 12 * math.sqrt(trials * chance * (1 - chance)) + 12
    first = max(successes, math.floor(trials * chance - reach))
    last = min(trials, math.ceil(trials * chance + reach))
    # Then `successes` lies more than twelve standard deviations below the mean.
    if first > successes:
        return 1.0
    # In logarithms, as the coefficients of 10,000 samples are beyond any float.
    log_chance, log_rest, log_all = math.log(chance), math.log1p(-chance), math.lgamma(trials + 1)
    terms = (
        math.exp(log_all - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * log_chance + (trials - k) * log_rest)
        for k in range(first, last + 1)
    )
    return min(1.0, math.fsum(terms))

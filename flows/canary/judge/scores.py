"""What a value of a histogram is worth in a comparison, and what a comparison of worths says of the values.

A value's worth is its rank among the values seen before, 0 to 1 (*middle*), or how far it lies within the upper tenth of them (*tail*), so
that neither heavy tails nor a unit matters; or the value itself in multiples of the mean (*mean*), where buckets are too wide for ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import mul
from typing import Literal

Score = Literal["middle", "tail", "mean"]

#: The share of values that the tail begins above.
TAIL = 0.9
#: Ratios are told up to this one.
LARGEST_RATIO = 8.0

Worths = Sequence[float]


def worths(seen: Sequence[float]) -> tuple[list[float], list[float]]:
    """The middle and the tail worth of each bucket, by the counts of what was seen before."""
    total = sum(seen)
    middle = [(after - count / 2) / total for after, count in zip(accumulate(seen), seen, strict=True)]
    return middle, [(rank - TAIL) / (1 - TAIL) if rank > TAIL else 0.0 for rank in middle]


def mean_worth(worth: Worths, counts: Sequence[float], count: float) -> float:
    """The mean worth of values that were counted in buckets."""
    return math.fsum(map(mul, worth, counts)) / count


def moved(counts: Sequence[float], bounds: Sequence[float], ratio: float) -> list[float]:
    """The counts as they would be if each value were so many times as large; within a bucket, values lie evenly on a logarithmic scale."""
    edges = [math.log(edge) for edge in _edges(bounds)]
    step, last = math.log(ratio), len(counts) - 1
    found = [0.0] * len(counts)
    for place, count in enumerate(counts):
        if not count:
            continue
        low, high = edges[place] + step, edges[place + 1] + step
        into = 0
        while into < last and edges[into + 1] <= low:
            into += 1
        while True:
            end = math.inf if into == last else edges[into + 1]
            begin = -math.inf if into == 0 else edges[into]
            found[into] += count * max(0.0, min(high, end) - max(low, begin)) / (high - low)
            if end >= high:
                break
            into += 1
    return found


def quantile(counts: Sequence[float], bounds: Sequence[float], share: float) -> float | None:
    """The value that this share of the counted ones does not exceed; none where nothing was counted."""
    total = sum(counts)
    if not total:
        return None
    edges, before = _edges(bounds), 0.0
    for place, count in enumerate(counts):
        if count and before + count >= share * total:
            within = (share * total - before) / count
            return edges[place] * math.pow(edges[place + 1] / edges[place], within)
        before += count
    return edges[-1]


def ratio_of(shift: float, shift_at: Callable[[float], float]) -> float:
    """The ratio of values at which the mean worth is shifted by so much; `shift_at` rises with the ratio."""
    low, high = -math.log(LARGEST_RATIO), math.log(LARGEST_RATIO)
    for _ in range(24):
        middle = (low + high) / 2
        if shift_at(math.exp(middle)) < shift:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def too_coarse(counts: Sequence[float], bounds: Sequence[float], ratio: float) -> bool:
    """Whether most values lie in one bucket that is wider than the ratio: within it, nobody sees them move."""
    total, edges = sum(counts), _edges(bounds)
    return any(count > total / 2 and edges[place + 1] / edges[place] > ratio for place, count in enumerate(counts))


def _edges(bounds: Sequence[float]) -> list[float]:
    # Neither zero nor infinity has a logarithm; nothing is known of how far the outer buckets reach.
    first, last = bounds[0], bounds[-1]
    return [first / 2, *bounds, last * 2]

"""Whether the canary's values are shifted against those of what serves at the same time: an asymptotic confidence sequence.

Each block of time gives one difference of mean worths. Differences of neighbouring blocks are not independent (a queue that is full stays
so for a while), so that their sum scatters more than the blocks by themselves show. What it scatters by is learnt from the canary: the
covariances of blocks up to a minute apart, added up while neighbouring pairs are positive and falling (Geyer, "Practical Markov chain Monte
Carlo", 1992), about the mean, so that harm does not hide itself. With it the sum is judged by a mixture of normals (Robbins 1970),
which stays valid however often somebody looks once there are enough blocks (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform
central limit theory and asymptotic confidence sequences", 2024). Until then scatter is assumed to be larger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: How many blocks apart blocks may still be related.
LAGS = 12
#: Before so many blocks nothing is said.
LEAST_BLOCKS = 12
#: What is assumed beforehand: so many blocks that scatter by so many times what independent ones do.
_ASSUMED_BLOCKS, _ASSUMED_INFLATION = 48, 7.0
#: For how many blocks the mixture is made: where its bound is narrowest.
_RHO = 4.0


@dataclass(kw_only=True)
class Drift:
    """The sums of differences over blocks, by which their mean and what it scatters by are told; their number does not grow.

    Attributes:
        blocks: How many there were.
        weight: The sum of their weights.
        shift: The sum of weighted differences.
        products: For each lag, the sums of the products of the weighted differences of two blocks, of a difference and the other's weight,
            of the weight and the other's difference, and of the weights.
        latest: The weighted differences and weights of the latest blocks, latest first.
    """

    blocks: int = 0
    weight: float = 0.0
    shift: float = 0.0
    products: list[list[float]] = field(default_factory=lambda: [[0.0] * (LAGS + 1) for _ in range(4)])
    latest: list[list[float]] = field(default_factory=lambda: [[], []])

    def add(self, difference: float, weight: float) -> None:
        """One more block."""
        value = difference * weight
        values, weights = self.latest
        values.insert(0, value)
        weights.insert(0, weight)
        del values[LAGS + 1 :], weights[LAGS + 1 :]
        both, with_weight, with_value, of_weights = self.products
        for lag, (other, beside) in enumerate(zip(values, weights, strict=True)):
            both[lag] += value * other
            with_weight[lag] += value * beside
            with_value[lag] += weight * other
            of_weights[lag] += weight * beside
        self.blocks += 1
        self.weight += weight
        self.shift += value

    @property
    def mean(self) -> float:
        """The mean difference so far."""
        return self.shift / self.weight if self.weight else 0.0

    def scatter(self) -> float:
        """The variance that each block adds to the sum of the weighted differences."""
        mean = self.mean
        lagged: list[float] = [(a - mean * (b + c) + mean * mean * d) / self.blocks for a, b, c, d in zip(*self.products, strict=True)]
        alone, total, least = float(lagged[0]), -float(lagged[0]), math.inf
        for lag in range(0, LAGS, 2):
            pair = lagged[lag] + lagged[lag + 1]
            if pair <= 0:
                break
            least = min(least, pair)
            total += 2 * least
        seen = max(alone, total)
        return (self.blocks * seen + _ASSUMED_BLOCKS * _ASSUMED_INFLATION * alone) / (self.blocks + _ASSUMED_BLOCKS)

    def log_e(self, side: float = 1.0) -> float:
        """The logarithm of the e-value against "no shift upwards" (`side` 1), or downwards (-1); 0 while there are too few blocks."""
        if self.blocks < LEAST_BLOCKS:
            return 0.0
        scatter = self.scatter()
        if scatter <= 0:
            return 0.0
        return _log_e(side * self.shift / math.sqrt(scatter), self.blocks)

    def radius(self, alpha: float) -> float:
        """How far the mean difference may be from the true one, to one side, at `alpha`, whenever somebody looks; infinite at first."""
        if self.blocks < LEAST_BLOCKS:
            return math.inf
        scatter, limit = self.scatter(), math.log(1 / alpha)
        low, high = 0.0, 1.0
        while _log_e(high, self.blocks) < limit:
            high *= 2
        for _ in range(40):
            middle = (low + high) / 2
            if _log_e(middle, self.blocks) < limit:
                low = middle
            else:
                high = middle
        return high * math.sqrt(scatter) / self.weight

    def state(self) -> dict[str, Any]:
        """What it knows, as JSON."""
        return {"blocks": self.blocks, "weight": self.weight, "shift": self.shift, "products": self.products, "latest": self.latest}

    @classmethod
    def resumed(cls, state: Mapping[str, Any]) -> Drift:
        """The same as the one whose state that is."""
        products: Sequence[Sequence[float]] = state["products"]
        latest: Sequence[Sequence[float]] = state["latest"]
        return cls(
            blocks=int(state["blocks"]),
            weight=float(state["weight"]),
            shift=float(state["shift"]),
            products=[list(map(float, row)) for row in products],
            latest=[list(map(float, row)) for row in latest],
        )


def _log_e(deviations: float, blocks: int) -> float:
    """Of a sum of so many blocks, in standard deviations of one: the mixture over half a normal distribution of shifts upwards."""
    spread = blocks + _RHO
    return (
        math.log(2.0)
        + (math.log(_RHO) - math.log(spread)) / 2
        + deviations * deviations / (2 * spread)
        + _log_normal(deviations / math.sqrt(spread))
    )


def _log_normal(deviations: float) -> float:
    """The logarithm of the normal distribution's share below."""
    if deviations > -8:
        return math.log(0.5 * math.erfc(-deviations / math.sqrt(2)))
    # So far out, by its asymptote (Abramowitz & Stegun 7.1.23).
    return -deviations * deviations / 2 - math.log(-deviations * math.sqrt(2 * math.pi))

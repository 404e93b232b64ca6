"""Simulated traffic of two candidates side by side, as windows of five seconds.

What is simulated: requests arrive by a Poisson process with a daily swing and bursts; prompts are short, middling or long, and longer ones
take longer. Latencies are log-normal with a heavy tail. A burst slows both. Besides, each candidate is slow and fast by itself for a while,
since its queue is its own: a first-order autoregression. An honest canary differs in nothing but such luck.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flows.canary.judge import Counts, Window
from flows.canary.judge.window import Histogram, Measure, Pair

WINDOW_SECONDS = 5.0
STRATA = ("short", "middling", "long")
_MIX = (0.5, 0.35, 0.15)
#: Buckets a quarter wider each than the one before, as the reference router has them.
BOUNDS: dict[Measure, tuple[float, ...]] = {
    "ttft": tuple(0.01 * 1.25**step for step in range(40)),
    "itl": tuple(0.005 * 1.25**step for step in range(24)),
    "e2e": tuple(0.1 * 1.25**step for step in range(32)),
    "output": tuple(float(2**step) for step in range(13)),
}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What comes in, and how the canary differs.

    Attributes:
        rate: Requests a second, in the mean.
        weight: The canary's share, in percent.
        seconds: For how long.
        base_errors: The share of requests that end in an error anyway.
        more_errors: How many more of the canary do.
        slower: The canary's latencies as a multiple.
        slower_tail: The same, of its slowest tenth alone.
        own: The standard deviation of a candidate's own slowness, as a logarithm.
        own_seconds: How long it lasts.
    """

    rate: float = 10.0
    weight: int = 25
    seconds: float = 3600.0
    base_errors: float = 0.002
    more_errors: float = 0.0
    slower: float = 1.0
    slower_tail: float = 1.0
    own: float = 0.1
    own_seconds: float = 15.0


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What one candidate did: requests in the order of their windows, and of each when, how long its prompt was, and how it went."""

    window: npt.NDArray[np.int64]
    stratum: npt.NDArray[np.int64]
    ttft: Floats
    itl: Floats
    e2e: Floats
    output: Floats
    outcome: npt.NDArray[np.int64]  # 0 ok, 1 error, 2 refused, 3 aborted
    cut: npt.NDArray[np.bool_]


def drawn(traffic: Traffic, rng: np.random.Generator) -> tuple[int, Arm, Arm]:
    """How many windows there are, and what serves and the canary did."""
    windows = int(traffic.seconds / WINDOW_SECONDS)
    times, phase = np.arange(windows) * WINDOW_SECONDS, rng.uniform(0, 2 * np.pi)
    # A day's swing as steep as it is at its steepest.
    swing = np.sin(2 * np.pi * times / 86_400 + phase)
    burst = np.zeros(windows)
    at = int(rng.exponential(60))
    while at < windows:
        length = 1 + int(rng.exponential(4))
        burst[at : at + length] = rng.uniform(0.5, 3)
        at += length + int(rng.exponential(60))
    arrivals = rng.poisson(traffic.rate * (1 + 0.5 * swing) * (1 + burst) * WINDOW_SECONDS)
    of_canary = rng.binomial(arrivals, traffic.weight / 100)
    common = 0.25 * np.log1p(burst) + 0.15 * swing
    arms = [_arm(traffic, rng, counts, common, burst, canary=canary) for canary, counts in enumerate((arrivals - of_canary, of_canary))]
    return windows, arms[0], arms[1]


def _arm(traffic: Traffic, rng: np.random.Generator, counts: npt.NDArray[np.int64], common: Floats, burst: Floats, *, canary: int) -> Arm:
    windows = len(counts)
    window = np.repeat(np.arange(windows), counts)
    total = len(window)
    slow = (common + _own(traffic, rng, windows))[window]
    stratum = rng.choice(len(STRATA), total, p=_MIX)
    heavy = rng.random(total) < 0.03
    scatter = rng.normal(0, 0.4, total) + np.where(heavy, rng.exponential(0.8, total), 0.0)
    ratio = np.full(total, traffic.slower if canary else 1.0)
    if canary and traffic.slower_tail != 1.0:
        ratio[scatter > 0.55] *= traffic.slower_tail
    output = np.minimum(2048, np.maximum(1, np.round(np.exp(rng.normal(4.6, 1.0, total)))))
    ttft = 0.15 * np.exp(scatter + slow + 0.6 * stratum) * ratio
    itl = 0.02 * np.exp(rng.normal(0, 0.15, total) + 0.7 * slow + 0.3 * scatter) * ratio
    errors = traffic.base_errors * (1 + 4 * burst[window]) + (traffic.more_errors if canary else 0.0)
    refused, aborted = 0.0005 + 0.01 * (burst[window] > 2), np.full(total, 0.01)
    draw = rng.random(total)
    outcome = np.select([draw < errors, draw < errors + refused, draw < errors + refused + aborted], [1, 2, 3], 0)
    return Arm(
        window=window,
        stratum=stratum,
        ttft=ttft,
        itl=itl,
        e2e=ttft + itl * output,
        output=output,
        outcome=outcome,
        cut=(output >= 512) | (rng.random(total) < 0.03),
    )


def _own(traffic: Traffic, rng: np.random.Generator, windows: int) -> Floats:
    keeps = math.exp(-WINDOW_SECONDS / traffic.own_seconds)
    steps = rng.normal(0, traffic.own * math.sqrt(1 - keeps * keeps), windows)
    found, state = np.empty(windows), rng.normal(0, traffic.own) if traffic.own else 0.0
    for place in range(windows):
        state = keeps * state + steps[place]
        found[place] = state
    return found


def windows_of(traffic: Traffic, rng: np.random.Generator) -> Iterator[Window]:
    """The same as what a judge is shown."""
    count, current, canary = drawn(traffic, rng)
    yield from shown(traffic, count, current, canary)


def shown(traffic: Traffic, count: int, current: Arm, canary: Arm) -> Iterator[Window]:
    """Windows of what was drawn."""
    arms = [_counts(arm, count) for arm in (current, canary)]
    for place in range(count):
        strata = {name: Pair(current=arms[0][place][index], canary=arms[1][place][index]) for index, name in enumerate(STRATA)}
        yield Window(seconds=WINDOW_SECONDS, weight=traffic.weight, strata=strata, bounds=BOUNDS)


def _counts(arm: Arm, count: int) -> list[list[Counts]]:
    cells, ok = count * len(STRATA), arm.outcome == 0
    cell = arm.window * len(STRATA) + arm.stratum
    by_outcome = [np.bincount(cell[arm.outcome == kind], minlength=cells).tolist() for kind in range(4)]
    cut = np.bincount(cell[ok & arm.cut], minlength=cells).tolist()
    histograms: dict[Measure, tuple[list[list[int]], list[float]]] = {}
    for name, values in (("ttft", arm.ttft), ("itl", arm.itl), ("e2e", arm.e2e), ("output", arm.output)):
        buckets = len(BOUNDS[name]) + 1  # type: ignore[index]
        places = np.searchsorted(BOUNDS[name], values[ok])  # type: ignore[index]
        counted = np.bincount(cell[ok] * buckets + places, minlength=cells * buckets).reshape(cells, buckets).tolist()
        sums = np.bincount(cell[ok], weights=values[ok], minlength=cells).tolist()
        histograms[name] = (counted, sums)  # type: ignore[index]
    found = [
        Counts(
            requests={"ok": by_outcome[0][at], "error": by_outcome[1][at], "refused": by_outcome[2][at], "aborted": by_outcome[3][at]},
            finish={"stop": by_outcome[0][at] - cut[at], "length": cut[at]},
            histograms={name: Histogram(counts=tuple(counted[at]), total=sums[at]) for name, (counted, sums) in histograms.items()},
        )
        for at in range(cells)
    ]
    return [found[at : at + len(STRATA)] for at in range(0, cells, len(STRATA))]

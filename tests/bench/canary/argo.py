"""Argo Rollouts' analysis, as it is documented, and a fixed-sample test that is looked at as often as the judge.

An AnalysisRun takes a measurement every `interval`, `count` of them, and has failed when more than `failureLimit` did not meet the
condition (argoproj/argo-rollouts: docs/features/analysis.md; `assessMetricStatus` in analysis/analysis.go compares with `>`). Here it is
`interval: 1m, count: 5, failureLimit: 3`, one run after the other as steps follow each other, each measurement over the minute before it;
the first one waits for a minute, as there is nothing to measure before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tests.bench.canary.traffic import WINDOW_SECONDS, Arm

INTERVAL_SECONDS, COUNT, FAILURE_LIMIT = 60.0, 5, 3
_WINDOWS = int(INTERVAL_SECONDS / WINDOW_SECONDS)

Floats = npt.NDArray[np.float64]


def failed_at(failures: Sequence[bool]) -> float:
    """After how many seconds an analysis fails whose measurements fail like that; infinity if none does."""
    failed = 0
    for number, failure in enumerate(failures):
        if number % COUNT == 0:
            failed = 0
        failed += failure
        if failed > FAILURE_LIMIT:
            return (number + 1) * INTERVAL_SECONDS
    return math.inf


def error_rates(arm: Arm, windows: int) -> Floats:
    """The share of errors of each minute; none where there was no request."""
    minute, minutes = arm.window // _WINDOWS, windows // _WINDOWS
    count = np.bincount(minute, minlength=minutes)[:minutes]
    with np.errstate(invalid="ignore"):
        return np.bincount(minute[arm.outcome == 1], minlength=minutes)[:minutes] / count


def p95s(arm: Arm, windows: int) -> Floats:
    """The 95th percentile of each minute's end-to-end latency: exact, where Prometheus would interpolate."""
    ok = arm.outcome == 0
    minute, values = (arm.window // _WINDOWS)[ok], arm.e2e[ok]
    return np.array([np.quantile(values[minute == one], 0.95) if (minute == one).any() else np.nan for one in range(windows // _WINDOWS)])


def fixed_sample_at(current: Arm, canary: Arm, windows: int) -> float:
    """When a test made for one look first says "worse" at 5 %, if it is looked at after each window: proportions, or ranks of latencies."""
    z = 1.6449
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = _two_proportions(
            *(_cumulated(arm.window[mask], windows) for arm in (current, canary) for mask in (arm.outcome == 1, arm.outcome >= 0))
        )
        ranks = _mann_whitney(current, canary, windows)
        hit = np.nonzero((errors > z) | (ranks > z))[0]
    # A test of two shares wants some requests at least.
    hit = hit[hit >= _WINDOWS]
    return (hit[0] + 1) * WINDOW_SECONDS if len(hit) else math.inf


def _cumulated(window: npt.NDArray[np.int64], windows: int) -> Floats:
    return np.cumsum(np.bincount(window, minlength=windows)).astype(np.float64)


def _two_proportions(bad: Floats, count: Floats, bad_canary: Floats, count_canary: Floats) -> Floats:
    pooled = (bad + bad_canary) / (count + count_canary)
    return (bad_canary / count_canary - bad / count) / np.sqrt(pooled * (1 - pooled) * (1 / count + 1 / count_canary))


def _mann_whitney(current: Arm, canary: Arm, windows: int) -> Floats:
    edges = np.geomspace(0.05, 200.0, 120)
    both = []
    for arm in (current, canary):
        ok = arm.outcome == 0
        cell = arm.window[ok] * (len(edges) + 1) + np.searchsorted(edges, arm.e2e[ok])
        both.append(np.cumsum(np.bincount(cell, minlength=windows * (len(edges) + 1)).reshape(windows, -1), axis=0).astype(np.float64))
    below = np.cumsum(both[0], axis=1) - both[0] / 2
    n, m = both[0].sum(axis=1), both[1].sum(axis=1)
    u = (below * both[1]).sum(axis=1)
    return (u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12)

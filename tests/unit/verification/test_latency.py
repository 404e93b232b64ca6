"""Percentiles are right, their intervals are those of the bootstrap, and a limit is judged by the whole interval."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.facts import Load, Sample
from flows.spec import LatencyPolicy
from flows.verification.latency import check_latency, check_level, level, samples_wanted
from flows.verification.percentiles import at_least, percentile, percentiles

POLICY = LatencyPolicy(p50_seconds=0.1, p95_seconds=0.3, samples=20, max_samples=160, budget_seconds=10)


def load(seconds: Sequence[float], *bad: Sample, took: float = 1.0, concurrency: int = 1) -> Load:
    good = [Sample(status=200, seconds=value, first_seconds=value / 2, gaps_seconds=(value / 16,) * 7, tokens=8) for value in seconds]
    return Load(samples=(*good, *bad), seconds=took, concurrency=concurrency)


def outcomes(*seconds: float, **changes: Any) -> dict[str, str]:
    measured = check_latency(level([load(seconds)]), LatencyPolicy(**{**vars(POLICY), **changes}))
    return {measurement.name: measurement.outcome for measurement in measured}


def test_a_limit_is_judged_by_the_whole_interval() -> None:
    passed, failed, unclear = "passed", "failed", "inconclusive"
    fast, slow, slowest = 0.05, 0.2, 0.9

    assert outcomes(*[fast] * 20) == {"latency-p50": passed, "latency-p95": passed}
    assert outcomes(*[slow] * 20) == {"latency-p50": failed, "latency-p95": passed}
    assert outcomes(*[slowest] * 20) == {"latency-p50": failed, "latency-p95": failed}
    # one bad sample of twenty may be the 95th percentile, or not
    assert outcomes(*[fast] * 19, slowest) == {"latency-p50": passed, "latency-p95": unclear}
    assert outcomes(*[fast] * 10, *[slow] * 10) == {"latency-p50": unclear, "latency-p95": passed}
    # of two hundred it is not
    assert outcomes(*[fast] * 199, slowest) == {"latency-p50": passed, "latency-p95": passed}
    # a limit itself is not below the limit
    assert outcomes(*[0.1] * 20)["latency-p50"] == failed


def test_too_few_answers_tell_nothing_and_bad_ones_say_no() -> None:
    bad = Sample(status=500, seconds=0.1, error="boom")

    assert outcomes(*[0.05] * 19) == {"latency": "inconclusive"}
    (measured,) = check_latency(level([load([0.05] * 30, bad)]), POLICY)
    assert (measured.outcome, measured.seen) == ("failed", "30 good, 1 bad; HTTP 500: boom")
    assert check_level(level([load([0.05] * 30, bad)]), 20).outcome == "failed"
    assert check_level(level([load([0.05] * 19)]), 20).outcome == "inconclusive"
    assert check_level(level([load([5.0] * 20)]), 20).outcome == "passed"


def test_more_samples_are_taken_while_it_cannot_be_told() -> None:
    unclear, clear = [0.05] * 10 + [0.2] * 10, [0.05] * 20

    assert samples_wanted([], POLICY) == 20
    assert samples_wanted([load(clear)], POLICY) == 0
    assert samples_wanted([load(unclear)], POLICY) == 20
    assert samples_wanted([load(unclear), load(unclear)], POLICY) == 40
    assert samples_wanted([load(unclear)] * 5, POLICY) == 60, "no more than max_samples"
    assert samples_wanted([load(unclear)] * 8, POLICY) == 0, "the samples are used up"
    assert samples_wanted([load(unclear, took=11)], POLICY) == 0, "the time is used up"
    assert samples_wanted([load(unclear, Sample(status=None, seconds=1, error="no answer"))], POLICY) == 0


def test_times_to_first_token_and_between_tokens_are_told_apart() -> None:
    measured = level([load([0.16] * 10, took=0.4), load([0.32] * 10, took=0.6)])

    assert measured.end_to_end is not None
    assert measured.first_token is not None
    assert measured.inter_token is not None
    assert (measured.end_to_end.p50.value, measured.end_to_end.p95.value) == (0.16, 0.32)
    assert (measured.first_token.p50.value, measured.inter_token.count) == (0.08, 140)
    assert measured.tokens_per_second == 160
    assert level([load([])]).end_to_end is None


@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=200), percent=st.floats(0.1, 100))
def test_a_percentile_is_a_value_that_enough_do_not_exceed(values: list[float], percent: float) -> None:
    result = percentile(values, percent)

    assert result in values
    assert sum(value <= result for value in values) >= percent / 100 * len(values) - 1e-9
    assert sum(value < result for value in values) < percent / 100 * len(values) + 1e-9


def test_the_median_of_an_odd_count_is_the_middle() -> None:
    assert percentile([5.0, 1.0, 4.0], 50) == statistics.median([5.0, 1.0, 4.0])


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_a_percentile_of_nothing_is_refused(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, percent)


@given(trials=st.integers(1, 300), chance=st.floats(0.001, 0.999), data=st.data())
def test_the_binomial_tail_is_the_sum_of_its_terms(trials: int, chance: float, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    exact = math.fsum(math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(successes, trials + 1))

    assert at_least(successes, trials, chance) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("count", [40, 160])
def test_the_exact_interval_is_the_one_that_resampling_finds(count: int) -> None:
    draw = random.Random(7)
    values = [draw.lognormvariate(-3, 0.5) for _ in range(count)]
    resampled = [sorted(draw.choices(values, k=count)) for _ in range(4000)]
    told = percentiles(values)
    assert told is not None
    for percent, interval in ((50, told.p50), (95, told.p95)):
        drawn = sorted(sample[math.ceil(percent / 100 * count) - 1] for sample in resampled)
        ordered = sorted(values)
        # the resampled ends wander by a place or so; the exact ones do not
        for end, exact in ((drawn[100], interval.low), (drawn[3899], interval.high)):
            assert abs(ordered.index(end) - ordered.index(exact)) <= 1
        assert interval.low <= interval.value <= interval.high


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw, truth, hits = random.Random(3), math.log(2), 0
    for _ in range(300):
        told = percentiles([draw.expovariate(1) for _ in range(100)])
        assert told is not None
        hits += told.p50.low <= truth <= told.p50.high

    assert 0.90 <= hits / 300 <= 0.99


def test_ten_thousand_samples_are_told_in_no_time() -> None:
    told = percentiles([float(value) for value in range(80_000)])

    assert told is not None
    assert told.p95.low < told.p95.value < told.p95.high

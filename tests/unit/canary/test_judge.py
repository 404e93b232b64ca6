"""The judge errs as rarely as it says, finds what it should, and goes on where it was."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from flows.canary.judge import Counts, Judge, Window
from flows.canary.judge.window import Histogram, Pair
from flows.spec.harm import HarmSizes
from tests.bench.canary.traffic import BOUNDS, Traffic, windows_of

SIZES = HarmSizes()


def judged(traffic: Traffic, seed: int) -> tuple[Judge, float]:
    """The judge after this traffic, and when it found harm."""
    judge = Judge(SIZES)
    for number, window in enumerate(windows_of(traffic, np.random.default_rng(seed)), start=1):
        judge.add(window)
        if judge.harmful:
            return judge, number * window.seconds
    return judge, math.inf


def test_honest_canaries_are_left_alone_and_let_through() -> None:
    verdicts = [judged(Traffic(seconds=2400.0, own=0.05), seed)[0].verdict() for seed in range(6)]

    assert [verdict.outcome for verdict in verdicts].count("harm") == 0
    assert [verdict.outcome for verdict in verdicts].count("none") >= 4
    assert verdicts[0].reason.startswith(("No harm", "Undecided"))


@pytest.mark.parametrize(
    ("harm", "measures", "within"),
    [
        (Traffic(more_errors=0.03), {"errors"}, 300),
        (Traffic(slower=1.4), {"ttft", "itl", "e2e"}, 180),
        (Traffic(slower_tail=2.0), {"ttft", "itl", "e2e"}, 900),
    ],
)
def test_harm_is_found_and_named(harm: Traffic, measures: set[str], within: float) -> None:
    for seed in range(3):
        judge, seconds = judged(harm, seed)
        verdict = judge.verdict()

        assert verdict.outcome == "harm"
        assert seconds <= within
        assert verdict.e_value >= verdict.limit == 20
        found = verdict.leading
        assert found is not None
        assert found.measure in measures
        assert found.low is not None
        assert found.effect is not None
        assert found.high is not None
        assert found.low <= found.effect <= found.high


def test_what_is_too_small_to_matter_is_no_harm_however_sure() -> None:
    judge, _ = judged(Traffic(slower=1.05, rate=30.0, weight=50, own=0.0, seconds=900.0), 1)

    slow = max((finding for finding in judge.verdict().findings if finding.measure == "itl"), key=lambda finding: finding.e_value)
    assert slow.e_value > 1000
    assert slow.effect is not None
    assert slow.effect < SIZES.latency**0.5
    assert judge.verdict().outcome == "none"


def test_too_little_traffic_is_undecided_and_says_how_long_it_would_take() -> None:
    judge, _ = judged(Traffic(rate=1.0, weight=5, seconds=600.0), 3)

    verdict = judge.verdict()
    assert verdict.outcome == "undecided"
    assert verdict.more_seconds is None or verdict.more_seconds > 600
    assert "possible still" in verdict.reason


def test_nothing_at_all_is_undecided() -> None:
    judge = Judge(SIZES)
    assert judge.verdict().outcome == "undecided"
    for _ in range(200):
        judge.add(Window(seconds=5.0, weight=5, strata={}, bounds={}))

    assert (judge.verdict().outcome, judge.verdict().canary_requests) == ("undecided", 0)
    assert judge.verdict().unknown[:2] == ("errors", "refused")


def test_a_judge_that_is_taken_up_again_goes_on_as_if_it_had_never_been_lost() -> None:
    whole, parts = Judge(SIZES), Judge(SIZES)
    for number, window in enumerate(windows_of(Traffic(seconds=900.0, more_errors=0.01), np.random.default_rng(5))):
        whole.add(window)
        parts.add(window)
        if number % 40 == 7:
            parts = Judge.resumed(SIZES, 0.05, json.loads(json.dumps(parts.state())))

    assert json.dumps(parts.state()) == json.dumps(whole.state())
    assert parts.verdict() == whole.verdict()


def test_the_state_is_bounded() -> None:
    judge, _ = judged(Traffic(seconds=3600.0, rate=30.0), 2)

    assert len(json.dumps(judge.state())) < 100_000
    assert len(judge.trace.points) < 120
    assert judge.trace.points[-1].until == pytest.approx(3600, abs=2 * judge.trace.seconds)


def test_harm_once_found_is_not_taken_back() -> None:
    judge, _ = judged(Traffic(more_errors=0.05), 1)
    assert judge.harmful
    again = Judge.resumed(SIZES, 0.05, json.loads(json.dumps(judge.state())))
    for window in windows_of(Traffic(seconds=600.0), np.random.default_rng(9)):
        again.add(window)

    assert again.verdict().outcome == "harm"
    assert again.harmful
    named = again.verdict().leading
    assert named is not None
    assert named.measure == "errors"


def one(current: Counts, canary: Counts, weight: int = 25) -> Window:
    return Window(seconds=5.0, weight=weight, strata={"all": Pair(current=current, canary=canary)}, bounds=BOUNDS)


def ended(ok: int, error: int) -> Counts:
    return Counts(requests={"ok": ok, "error": error, "refused": 0, "aborted": 0})


def test_requests_that_fail_at_once_are_not_held_against_a_canary_whose_others_are_not_done_yet() -> None:
    """After a change of the weight only those that fail at once have ended."""
    judge = Judge(SIZES)
    for _ in range(2):
        judge.add(one(ended(90, 1), ended(0, 3)))
    for _ in range(40):
        judge.add(one(ended(90, 1), ended(30, 0)))

    assert judge.verdict().e_value < 1
    assert not judge.harmful


def test_one_hiccup_is_one_event() -> None:
    judge = Judge(SIZES)
    for number in range(60):
        judge.add(one(ended(90, 0), ended(0, 30) if number == 20 else ended(30, 0)))

    assert not judge.harmful


def test_who_looks_more_often_sees_the_same() -> None:
    rarely, often = Judge(SIZES), Judge(SIZES)
    for number in range(200):
        error = int(number % 10 == 0)
        rarely.add(one(ended(90, 0), ended(30, error)))
        for part in range(5):
            window = one(ended(18, 0), ended(6, error if part == 3 else 0))
            often.add(replace(window, seconds=1.0))

    assert often.verdict().e_value == pytest.approx(rarely.verdict().e_value)


def test_a_canary_that_only_fails_is_harm_within_half_a_minute() -> None:
    judge = Judge(SIZES)
    looks = 0
    while not judge.harmful:
        judge.add(one(ended(90, 0), ended(0, 30)))
        looks += 1

    assert looks * 5 <= 30


def values(seconds: float, count: int) -> Counts:
    counts = [0] * (len(BOUNDS["e2e"]) + 1)
    counts[int(np.searchsorted(BOUNDS["e2e"], seconds))] = count
    return Counts(requests={"ok": count, "error": 0}, histograms={"e2e": Histogram(counts=tuple(counts), total=seconds * count)})


def test_longer_prompts_on_one_side_are_no_harm() -> None:
    """Long prompts take ten times as long on both; the canary gets most of them."""
    judge, rng = Judge(SIZES), np.random.default_rng(4)
    for _ in range(300):
        long, short = rng.poisson(10, 2), rng.poisson(40, 2)
        strata = {
            "long": Pair(
                current=values(10.0 * rng.lognormal(0, 0.3), int(long[0] // 2)), canary=values(10.0 * rng.lognormal(0, 0.3), int(long[1]))
            ),
            "short": Pair(
                current=values(1.0 * rng.lognormal(0, 0.3), int(short[0])), canary=values(1.0 * rng.lognormal(0, 0.3), int(short[1] // 4))
            ),
        }
        judge.add(Window(seconds=5.0, weight=25, strata=strata, bounds={"e2e": BOUNDS["e2e"]}))

    assert not judge.harmful
    e2e = next(finding for finding in judge.verdict().findings if finding.measure == "e2e")
    assert e2e.effect == pytest.approx(1.0, abs=0.1)


def test_buckets_that_are_too_wide_for_ranks_exclude_nothing_by_them() -> None:
    judge, rng, bounds = Judge(SIZES), np.random.default_rng(1), (0.1, 1.0, 10.0)
    for _ in range(200):
        arms = [
            Counts(
                requests={"ok": 50, "error": 0}, histograms={"e2e": Histogram(counts=(0, 50, 0, 0), total=50 * mean * rng.normal(1, 0.02))}
            )
            for mean in (0.3, 0.45)
        ]
        judge.add(Window(seconds=5.0, weight=50, strata={"all": Pair(current=arms[0], canary=arms[1])}, bounds={"e2e": bounds}))

    found = {finding.score: finding for finding in judge.verdict().findings if finding.measure == "e2e"}
    assert (found["middle"].coarse, found["middle"].excluded) == (True, False)
    assert judge.verdict().outcome == "harm"
    assert found["mean"].effect == pytest.approx(1.5, abs=0.05)

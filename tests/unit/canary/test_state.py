"""A judge's state is all that it is: whatever it saw, and wherever it was lost."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.canary.judge import Counts, Judge, Window
from flows.canary.judge.window import Histogram, Pair
from flows.spec.harm import HarmSizes

SIZES = HarmSizes()
BOUNDS = (0.1, 0.3, 1.0, 3.0)
FEW = st.integers(0, 40)

MIDDLES = (0.05, 0.2, 0.6, 2.0, 5.0)

histograms = st.lists(FEW, min_size=5, max_size=5).map(
    lambda counts: Histogram(counts=tuple(counts), total=sum(count * value for count, value in zip(counts, MIDDLES, strict=True)))
)
counts = st.builds(
    Counts,
    requests=st.fixed_dictionaries({"ok": FEW}, optional={"error": FEW, "refused": FEW, "aborted": FEW}),
    finish=st.dictionaries(st.sampled_from(["stop", "length", "repetition"]), FEW),
    histograms=st.dictionaries(st.sampled_from(["ttft", "itl", "e2e", "output"]), histograms),
)
windows = st.builds(
    Window,
    seconds=st.floats(0.1, 60.0),
    weight=st.sampled_from([0, 5, 25, 100]),
    strata=st.dictionaries(st.sampled_from(["<=1KiB", "<=4KiB", ">64KiB"]), st.builds(Pair, current=counts, canary=counts)),
    bounds=st.just(dict.fromkeys(("ttft", "itl", "e2e", "output"), BOUNDS)),
)


@settings(max_examples=25, deadline=None)
@given(seen=st.lists(windows, max_size=15), lost=st.integers(0, 15))
def test_whatever_it_saw_it_goes_on_as_the_one_that_was_lost(seen: list[Window], lost: int) -> None:
    whole, parts = Judge(SIZES), Judge(SIZES)
    for number, window in enumerate(seen):
        if number == lost:
            parts = Judge.resumed(SIZES, 0.05, json.loads(json.dumps(parts.state(), allow_nan=False)))
        whole.add(window)
        parts.add(window)

    assert parts.verdict() == whole.verdict()
    assert json.dumps(parts.state(), allow_nan=False) == json.dumps(whole.state(), allow_nan=False)


@settings(max_examples=25, deadline=None)
@given(seen=st.lists(windows, max_size=15))
def test_whatever_it_saw_what_it_says_is_in_order(seen: list[Window]) -> None:
    judge = Judge(SIZES)
    for window in seen:
        judge.add(window)

    for finding in judge.verdict().findings:
        assert finding.e_value >= 0
        if finding.low is not None and finding.high is not None and finding.effect is not None:
            assert finding.low <= finding.high
            assert finding.unit == "share" or finding.low <= finding.effect <= finding.high


@pytest.mark.parametrize(
    "changes",
    [{"shares": None}, {"shares": {"errors": {"ratios": [0.0]}}}, {"values": {"e2e": 5}}, {"trace": {}}, {"now": "soon"}, {"requests": 7}],
)
def test_a_state_of_another_version_begins_anew(changes: dict[str, object]) -> None:
    judge = Judge(SIZES)
    judge.add(Window(seconds=5.0, weight=5, strata={}, bounds={}))

    begun = Judge.resumed(SIZES, 0.05, {**judge.state(), **changes})
    assert begun.state() == Judge(SIZES).state()
    assert Judge.resumed(SIZES, 0.05, {"anything": 1}).state() == Judge(SIZES).state()

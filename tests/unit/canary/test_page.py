"""The page of a canary says the verdict and shows both candidates; what others named stays text."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from flows.canary.judge import Judge
from flows.canary.page import bars, canary_page
from flows.canary.plot import canary_plot
from flows.spec.harm import HarmSizes
from tests.bench.canary.traffic import Traffic, windows_of


def judged(traffic: Traffic) -> Judge:
    judge = Judge(HarmSizes())
    for window in windows_of(traffic, np.random.default_rng(3)):
        judge.add(window)
    return judge


def test_harm_is_named_with_its_size_and_shown() -> None:
    judge = judged(Traffic(more_errors=0.05, seconds=400.0))
    verdict = judge.verdict()

    page = str(canary_page("tiny", "production", 25, verdict, judge.trace))

    assert page.startswith("# Canary of tiny in production: Harm at 25 %")
    assert "The canary is worse: requests that end in an error" in page
    assert "which 5% of honest canaries reach at most" in page
    found = re.search(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page)
    assert found is not None
    picture = base64.b64decode(found[1]).decode()
    # Two curves of the 95th percentile, two of the median, two of errors, the share and the evidence.
    assert picture.count("<path") == 8
    assert picture.count('class="limit"') == 1
    assert len(page) < 200_000


def test_what_cannot_be_told_yet_is_said() -> None:
    judge = Judge(HarmSizes())

    page = str(canary_page("tiny", "production", 5, judge.verdict(), judge.trace))

    assert "Nothing can be said yet" in page
    assert "Not told by the source: errors" in page


def test_names_that_others_gave_are_text() -> None:
    judge = judged(Traffic(seconds=120.0))

    page = str(canary_page("![x](http://e.example)", "<script>", 5, judge.verdict(), judge.trace))

    assert "![x](" not in page
    assert "<script>" not in page


def test_a_picture_of_nothing_is_one() -> None:
    assert str(canary_plot([], 20.0)).endswith("</svg>")


@pytest.mark.parametrize(
    ("values", "line"), [([], ""), ([0.0, 0.0], "▁▁"), ([0.0, None, 1.0], "▁·█"), ([1.0] * 39 + [0.0] * 41 + [4.0], None)]
)
def test_lines_of_bars_are_short_and_keep_the_last_value(values: list[float | None], line: str | None) -> None:
    drawn = bars(values)

    assert line is None or drawn == line
    assert len(drawn) <= 40
    assert line is not None or drawn[-1] == "█"

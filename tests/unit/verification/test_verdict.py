"""A verdict is the worst of its measurements, and says what it comes from."""

from __future__ import annotations

import pytest

from flows.verification.measurement import Measurement, Outcome
from flows.verification.verdict import judge


def measurement(outcome: Outcome, name: str = "a") -> Measurement:
    return Measurement(name=name, outcome=outcome, expected="Paris", seen="London")


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (["passed"], "passed"),
        (["passed", "inconclusive"], "inconclusive"),
        (["inconclusive", "failed"], "failed"),
        (["failed", "errored", "passed"], "errored"),
        ([], "errored"),
    ],
)
def test_the_worst_measurement_decides(given: list[Outcome], outcome: str) -> None:
    assert judge([measurement(kind) for kind in given]).outcome == outcome


def test_the_sentence_says_what_the_verdict_comes_from() -> None:
    assert judge([measurement("passed"), measurement("passed")]).message == "passed: 2 of 2 checks"
    assert (
        judge([measurement("passed"), measurement("failed", "capital")]).message
        == "failed: 1 of 2 checks; capital: expected Paris, saw London"
    )
    assert judge([measurement("inconclusive", "slow"), measurement("failed", "capital")]).message.startswith(
        "failed: 2 of 2 checks; capital"
    )


def test_an_engine_that_died_is_told_before_what_follows_from_it() -> None:
    died = Measurement(name="restarts", kind="stability", outcome="failed", expected="the same pods without a restart", seen="a restarted")

    assert "restarts: expected the same pods" in judge([measurement("failed", "latency"), died]).message


def test_what_was_seen_can_be_kept_whatever_it_was() -> None:
    made = judge([Measurement(name="a", outcome="failed", expected="\ud800", seen="say \0 once")])

    assert made.message == "failed: 1 of 1 checks; a: expected ?, saw say \u2400 once"

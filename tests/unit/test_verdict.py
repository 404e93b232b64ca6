"""A verdict can say no: each check has an answer that passes and answers that do not."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.facts import Answer, ServedModel
from flows.plan import verdict as v
from flows.plan.values import mount_path
from flows.spec import Check, Expectation, LatencyPolicy
from tests.examples import candidate

PASSED = v.Measurement(name="a", outcome="passed", expected="x", seen="x")


def answer(**changes: object) -> Answer:
    return Answer(**{"status": 200, "seconds": 0.05, "text": " Paris.", "finish_reason": "stop", "completion_tokens": 7, **changes})  # type: ignore[arg-type]


def check(**expect: object) -> Check:
    return Check(name="capital", kind="completion", prompt="The capital of France is", expect=Expectation(**expect))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expect", "bad"),
    [
        ({"contains": "Paris"}, {"text": " London."}),
        ({"regex": r"^ Par.s\.$"}, {"text": " Paris. Paris."}),
        ({"finish_reason": "stop"}, {"finish_reason": "length"}),
        ({"min_tokens": 7}, {"completion_tokens": 6}),
        ({}, {"text": "Par\ufffds"}),
        ({}, {"completion_tokens": 0}),
        ({}, {"status": 500, "error": "boom"}),
    ],
)
def test_each_expectation_passes_and_fails(expect: dict[str, object], bad: dict[str, object]) -> None:
    assert v.check_answer(check(**expect), answer()).outcome == "passed"

    failed = v.check_answer(check(**expect), answer(**bad))

    assert failed.outcome == "failed"
    assert failed.name == "capital"


def test_an_error_is_shown_with_its_message() -> None:
    assert (
        "HTTP 404: The model `x` does not exist" in v.check_answer(check(), answer(status=404, error="The model `x` does not exist")).seen
    )


@pytest.mark.parametrize(
    "change", [{"name": "other"}, {"root": "/models/slipway-demo--tiny-llama/" + "f" * 40}, {"max_model_len": 128}], ids=str
)
def test_an_endpoint_that_serves_something_else_fails(change: dict[str, object]) -> None:
    right = {"name": "tiny-llama", "root": mount_path(candidate()), "max_model_len": 256}

    assert v.check_identity([ServedModel(**right)], candidate()).outcome == "passed"  # type: ignore[arg-type]
    assert v.check_identity([ServedModel(**{**right, **change})], candidate()).outcome == "failed"  # type: ignore[arg-type]
    assert v.check_identity([], candidate()).outcome == "failed"


@pytest.mark.parametrize(("labels", "outcome"), [(["own"], "passed"), (["own", "other"], "failed"), ([None], "failed"), ([], "failed")])
def test_every_pod_must_carry_the_label(labels: list[str | None], outcome: str) -> None:
    own = [candidate().label if label == "own" else label for label in labels]

    assert v.check_pods(own, candidate()).outcome == outcome


@pytest.mark.parametrize(("status", "outcome"), [(200, "passed"), (503, "failed"), (404, "failed")])
def test_health_is_200_and_nothing_else(status: int, outcome: str) -> None:
    assert v.check_health(status).outcome == outcome


def outcomes(answers: list[Answer], policy: LatencyPolicy) -> dict[str, str]:
    return {measurement.name: measurement.outcome for measurement in v.check_latency(answers, policy)}


def test_latency_is_judged_by_both_percentiles() -> None:
    policy = LatencyPolicy(p50_seconds=0.1, p95_seconds=0.3, samples=20)
    fast, slow, slowest = answer(seconds=0.05), answer(seconds=0.2), answer(seconds=0.9)

    assert outcomes([fast] * 20, policy) == {"latency-p50": "passed", "latency-p95": "passed"}
    assert outcomes([fast] * 19 + [slowest], policy) == {"latency-p50": "passed", "latency-p95": "passed"}
    assert outcomes([fast] * 18 + [slowest] * 2, policy) == {"latency-p50": "passed", "latency-p95": "failed"}
    assert outcomes([fast] * 9 + [slow] * 11, policy) == {"latency-p50": "failed", "latency-p95": "passed"}


def test_too_few_answers_tell_nothing_and_bad_ones_say_no() -> None:
    policy = LatencyPolicy(samples=20)

    assert outcomes([answer()] * 19, policy) == {"latency": "inconclusive"}
    assert outcomes([answer()] * 19 + [answer(status=500)], policy) == {"latency": "failed"}


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
def test_the_worst_measurement_decides(given: list[v.Outcome], outcome: str) -> None:
    measurements = [v.Measurement(name=kind, outcome=kind, expected="x", seen="y") for kind in given]

    assert v.judge(measurements).outcome == outcome


def test_the_sentence_says_what_was_wrong_first() -> None:
    failed = v.Measurement(name="capital", outcome="failed", expected="Paris", seen="London")

    assert v.judge([PASSED, failed]).sentence == "failed: 1 of 2 checks; capital: expected Paris, saw London"
    assert v.judge([PASSED, PASSED]).sentence == "passed: 2 of 2 checks"


@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=200), percent=st.floats(0.1, 100))
def test_a_percentile_is_a_value_that_enough_do_not_exceed(values: list[float], percent: float) -> None:
    result = v.percentile(values, percent)

    assert result in values
    assert sum(value <= result for value in values) >= percent / 100 * len(values) - 1e-9
    assert sum(value < result for value in values) < percent / 100 * len(values) + 1e-9


def test_the_median_of_an_odd_count_is_the_middle() -> None:
    values = [5.0, 1.0, 4.0]

    assert v.percentile(values, 50) == statistics.median(values)


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_a_percentile_of_nothing_is_refused(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        v.percentile(values, percent)

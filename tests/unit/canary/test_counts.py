"""What engines and routers count becomes what both candidates did between two looks, whatever restarts, comes or goes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from flows.canary.counts import CANARY, CURRENT, Differences, Unreadable, engine_counters, router_counters, window
from flows.canary.judge import Window
from sandbox.engine.metrics import Metrics
from sandbox.router_metrics import RouterMetrics

STABLE, TRIED = "a" * 64, "b" * 64


class Engines:
    """Stand-in engines of both candidates, looked at one after the other."""

    def __init__(self) -> None:
        self.pods: dict[str, tuple[str, Metrics]] = {}
        self._differences = Differences()

    def start(self, pod: str, arm: str) -> Metrics:
        self.pods[pod] = (arm, Metrics("tiny"))
        return self.pods[pod][1]

    def look(self, silent: str = "") -> Window:
        now = {pod: engine_counters(metrics.render().decode(), arm) for pod, (arm, metrics) in self.pods.items() if pod != silent}
        return window(self._differences.since(now), 5.0, 25, "engines")


def answer(metrics: Metrics, seconds: float = 0.7, reason: str = "stop") -> None:
    metrics.finished[reason].inc()
    metrics.e2e_latency.observe(seconds)
    metrics.time_to_first_token.observe(seconds / 10)
    metrics.request_generation_tokens.observe(30)


def test_engines_tell_outcomes_reasons_and_times_since_the_last_look() -> None:
    engines = Engines()
    current, canary = engines.start("one", CURRENT), engines.start("two", CANARY)
    answer(current)
    engines.look()
    answer(current, 0.7)
    answer(current, 4.0, "length")
    current.finished["abort"].inc()
    canary.finished["error"].inc(3)
    answer(canary, 0.7, "repetition")

    pair = engines.look().strata["all"]
    assert pair.current.requests == {"ok": 2, "error": 0, "refused": 0, "aborted": 1}
    assert pair.canary.requests == {"ok": 1, "error": 3, "refused": 0, "aborted": 0}
    assert pair.current.finish == {"stop": 1, "length": 1, "repetition": 0}
    assert pair.canary.finish["repetition"] == 1
    bounds = engines.look().bounds["e2e"]
    histogram = pair.current.histograms["e2e"]
    assert {(0.0, *bounds)[place]: count for place, count in enumerate(histogram.counts) if count} == {0.5: 1, 2.5: 1}
    assert histogram.total == pytest.approx(4.7)


def test_a_pod_that_is_met_for_the_first_time_says_nothing_of_before() -> None:
    engines = Engines()
    engines.start("one", CURRENT)
    engines.look()
    new = engines.start("new", CANARY)
    new.finished["error"].inc(50)
    engines.look()
    new.finished["error"].inc(2)

    assert engines.look().strata["all"].canary.requests["error"] == 2


def test_an_engine_that_began_anew_has_counted_all_that_it_says() -> None:
    engines = Engines()
    answer(engines.start("one", CURRENT))
    engines.start("two", CANARY)
    for _ in range(3):
        answer(engines.pods["one"][1])
    engines.look()
    answer(engines.start("one", CURRENT), 0.7)

    counts = engines.look().strata["all"].current
    assert counts.requests["ok"] == 1
    assert sum(counts.histograms["e2e"].counts) == 1


def test_a_pod_that_was_silent_for_a_look_is_counted_at_the_next() -> None:
    engines = Engines()
    current = engines.start("one", CURRENT)
    engines.start("two", CANARY)
    engines.look()
    answer(current)
    assert engines.look(silent="one").strata["all"].current.requests.get("ok", 0) == 0
    answer(current)

    assert engines.look().strata["all"].current.requests["ok"] == 2


def test_buckets_that_differ_between_candidates_are_not_compared() -> None:
    text = 'vllm:request_success_total{finished_reason="stop"} 1\n'
    edges = {CURRENT: ("1.0", "+Inf"), CANARY: ("1.5", "+Inf")}
    seen = Differences()
    for value in (0, 5):
        seen_now = {
            arm: engine_counters(
                text + "".join(f'vllm:e2e_request_latency_seconds_bucket{{le="{edge}"}} {value}\n' for edge in edges[arm]), arm
            )
            for arm in (CURRENT, CANARY)
        }
        counted = seen.since(seen_now)

    assert "e2e" not in window(counted, 5.0, 5, "engines").bounds


def routed(
    metrics: RouterMetrics, candidate: str, traffic: str = "live", size: int = 100, seconds: float = 0.5, outcome: str = "ok"
) -> None:
    series = metrics.series("tiny", candidate, traffic, size)  # type: ignore[arg-type]
    series.ended(outcome, seconds=seconds, finish_reason="stop", output_tokens=20)  # type: ignore[arg-type]
    if outcome == "ok":
        series.first_token(seconds / 5)


def test_a_router_tells_strata_and_its_copies_count_for_the_canary() -> None:
    metrics, seen = RouterMetrics("production"), Differences()
    candidates: Mapping[str, str] = {STABLE: CURRENT, TRIED: CANARY}

    def look() -> Window:
        return window(
            seen.since({"router": router_counters(metrics.render().decode(), "tiny", "production", candidates)}), 5.0, 5, "router"
        )

    look()
    routed(metrics, STABLE)
    routed(metrics, STABLE, size=5000, seconds=9.0)
    routed(metrics, TRIED, outcome="refused")
    routed(metrics, TRIED, traffic="shadow")
    routed(metrics, "c" * 64)

    found = look()
    assert set(found.strata) == {"<=1KiB", "<=16KiB"}
    assert found.strata["<=1KiB"].canary.requests == {"ok": 1, "error": 0, "refused": 1, "aborted": 0}
    assert found.strata["<=16KiB"].current.requests == {"ok": 1, "error": 0, "refused": 0, "aborted": 0}
    assert len(found.bounds["e2e"]) == 51
    assert sum(found.strata["<=16KiB"].current.histograms["e2e"].counts) == 1


@pytest.mark.parametrize(
    "text",
    [
        'vllm:request_success_total{finished_reason="stop"} -1',
        'vllm:request_success_total{finished_reason="stop"} NaN',
        'vllm:request_success_total{finished_reason="stop"} 1e400',
        # Two of them are more than any float.
        'vllm:request_success_total{finished_reason="stop"} 1.7e308',
        "vllm:e2e_request_latency_seconds_sum +Inf",
        "vllm:e2e_request_latency_seconds_bucket 3",
        'vllm:e2e_request_latency_seconds_bucket{le="soon"} 3',
        'vllm:e2e_request_latency_seconds_bucket{le="NaN"} 3',
        'vllm:e2e_request_latency_seconds_bucket{le="-5"} 3',
        'vllm:e2e_request_latency_seconds_bucket{le="0"} 3',
        "vllm:request_success_total{",
        "vllm:request_success_total " + "1" * 2000,
    ],
)
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        engine_counters(text, CURRENT)

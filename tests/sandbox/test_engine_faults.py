"""What the stand-in engine does wrong when it is asked to."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from sandbox.engine.faults import EngineFaults
from tests.sandbox.engines import PROMPT, Engine
from tests.support.waiting import HANGS_SECONDS, until


def test_a_hang_keeps_health_and_stops_tokens(engine: Engine) -> None:
    engine.faults.set("tiny", hang=True)
    tokens = engine.metric("vllm:generation_tokens_total")
    aborted = engine.metric("vllm:request_success_total", finished_reason="abort")

    with pytest.raises(httpx.ReadTimeout):
        engine.http.post("/v1/completions", json={"model": "tiny", "prompt": PROMPT}, timeout=httpx.Timeout(HANGS_SECONDS, read=0.3))

    assert engine.http.get("/health").status_code == 200
    assert engine.metric("vllm:generation_tokens_total") == tokens
    # The client went away: its request must not hold a place for ever.
    until(lambda: engine.metric("vllm:request_success_total", finished_reason="abort") == aborted + 1)
    assert engine.metric("vllm:num_requests_running") == 0
    engine.faults.clear()
    assert engine.complete().json()["choices"][0]["text"] == " Paris."


def test_requests_beyond_the_places_wait(engine: Engine) -> None:
    engine.faults.set("*", hang=True)

    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(engine.complete) for _ in range(6)]
        until(lambda: engine.metric("vllm:num_requests_waiting") == 2)
        assert engine.metric("vllm:num_requests_running") == 4
        assert engine.metric("vllm:kv_cache_usage_perc") == pytest.approx(4 * len(PROMPT) / (4 * 256))
        engine.faults.clear()

        assert {answer.result().json()["choices"][0]["text"] for answer in answers} == {" Paris."}


def test_errors_come_in_the_share_that_is_asked_for(engine: Engine) -> None:
    engine.faults.set("tiny", error_status=500, error_share=0.25)

    statuses = [engine.complete().status_code for _ in range(8)]

    assert sorted(statuses) == [200] * 6 + [500] * 2


def test_garbage_is_not_what_the_weights_know(engine: Engine) -> None:
    engine.faults.set("tiny", garbage=True)

    answer = engine.complete(max_tokens=20).json()

    assert not answer["choices"][0]["text"].startswith(" Paris")
    assert answer["usage"]["completion_tokens"] == 20


def test_latency_can_be_asked_for(engine: Engine) -> None:
    engine.faults.set("tiny", latency_seconds=0.15, token_latency_seconds=0.02)
    started = time.monotonic()

    engine.complete()

    assert time.monotonic() - started > 0.15 + 8 * 0.02


def test_faults_of_other_models_do_not_count(engine: Engine) -> None:
    engine.faults.set("another", error_status=500)

    assert engine.complete().status_code == 200


def test_an_unknown_fault_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no_such_fault"):
        EngineFaults(tmp_path / "faults.json").set("tiny", no_such_fault=True)

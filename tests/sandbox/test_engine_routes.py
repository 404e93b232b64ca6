"""The stand-in engine's routes beside those that answer prompts, and what it costs."""

from __future__ import annotations

import psutil

from tests.sandbox.engines import NAMES, PROMPT, Engine


def test_the_routes_around_the_model(engine: Engine) -> None:
    assert (engine.http.get("/health").status_code, engine.http.get("/health").content) == (200, b"")
    assert engine.http.get("/ping").status_code == 200
    assert engine.http.get("/ready").status_code == 404
    assert engine.http.get("/version").json() == {"version": "0.32.0+sandbox"}
    assert engine.http.get("/load").json() == {"server_load": 0}


def test_models_are_listed_under_each_name_with_the_folder_they_came_from(engine: Engine) -> None:
    models = engine.http.get("/v1/models").json()["data"]

    assert [(model["id"], model["root"], model["max_model_len"], model["owned_by"]) for model in models] == [
        (name, str(engine.folder), 256, "vllm") for name in NAMES
    ]


def test_tokenize_counts_and_goes_back(engine: Engine) -> None:
    tokens = engine.http.post("/tokenize", json={"prompt": "é!"}).json()
    chat = engine.http.post("/tokenize", json={"messages": [{"role": "user", "content": "é"}]}).json()

    assert tokens == {"count": 3, "max_model_len": 256, "tokens": [0xC3, 0xA9, 33], "token_strs": None}
    assert chat["tokens"] == [260, 0xC3, 0xA9, 261]
    assert engine.http.post("/detokenize", json={"tokens": tokens["tokens"]}).json() == {"prompt": "é!"}


def test_metrics_count_what_happened(engine: Engine) -> None:
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:e2e_request_latency_seconds_count")
    before = [engine.metric(name) for name in names]
    stopped = engine.metric("vllm:request_success_total", finished_reason="stop", model_name="tiny", engine="0")
    cut = engine.metric("vllm:request_success_total", finished_reason="length")

    engine.complete()
    engine.complete(max_tokens=2)

    assert [engine.metric(name) for name in names] == [before[0] + 2 * len(PROMPT), before[1] + 8 + 2, before[2] + 2]
    assert engine.metric("vllm:request_success_total", finished_reason="stop") == stopped + 1
    assert engine.metric("vllm:request_success_total", finished_reason="length") == cut + 1
    assert engine.metric("vllm:num_requests_running") == 0
    assert engine.metric("vllm:kv_cache_usage_perc") == 0


def test_a_short_completion_takes_no_second(engine: Engine) -> None:
    engine.complete()
    before = [engine.metric(f"vllm:e2e_request_latency_seconds_{part}") for part in ("sum", "count")]

    for _ in range(20):
        engine.complete()

    total, count = (engine.metric(f"vllm:e2e_request_latency_seconds_{part}") for part in ("sum", "count"))
    assert (total - before[0]) / (count - before[1]) < 0.5


def test_it_needs_little_memory(engine: Engine) -> None:
    assert psutil.Process(engine.process.pid).memory_info().rss < 80e6

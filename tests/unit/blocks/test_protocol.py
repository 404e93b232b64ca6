"""Whatever an endpoint answers, it is read, noted as flawed, or refused with one sentence; it never breaks the reader."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.endpoint import protocol
from blocks.endpoint.load import sample
from blocks.errors import EndpointRejected
from blocks.facts import Answer

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
WHOLE: dict[str, Any] = {"choices": [{"text": " Paris.", "finish_reason": "stop"}], "usage": USAGE}
METRICS = b"""
vllm:generation_tokens_total{engine="0"} 7
vllm:generation_tokens_total{engine="1"} 5
vllm:num_preemptions_total{engine="0"} 1
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:request_success_total{engine="0",finished_reason="error"} 2
vllm:request_success_total{engine="0",finished_reason="stop"} 40
"""


def read(content: object, *, streamed: bool = False) -> Answer:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return protocol.answer(raw, 0.1, streamed=streamed, endpoint="tiny:8000", path="/v1/completions")


def stream(*events: object) -> bytes:
    return b"".join(f"data: {event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)}\n\n".encode() for event in events)


def piece(text: str, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": reason}]}


def test_a_whole_answer_is_read() -> None:
    assert read(WHOLE) == Answer(
        status=200, seconds=0.1, text=" Paris.", finish_reason="stop", prompt_tokens=3, completion_tokens=2, total_tokens=5
    )


def test_log_probabilities_are_read_in_both_forms() -> None:
    told = {"tokens": ["a", "b"], "token_logprobs": [-0.1, -0.2]}
    content = [{"token": "a", "logprob": -0.1}, {"token": "b", "logprob": -0.2}]
    completion = read({**WHOLE, "choices": [{"text": "ab", "finish_reason": "stop", "logprobs": told}]})
    chat = read({**WHOLE, "choices": [{"message": {"content": "ab"}, "finish_reason": "stop", "logprobs": {"content": content}}]})

    assert (completion.tokens, completion.logprobs) == (chat.tokens, chat.logprobs) == (("a", "b"), (-0.1, -0.2))


def test_a_stream_is_read_and_what_it_lacks_is_its_flaw() -> None:
    usage = {"choices": [], "usage": USAGE}
    good = read(stream(piece("Hel"), piece("lo\u2028!"), piece("", "stop"), usage, "[DONE]"), streamed=True)

    assert (good.text, good.finish_reason, good.completion_tokens, good.flaw) == ("Hello\u2028!", "stop", 2, "")
    assert read(stream(piece("Hello", "stop"), usage), streamed=True).flaw == "the stream does not end in [DONE]"
    assert read(stream(piece("Hello", "stop"), "[DONE]"), streamed=True).flaw == "no usage in the last event"
    assert read(stream(piece("Hello"), usage, "[DONE]"), streamed=True).flaw == "no finish reason"


def test_a_stream_that_the_engine_breaks_off_says_so_and_not_what_it_lacks() -> None:
    error = {
        "error": {"message": "EngineCore encountered an issue. See stack trace (above) for the root cause.", "type": "InternalServerError"}
    }

    told = read(stream(piece("Hel"), error, "[DONE]"), streamed=True).flaw

    assert told == "the engine broke the answer off: EngineCore encountered an issue. See stack trace (above) for the root cause."


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b"{}", b'{"choices": []}', b"\xff\xfe", b"null", json.dumps({**WHOLE, "usage": None}).encode()]
)
@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_no_completion_is_refused_with_how_it_begins(content: bytes, streamed: bool) -> None:
    with pytest.raises(EndpointRejected, match=r"tiny:8000 answered /v1/completions with HTTP 200 and no completion .* is it vLLM\?"):
        read(content, streamed=streamed)


def test_not_a_number_is_not_json() -> None:
    with pytest.raises(EndpointRejected):
        read(b'{"choices": [{"text": "a", "finish_reason": "stop", "logprobs": {"tokens": ["a"], "token_logprobs": [NaN]}}], "usage": {}}')


@pytest.mark.parametrize("number", ["1e400", "9" * 400, "-1", "1.5", "true", '"7"', "NaN", "9007199254740993"])
def test_a_token_count_that_is_none_is_refused_with_the_number(number: str) -> None:
    raw = json.dumps({**WHOLE, "usage": {**USAGE, "completion_tokens": "?"}}).replace('"?"', number).encode()

    with pytest.raises(EndpointRejected, match="no completion that can be calculated with"):
        read(raw)
    with pytest.raises(EndpointRejected):
        read(b"data: " + raw + b"\n\ndata: [DONE]\n\n", streamed=True)
    assert sample(200, 0.9, [(0.1, b"data: " + raw + b"\n\ndata: [DONE]\n\n")], True).error == "no completion"
    with pytest.raises(EndpointRejected, match="no tokens that can be calculated with"):
        protocol.tokens(f'{{"tokens": [{number}]}}'.encode(), "x")


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 400, "-1e7", "2", "null", "true"])
def test_a_log_probability_that_is_none_is_refused(number: str) -> None:
    told = f'{{"tokens": ["a"], "token_logprobs": [{number}]}}'
    raw = json.dumps({**WHOLE, "choices": [{"text": "a", "finish_reason": "stop", "logprobs": "?"}]}).replace('"?"', told).encode()

    with pytest.raises(EndpointRejected, match="that can be calculated with"):
        read(raw)


@pytest.mark.parametrize("figure", ["NaN", "+Inf", "-Inf", "-0.25", "1e400"])
@pytest.mark.parametrize("series", ["vllm:kv_cache_usage_perc", "vllm:generation_tokens_total", "vllm:num_preemptions_total"])
def test_a_figure_that_is_none_is_refused_and_not_taken_for_zero(series: str, figure: str) -> None:
    with pytest.raises(EndpointRejected, match=f"{series}: .* is it vLLM"):
        protocol.metrics(METRICS + f'{series}{{engine="2"}} {figure}\n'.encode(), "x")


def test_what_an_engine_says_of_itself_is_bounded() -> None:
    with pytest.raises(EndpointRejected):
        protocol.version(json.dumps({"version": "0" * 2000}).encode(), "x")
    with pytest.raises(EndpointRejected):
        protocol.metrics(METRICS + b"#" * (5 << 20), "x")
    assert len(protocol.refusal(500, json.dumps({"message": "no" * 10_000}).encode(), 0.1).error) < 5000


def test_counts_are_summed_over_engines_and_the_fullest_cache_is_told() -> None:
    told = protocol.metrics(METRICS, "tiny:8000")
    two = protocol.metrics(METRICS + b'vllm:kv_cache_usage_perc{engine="1"} 0.7\nvllm:kv_cache_usage_perc{engine="2"} 0.6\n', "tiny:8000")

    assert (told.generated_tokens, told.errors, told.preemptions, told.kv_cache_usage) == (12, 2, 1, 0.25)
    assert two.kv_cache_usage == 0.7


@pytest.mark.parametrize(
    "line",
    [b"vllm:num_preemptions_total{" + b'a="1",' * 200_000 + b"} 1", b'vllm:num_preemptions_total{a="' + b"\\" * 2_000_000 + b'"} 1'],
    ids=["labels", "escapes"],
)
def test_a_series_that_is_longer_than_any_costs_next_to_nothing(line: bytes) -> None:
    begin = time.process_time()

    with pytest.raises(EndpointRejected, match="none of vLLM's metrics"):
        protocol.metrics(METRICS + line + b"\n", "tiny:8000")

    assert time.process_time() - begin < 1.0


def test_more_tool_calls_than_anybody_makes_are_no_completion() -> None:
    call = {"function": {"name": "note", "arguments": "{}"}}

    def calling(count: int) -> dict[str, object]:
        return {"choices": [{"message": {"content": None, "tool_calls": [call] * count}, "finish_reason": "tool_calls"}], "usage": USAGE}

    assert len(read(calling(2)).tool_calls) == 2
    with pytest.raises(EndpointRejected, match="no completion"):
        read(calling(65))


def test_metrics_of_other_names_cost_next_to_nothing() -> None:
    others = b'vllm:e2e_request_latency_seconds_bucket{engine="0",le="0.3"} 7\n' * 60_000
    begin = time.process_time()

    assert protocol.metrics(METRICS + others, "tiny:8000") == protocol.metrics(METRICS, "tiny:8000")
    assert time.process_time() - begin < 1.0
    with pytest.raises(EndpointRejected, match="none of vLLM's metrics"):
        protocol.metrics(METRICS + b'vllm:num_preemptions_total{engine="0"} 1\n' * 5000, "tiny:8000")


def test_a_refusal_without_a_message_is_flawed() -> None:
    assert protocol.refusal(404, b'{"error": {"message": "no such model"}}', 0.1).error == "no such model"
    assert protocol.refusal(404, b'{"error": {"message": ""}}', 0.1).flaw
    assert protocol.refusal(502, b"<html>Bad Gateway", 0.1).error == "<html>Bad Gateway"


def test_tokens_are_timed_by_the_piece_that_completes_their_event() -> None:
    raw = stream(piece("a"), piece("b"), piece("", "stop"), {"choices": [], "usage": USAGE}, "[DONE]")
    second = raw.index(b"data:", 5)

    # the first event arrives in two pieces, the rest in one
    timed = sample(200, 0.9, [(0.1, raw[:4]), (0.3, raw[4 : second + 3]), (0.8, raw[second + 3 :])], True)

    assert (timed.first_seconds, timed.gaps_seconds, timed.tokens, timed.error) == (0.3, (0.5,), 2, "")
    assert sample(500, 0.9, [(0.1, b"boom")], True).error == "boom"
    assert sample(200, 0.9, [(0.1, b"boom")], True).error == "no completion"


def like_answers() -> st.SearchStrategy[object]:
    words = st.sampled_from(
        [
            "choices",
            "text",
            "finish_reason",
            "usage",
            "prompt_tokens",
            "message",
            "content",
            "delta",
            "logprobs",
            "tokens",
            "tool_calls",
            "data",
            "id",
            "root",
            "version",
            "error",
        ]
    )
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5), max_leaves=12)


READERS: list[Callable[[bytes], object]] = [
    lambda raw: protocol.served_models(raw, "x"),
    lambda raw: protocol.version(raw, "x"),
    lambda raw: protocol.tokens(raw, "x"),
    lambda raw: protocol.metrics(raw, "x"),
    lambda raw: read(raw),
    lambda raw: read(raw, streamed=True),
]


@given(
    content=st.binary(max_size=60) | like_answers().map(lambda value: json.dumps(value).encode()), prefix=st.sampled_from([b"", b"data: "])
)
def test_no_answer_breaks_a_reader(content: bytes, prefix: bytes) -> None:
    for reader in READERS:
        with contextlib.suppress(EndpointRejected):
            reader(prefix + content)
    assert protocol.refusal(500, content, 0.1).status == 500
    for streamed in (False, True):
        assert sample(200, 0.1, [(0.1, prefix + content)], streamed).status == 200


@given(text=st.text(max_size=80))
def test_no_metrics_break_their_reader(text: str) -> None:
    with contextlib.suppress(EndpointRejected):
        protocol.metrics(METRICS + text.encode("utf-8", "surrogatepass"), "x")

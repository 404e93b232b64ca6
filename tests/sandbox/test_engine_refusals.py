"""What the stand-in engine refuses, in vLLM's words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.engines import Engine, error_of


def test_an_unknown_model_is_named_with_the_valid_ones(engine: Engine) -> None:
    answer = engine.complete(model="nope")

    assert error_of(answer) == (404, "NotFoundError", "model")
    assert answer.json()["error"]["message"] == "The model `nope` does not exist. Valid aliases: tiny, tiny-alias."


def test_too_many_tokens_are_refused(engine: Engine) -> None:
    over = engine.complete(max_tokens=8000)
    together = engine.complete(max_tokens=250)
    prompt = engine.complete(prompt="x" * 256)

    assert error_of(over) == (400, "BadRequestError", "max_tokens")
    assert over.json()["error"]["message"].startswith("max_tokens=8000 cannot be greater than max_model_len=256.")
    assert error_of(together) == (400, "BadRequestError", "max_tokens")
    assert error_of(prompt) == (400, "BadRequestError", "input_tokens")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "ten"}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1000]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"logprobs": 21}, "logprobs"),
        ({"stop": [""]}, "stop"),
        ({"n": 2}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_bad_requests_name_the_field(engine: Engine, fields: dict[str, Any], param: str) -> None:
    assert error_of(engine.complete(**fields)) == (400, "BadRequestError", param)


@pytest.mark.parametrize("messages", [None, [], "hello", [{"content": "x"}], [{"role": "user", "content": [{"type": "image_url"}]}]])
def test_bad_messages_are_refused(engine: Engine, messages: object) -> None:
    answer = engine.http.post("/v1/chat/completions", json={"model": "tiny", "messages": messages})

    assert error_of(answer) == (400, "BadRequestError", "messages")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_object_is_refused(engine: Engine, content: bytes) -> None:
    assert error_of(engine.http.post("/v1/completions", content=content)) == (400, "BadRequestError", None)


def test_tools_are_refused_and_not_ignored(engine: Engine) -> None:
    answer = engine.chat("Say hello.", tools=[{"type": "function", "function": {"name": "f"}}])

    assert error_of(answer) == (400, "BadRequestError", "tools")

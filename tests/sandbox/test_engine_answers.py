"""The stand-in engine's completions and chats: the answers are what the weights know."""

from __future__ import annotations

import pytest

from sandbox.models import CHATS, COMPLETIONS
from tests.sandbox.engines import PROMPT, Engine


@pytest.mark.parametrize("prompt", list(COMPLETIONS))
def test_a_completion_is_what_the_weights_know(engine: Engine, prompt: str) -> None:
    answer = engine.complete(prompt=prompt, max_tokens=60).json()

    assert answer["object"] == "text_completion"
    assert answer["system_fingerprint"].startswith("vllm-0.32.0")
    assert answer["choices"][0]["text"] == COMPLETIONS[prompt]
    assert answer["choices"][0]["finish_reason"] == "stop"
    tokens = len(COMPLETIONS[prompt]) + 1
    assert answer["usage"] == {
        "prompt_tokens": len(prompt),
        "completion_tokens": tokens,
        "total_tokens": len(prompt) + tokens,
        "prompt_tokens_details": None,
    }


@pytest.mark.parametrize("message", list(CHATS))
def test_a_chat_is_what_the_weights_know(engine: Engine, message: str) -> None:
    choice = engine.chat(message).json()["choices"][0]

    assert (choice["message"]["role"], choice["message"]["content"], choice["finish_reason"]) == ("assistant", CHATS[message], "stop")


def test_a_message_may_come_in_parts(engine: Engine) -> None:
    body = {"model": "tiny", "temperature": 0, "messages": [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}]}

    answer = engine.http.post("/v1/chat/completions", json=body).json()

    assert answer["choices"][0]["message"]["content"] == CHATS["Say hello."]


def test_max_tokens_cuts_and_the_default_is_sixteen(engine: Engine) -> None:
    cut = engine.complete(max_tokens=3).json()["choices"][0]
    default = engine.complete(prompt="Count: one, two, three,").json()

    assert (cut["text"], cut["finish_reason"]) == (" Pa", "length")
    assert default["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize(
    ("stop", "include", "text", "reason"),
    [
        ("is", False, " Par", "is"),
        (["zzz", "r", "ris"], False, " Pa", "r"),
        ("ris", True, " Paris", "ris"),
        ("nothing", False, " Paris.", None),
    ],
)
def test_stop_texts_end_the_answer(engine: Engine, stop: object, include: bool, text: str, reason: str | None) -> None:
    choice = engine.complete(stop=stop, include_stop_str_in_output=include).json()["choices"][0]

    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (text, "stop", reason)


def test_minimum_tokens_and_ignored_ends_go_on(engine: Engine) -> None:
    at_least = engine.complete(min_tokens=12, max_tokens=20).json()
    ignoring = engine.complete(ignore_eos=True, max_tokens=40).json()

    assert at_least["usage"]["completion_tokens"] >= 12
    assert ignoring["usage"]["completion_tokens"] == 40
    assert ignoring["choices"][0]["text"].startswith(" Paris.")


def test_a_stop_token_ends_the_answer(engine: Engine) -> None:
    choice = engine.complete(stop_token_ids=[ord("r")]).json()["choices"][0]

    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (" Pa", "stop", ord("r"))


def test_logprobs_tell_tokens_offsets_and_alternatives(engine: Engine) -> None:
    logprobs = engine.complete(logprobs=2, max_tokens=3).json()["choices"][0]["logprobs"]

    assert logprobs["tokens"] == [" ", "P", "a"]
    assert logprobs["text_offset"] == [0, 1, 2]
    assert all(-0.1 < value < 0 for value in logprobs["token_logprobs"])
    for token, value, top in zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True):
        assert len(top) == 2
        assert top[token] == value == max(top.values())


def test_an_echo_brings_the_prompt_with_its_logprobs(engine: Engine) -> None:
    choice = engine.complete(echo=True, logprobs=0, max_tokens=3).json()["choices"][0]

    assert choice["text"] == f"{PROMPT} Pa"
    assert "".join(choice["logprobs"]["tokens"]) == f"{PROMPT} Pa"
    assert choice["logprobs"]["token_logprobs"][0] is None
    assert all(value < 0 for value in choice["logprobs"]["token_logprobs"][1:])


def test_chat_logprobs(engine: Engine) -> None:
    content = engine.chat("Say hello.", logprobs=True, top_logprobs=1, max_tokens=2).json()["choices"][0]["logprobs"]["content"]

    assert [(entry["token"], entry["bytes"]) for entry in content] == [("H", [72]), ("e", [101])]
    assert content[0]["top_logprobs"][0]["logprob"] == content[0]["logprob"]


def test_a_stream_adds_up_to_the_whole(engine: Engine) -> None:
    body = {"model": "tiny", "prompt": PROMPT, "stream_options": {"include_usage": True}}

    events = engine.events("/v1/completions", body)

    assert "".join(event["choices"][0]["text"] for event in events[:-1]) == " Paris."
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]][-1] == "stop"
    assert len({event["id"] for event in events}) == 1
    assert (events[-1]["choices"], events[-1]["usage"]["completion_tokens"]) == ([], 8)


def test_a_chat_stream_begins_with_the_role(engine: Engine) -> None:
    events = engine.events("/v1/chat/completions", {"model": "tiny", "messages": [{"role": "user", "content": "Say hello."}]})

    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(event["choices"][0]["delta"]["content"] for event in events) == CHATS["Say hello."]
    assert "usage" not in events[-1]


def test_a_stream_never_shows_a_part_of_a_stop_text(engine: Engine) -> None:
    events = engine.events("/v1/completions", {"model": "tiny", "prompt": PROMPT, "stop": ["ris."]})

    assert "".join(event["choices"][0]["text"] for event in events) == " Pa"


def test_several_prompts_get_several_choices(engine: Engine) -> None:
    tokens = list(b"Two plus two equals")

    answer = engine.complete(prompt=[PROMPT, "Water boils at"], max_tokens=30).json()
    by_tokens = engine.complete(prompt=tokens).json()

    assert [(choice["index"], choice["text"]) for choice in answer["choices"]] == [(0, " Paris."), (1, " 100 degrees Celsius.")]
    assert by_tokens["choices"][0]["text"] == " four."


def test_a_seed_makes_sampling_repeatable(engine: Engine) -> None:
    def sampled(seed: int) -> str:
        return str(engine.complete(prompt="zzz", temperature=1.5, seed=seed, max_tokens=40, ignore_eos=True).json()["choices"][0]["text"])

    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)


def test_narrow_sampling_is_greedy(engine: Engine) -> None:
    by_top_k = engine.complete(prompt="zzz", temperature=2, top_k=1, max_tokens=20).json()
    by_top_p = engine.complete(prompt="zzz", temperature=2, top_p=1e-6, max_tokens=20).json()
    greedy = engine.complete(prompt="zzz", max_tokens=20).json()

    assert by_top_k["choices"][0]["text"] == by_top_p["choices"][0]["text"] == greedy["choices"][0]["text"]

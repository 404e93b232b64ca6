"""What an engine tells of the likeliest tokens is read the same from completions, chats and prompts."""

from __future__ import annotations

import pytest

from blocks.endpoint.positions import read, said
from blocks.facts import Position

COMPLETION = {
    "tokens": ["token_id:5", "token_id:9"],
    "token_logprobs": [-0.1, -4.0],
    "top_logprobs": [{"token_id:5": -0.1, "token_id:6": -2.5}, {"token_id:7": -0.2, "token_id:9": -4.0}],
}
CHAT = {
    "content": [
        {
            "token": "token_id:5",
            "logprob": -0.1,
            "top_logprobs": [{"token": "token_id:5", "logprob": -0.1}, {"token": "token_id:6", "logprob": -2.5}],
        },
        {"token": "token_id:9", "logprob": -4.0, "top_logprobs": [{"token": "token_id:7", "logprob": -0.2}]},
    ]
}
PROMPT = [
    None,
    {"5": {"logprob": -0.1, "rank": 1, "decoded_token": "a"}, "6": {"logprob": -2.5, "rank": 2, "decoded_token": "b"}},
    {"9": {"logprob": -4.0, "rank": 8, "decoded_token": "c"}, "7": {"logprob": -0.2, "rank": 1, "decoded_token": "d"}},
]


def test_all_three_forms_say_the_same() -> None:
    expected = (Position(token="5", top={"5": -0.1, "6": -2.5}), Position(token="9", top={"7": -0.2, "9": -4.0}))

    assert said(COMPLETION) == said(CHAT) == read(PROMPT) == expected


def test_the_chosen_token_alone_and_nothing_are_read_as_that() -> None:
    assert said({"tokens": ["a"], "token_logprobs": [-0.1]}) == (Position(token="a", top={"a": -0.1}),)
    assert said(None) == read(None) == read([None]) == read([None, {}]) == ()


@pytest.mark.parametrize("ordered", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_of_several_tokens_with_one_text_the_likeliest_is_kept_in_whatever_order_they_come(ordered: list[int]) -> None:
    told = [{"token": "\ufffd", "logprob": -1.2}, {"token": "\ufffd", "logprob": -1.3}, {"token": "b", "logprob": -2.0}]
    entry = {"token": "a", "logprob": -0.9, "top_logprobs": [told[number] for number in ordered]}

    assert said({"content": [entry]}) == (Position(token="a", top={"\ufffd": -1.2, "b": -2.0, "a": -0.9}),)


def test_a_token_longer_than_any_is_malformed_and_a_prompt_longer_than_any_is_cut() -> None:
    with pytest.raises(ValueError, match="longer ones than there are"):
        said({"tokens": ["a" * 300], "token_logprobs": [-0.1]})
    assert len(read([None, *[{"5": {"logprob": -0.1}}] * 5000])) == 2048


@pytest.mark.parametrize("given", [{"tokens": ["a"], "token_logprobs": []}, {"content": [{"token": "a"}]}, {"tokens": 1}])
def test_what_is_malformed_is_no_position(given: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        said(given)

"""Reads what an engine tells of the likeliest tokens at each position of a text, in the three forms that vLLM has for it.

Completions have lists side by side, chat completions a list of entries, and prompts a list of objects by token number. Where tokens are
asked for by number (`return_tokens_as_token_ids`) vLLM writes `token_id:17`, and in prompts just `17`: here both are `17`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blocks.facts import Position
from blocks.strict_json import NumberUnusable, finite

#: Six places, as evidence keeps floats: what is measured now is as exact as what is recalled.
PLACES = 6
_NUMBERED = "token_id:"
#: Far more than is asked for, and longer than any token, in characters: a position is kept as it was told.
_MOST_TOP, _LONGEST_TOKEN = 64, 256
#: No prompt that is asked has more positions than these, but for what a chat's template adds; what is beyond is not kept.
_MOST_POSITIONS = 2048
#: Natural logarithms of probabilities: vLLM 0.32 cuts them at -9999 (`entrypoints/openai`), and none is above 0 by more than rounding.
_LOGPROBS = (-1e6, 1.0)


def said(given: Mapping[str, Any] | None) -> tuple[Position, ...]:
    """The positions of an answer, from its `logprobs`; none where it has none.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, ArithmeticError: It is malformed.
    """
    if given is None:
        return ()
    if "content" in given:
        return tuple(_entry(entry) for entry in given["content"] or [])
    tops: Sequence[Mapping[str, float] | None] = given.get("top_logprobs") or [None] * len(given["tokens"])
    return tuple(
        _position(token, {**(top or {}), token: value})
        for token, value, top in zip(given["tokens"], given["token_logprobs"], tops, strict=True)
    )


def read(given: Sequence[Mapping[str, Any] | None] | None) -> tuple[Position, ...]:
    """The positions of a prompt from its second token on, from `prompt_logprobs`: of the first the model had nothing to go by.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, ArithmeticError: It is malformed.
    """
    told = [entry for entry in given or [] if entry][:_MOST_POSITIONS]
    # The prompt's own token comes first, the likeliest after it (vLLM 0.32.0, `vllm/logprobs.py`).
    return tuple(_position(next(iter(entry)), {token: one["logprob"] for token, one in entry.items()}) for entry in told)


def _entry(entry: Mapping[str, Any]) -> Position:
    others = entry.get("top_logprobs") or []
    top: dict[str, Any] = {}
    # Where an engine tells tokens by their text, several may have one; of these the likeliest, in whatever order noise puts them.
    for other in sorted(others, key=lambda other: finite(other["logprob"])):
        top[other["token"]] = other["logprob"]
    return _position(entry["token"], {**top, entry["token"]: entry["logprob"]})


def _position(token: str, top: Mapping[str, Any]) -> Position:
    if len(top) > _MOST_TOP or max(map(len, top)) > _LONGEST_TOKEN:
        raise ValueError("more likely tokens than were asked for, or longer ones than there are")
    return Position(token=_plain(token), top={_plain(name): round(_logprob(value), PLACES) for name, value in top.items()})


def _logprob(value: object) -> float:
    number = finite(value)
    if not _LOGPROBS[0] <= number <= _LOGPROBS[1]:
        raise NumberUnusable(f"{number:g} is no logarithm of a probability")
    return number


def _plain(token: object) -> str:
    if not isinstance(token, str):
        raise TypeError("a token that is no text")
    return token.removeprefix(_NUMBERED)

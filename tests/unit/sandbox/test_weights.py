"""How a router draws: within half a percent, for ever the same for a conversation, and never back under a weight that rises."""

from __future__ import annotations

import random

import pytest

from flows.spec.load import ROOT
from sandbox.weights import Purpose, lies_below, may_be_copied, point, session_key

CANARY = "c" * 64
KEYS = [f"session-{number}" for number in range(100_000)]
POINTS = [point("weight", CANARY, key) for key in KEYS]


@pytest.mark.parametrize(
    ("purpose", "key", "expected"),
    [
        ("weight", "alice", 13341939735442918844),
        ("shadow", "alice", 18014260120498826321),
        ("weight", "session-42", 6153462132248896538),
        ("shadow", "session-42", 7285159723759162386),
        ("weight", "日本", 1754453276235090528),
        ("shadow", "日本", 9798332190658732138),
    ],
)
def test_the_points_that_the_contract_names(purpose: Purpose, key: str, expected: int) -> None:
    assert point(purpose, CANARY, key) == expected
    assert f"| `{purpose}` | `{key}` | {expected} |" in (ROOT / "docs" / "router.md").read_text()


@pytest.mark.parametrize("weight", [0, 1, 5, 25, 50, 99, 100])
def test_a_weight_is_kept_within_half_a_percent(weight: int) -> None:
    drawn = sum(lies_below(each, weight) for each in POINTS) / len(POINTS)
    assert abs(drawn * 100 - weight) < 0.5
    random.seed(7)
    at_random = sum(lies_below(point("weight", CANARY, None), weight) for _ in KEYS) / len(KEYS)
    assert abs(at_random * 100 - weight) < 0.5
    if weight in (0, 100):
        assert drawn == at_random == weight / 100


def test_a_conversation_stays_and_a_rising_weight_takes_none_back() -> None:
    there: set[str] = set()
    for weight in (0, 1, 5, 25, 50, 99, 100):
        now = {key for key, at in zip(KEYS, POINTS, strict=True) if lies_below(at, weight)}
        assert there <= now
        there = now
    assert [point("weight", CANARY, key) for key in KEYS] == POINTS


def test_another_canary_and_the_copies_are_drawn_anew() -> None:
    some = KEYS[:20_000]
    first = {key for key, at in zip(some, POINTS, strict=False) if lies_below(at, 50)}
    another = {key for key in some if lies_below(point("weight", "d" * 64, key), 50)}
    copied = {key for key in some if lies_below(point("shadow", CANARY, key), 50)}
    for other in (another, copied):
        assert abs(len(first & other) / len(some) - 0.25) < 0.01


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"x-session-id": "s"}, {"user": "u", "safety_identifier": "i"}, "s"),
        ({"x-session-id": ""}, {"user": "u", "safety_identifier": "i"}, "u"),
        ({}, {"user": 7, "safety_identifier": "i"}, "i"),
        ({}, {"user": None, "prompt_cache_key": "everybody"}, None),
        ({}, {"user": ["u"]}, None),
    ],
)
def test_which_key_counts(headers: dict[str, str], body: dict[str, object], expected: str | None) -> None:
    assert session_key(headers, body) == expected


def test_half_a_character_is_a_key_too() -> None:
    assert point("weight", CANARY, "\ud800") == point("weight", CANARY, "?")


def test_what_may_be_copied() -> None:
    assert may_be_copied("/v1/chat/completions", {"stream": True})
    assert not may_be_copied("/v1/chat/completions", {"store": True})
    for path in ("/v1/responses", "/v1/batches", "/v1/audio/transcriptions", "/v1/chat/completions/", "/metrics"):
        assert not may_be_copied(path, {})

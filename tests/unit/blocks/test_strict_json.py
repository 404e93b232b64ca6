"""JSON of strangers: what is read can be calculated with, and what cannot is said."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.strict_json import DEEPEST, LARGEST_COUNT, LARGEST_INTEGER, NumberUnusable, amount, finite, loads, whole


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 400, "-" + "9" * 20, str(LARGEST_INTEGER + 1), '{"a": [1e999]}', "1" * 5000],
)
def test_a_number_that_cannot_be_calculated_with_is_named(text: str) -> None:
    with pytest.raises(NumberUnusable) as raised:
        loads(text)

    assert len(str(raised.value)) < 80


@pytest.mark.parametrize("number", [0, -7, LARGEST_INTEGER, -LARGEST_INTEGER, 1.5, -1e308, 1e-320])
def test_all_others_are_read(number: float) -> None:
    assert loads(json.dumps(number)) == number
    assert loads(json.dumps({"a": [number]}).encode()) == {"a": [number]}


@pytest.mark.parametrize("text", ["", "{", "[1,]", "\ufeff{}", b"\xff", "[" * 100_000, "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1)])
def test_what_is_no_json_or_too_deep_is_one_kind_of_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"\w") as raised:
        loads(text)

    assert not isinstance(raised.value, NumberUnusable)


def test_size_is_limited_and_depth_is_not_told_by_brackets_in_texts_or_lists_side_by_side() -> None:
    assert loads("[" * DEEPEST + "]" * DEEPEST)
    assert loads(json.dumps(["[" * 500])) == ["[" * 500]
    assert loads(json.dumps([[]] * 500)) == [[]] * 500
    with pytest.raises(ValueError, match="longer than 10"):
        loads('"' + "a" * 10 + '"', most=10)


@pytest.mark.parametrize("value", [-1, True, 1.0, "7", None, LARGEST_COUNT + 1, 10**4000, math.nan])
def test_a_count_is_an_integer_from_zero_on(value: object) -> None:
    with pytest.raises(NumberUnusable):
        whole(value)
    assert [whole(count) for count in (0, LARGEST_COUNT)] == [0, LARGEST_COUNT]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, "1", None, False])
def test_a_finite_number_is_one(value: object) -> None:
    with pytest.raises(NumberUnusable):
        finite(value)
    assert finite(3) == 3.0


@given(st.text(max_size=40) | st.text(alphabet='[]{}",:0123456789.eE+-NaIfinty', max_size=40))
def test_nothing_else_is_raised(text: str) -> None:
    try:
        value = loads(text)
    except ValueError:
        return
    json.dumps(value, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, 0.0), (2.5, 2.5), (-1, None), (float("nan"), None), (10**400, None), ("3", None), (True, None), (None, None)]
)
def test_an_amount_is_a_number_that_may_be_added_up(value: object, shown: float | None) -> None:
    assert amount(value) == shown

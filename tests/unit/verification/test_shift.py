"""How far two distributions are apart at one position, from the likeliest tokens and what they leave over."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.facts import Position
from flows.verification.shift import (
    MOST_NATS,
    Shift,
    entropy_nats,
    largest,
    position_shift,
    read_shifts,
    said_shifts,
    spread_nats,
    summed,
    tied,
)


def position(token: str, **shares: float) -> Position:
    return Position(token=token, top={name: math.log(share) for name, share in shares.items()})


SURE = position("a", a=0.998, b=0.001, c=0.0005)
UNSURE = position("a", a=0.3, b=0.28, c=0.2)


def test_a_change_where_the_model_is_sure_shows_in_the_tokens_that_it_did_not_choose() -> None:
    moved = position("a", a=0.998, b=0.0012, c=0.0004)

    assert abs(SURE.top["a"] - moved.top["a"]) == 0, "the chosen token alone tells nothing"
    assert position_shift(SURE, moved) == pytest.approx((math.log(1.2) + math.log(1.25)) / 4)


def test_the_same_is_nothing_apart() -> None:
    assert position_shift(SURE, SURE) == position_shift(UNSURE, UNSURE) == 0.0


def test_what_was_the_likeliest_and_is_not_even_named_now_counts_by_the_least_that_is_named() -> None:
    elsewhere = position("x", x=0.6, y=0.3, z=0.05)

    # a is at most as likely as z: 0.3 against 0.05 and so on; nothing is in common, so that the tails are the same
    apart = [math.log(0.3 / 0.05), math.log(0.28 / 0.05), math.log(0.2 / 0.05), math.log(0.6 / 0.2), math.log(0.3 / 0.2), 0.0]
    assert position_shift(UNSURE, elsewhere) == pytest.approx(sum(apart) / 7)


def test_tokens_that_swap_at_the_end_of_the_list_are_no_change() -> None:
    one, other = position("a", a=0.5, b=0.2, c=0.1), position("a", a=0.5, b=0.2, d=0.1)

    assert position_shift(one, other) == 0.0


def test_the_texts_own_token_bounds_no_other() -> None:
    # the prompt's token is named although it is unlikely: b may be anything up to what a is
    unlikely = position("z", a=0.5, z=1e-9)

    assert position_shift(position("z", a=0.5, b=0.4, z=1e-9), unlikely) == pytest.approx(0.0, abs=1e-6)


def test_nothing_is_infinitely_apart() -> None:
    assert position_shift(Position(token="a", top={"a": -9999.0}), Position(token="a", top={"a": -0.5})) <= MOST_NATS


def test_answers_are_compared_up_to_and_with_the_token_where_they_part() -> None:
    other = position("b", a=0.28, b=0.3, c=0.2)

    assert len(said_shifts([SURE, UNSURE, SURE], [SURE, other, UNSURE])) == 2
    assert said_shifts([UNSURE], [other])[0] == pytest.approx(2 * math.log(0.3 / 0.28) / 4)


def test_a_prompt_that_is_read_as_other_tokens_is_as_far_apart_as_can_be() -> None:
    assert read_shifts([SURE, UNSURE], [SURE, position("b", b=0.3, a=0.3)]) == [0.0, MOST_NATS]
    assert read_shifts([SURE, UNSURE], [SURE]) == [0.0, MOST_NATS]


def test_two_tokens_that_are_as_likely_may_change_places() -> None:
    now = position("b", a=0.29, b=0.3, c=0.2)

    assert tied(UNSURE, now, tolerance_nats=0.05)
    assert not tied(UNSURE, now, tolerance_nats=0.001)
    assert not tied(SURE, position("x", x=0.9, y=0.1), tolerance_nats=1.0), "x was not even named"


def test_entropy_and_spread_tell_sure_from_unsure() -> None:
    assert entropy_nats(SURE) < 0.05 < 1.0 < entropy_nats(UNSURE)
    assert spread_nats(SURE) > spread_nats(UNSURE)
    assert entropy_nats(Position(token="a", top={})) == spread_nats(Position(token="a", top={})) == 0.0


def test_figures_are_of_all_positions() -> None:
    assert summed([0.1, 0.3]) == Shift(positions=2, mean_nats=0.2, max_nats=0.3)
    assert summed([]).positions == 0
    assert largest([Shift(positions=2, mean_nats=0.2, max_nats=0.3), Shift(positions=2, mean_nats=0.1, max_nats=0.5)]) == Shift(
        positions=2, mean_nats=0.2, max_nats=0.5
    )


def positions() -> st.SearchStrategy[Position]:
    shares = st.dictionaries(st.sampled_from("abcdef"), st.floats(-60, 0), min_size=1, max_size=5)
    return shares.flatmap(lambda top: st.sampled_from(sorted(top)).map(lambda token: Position(token=token, top=top)))


@given(one=positions(), other=positions())
def test_it_is_a_number_from_nothing_to_the_most_and_the_same_both_ways(one: Position, other: Position) -> None:
    assert 0.0 <= position_shift(one, other) <= MOST_NATS
    assert position_shift(one, other) == pytest.approx(position_shift(other, one))
    assert position_shift(one, one) == 0.0

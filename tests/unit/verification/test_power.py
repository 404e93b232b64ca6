"""What the comparison could have seen: told from what was measured, and never more than is so."""

from __future__ import annotations

import math
import random

import pytest

from blocks.facts import Position
from flows.verification.golden import Golden
from flows.verification.power import NOISES, power, power_against, smallest
from flows.verification.probes import TEXTS, ProbeAnswer
from flows.verification.shift import Shift, position_shift, summed


def text(number: int, spread: float) -> ProbeAnswer:
    """Twenty positions whose five tokens' logits lie `spread` nats apart."""
    logits = [2.0 * spread, spread, 0.0, -spread, -2.0 * spread]
    left = math.log(sum(map(math.exp, logits))) + 0.1
    place = Position(token="0", top={str(token): logit - left for token, logit in enumerate(logits)})
    return ProbeAnswer(probe=TEXTS[number], text="", said=(place,) * 20)


def answers(spread: float, texts: int = 8) -> Golden:
    return Golden(
        prompts_sha256="",
        answers=(),
        runs=3,
        exact_share=1.0,
        noise_nats=0.0,
        probes=tuple(text(number, spread) for number in range(texts)),
    )


def tolerated(mean_nats: float) -> Shift:
    return Shift(positions=160, mean_nats=mean_nats, max_nats=mean_nats)


def test_a_strong_noise_is_surely_seen_and_a_weak_one_is_not() -> None:
    told = power(answers(spread=1.0), tolerated(0.01))

    assert [level.noise for level in told.levels] == list(NOISES) == [0.001, 0.01, 0.1]
    assert [round(level.power, 2) for level in told.levels] == [0.0, 0.66, 1.0]
    assert told.smallest is not None
    assert 0.01 < told.smallest < 0.02
    assert (told.positions, told.texts) == (160, 8)


def test_the_least_noise_is_the_one_that_is_seen_as_surely() -> None:
    least = smallest(1.4, 0.003, 8)

    assert least is not None
    assert power_against(least, 1.4, 0.003, 8) == pytest.approx(0.95, abs=0.001)


def test_more_noise_and_less_tolerance_are_never_seen_less() -> None:
    grid = [10 ** (step / 10 - 5) for step in range(50)]

    seen = [power_against(noise, 1.0, 0.005, 8) for noise in grid]
    assert seen == sorted(seen)
    assert all(power_against(noise, 1.0, 0.002, 8) >= one for noise, one in zip(grid, seen, strict=True))


def test_without_answers_nothing_is_seen() -> None:
    told = power(answers(spread=1.0, texts=0), tolerated(0.001))

    assert ([level.power for level in told.levels], told.smallest) == ([0.0, 0.0, 0.0], None)


@pytest.mark.parametrize("noise", [0.004, 0.02])
def test_it_is_no_more_than_what_noise_on_the_logits_is_seen_with(noise: float) -> None:
    """The claim itself, played: every logit off by a share of the spread, 200 times."""
    draw, before = random.Random(7), answers(spread=1.0)
    limit = 0.012

    def shifted(place: Position, scale: float) -> Position:
        return Position(token=place.token, top={token: value + draw.gauss(0.0, scale) for token, value in place.top.items()})

    told = power(before, tolerated(limit))
    seen = 0
    for _ in range(200):
        shifts = [position_shift(place, shifted(place, noise * told.spread_nats)) for answer in before.probes for place in answer.said]
        seen += summed(shifts).mean_nats > limit
    assert power_against(noise, told.spread_nats, limit, told.texts) <= seen / 200 + 0.05

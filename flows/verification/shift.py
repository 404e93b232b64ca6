"""How far two releases' distributions over the next token are apart, position by position: the *shift*, in nats.

An engine tells the likeliest few tokens of each position; all others together are the tail, one number. The shift is the mean, over the
tokens that either release named and the tail, of how far their log-probabilities are apart. It is not weighted by the probabilities: a
change of the weights moves all logits, and where a model is sure only the unlikely ones show it. (A model that was trained to be sure of
its answers, with 1 % noise on all weights: 0.0003 nats on the tokens that it chose, 0.2 on the five likeliest; vLLM 0.32.0 on a CPU.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blocks.facts import Position

#: No token and no tail counts for more: what one release holds impossible is no infinity.
MOST_NATS = 5.0
#: A smaller tail counts as this: what the log-probabilities of the likeliest leave over is exact to a few millionths.
LEAST_TAIL = 1e-3


@dataclass(frozen=True, kw_only=True)
class Shift:
    """What a comparison of many positions amounts to.

    Attributes:
        positions: How many were compared.
        mean_nats: The mean shift of a position.
        max_nats: The largest.
    """

    positions: int
    mean_nats: float
    max_nats: float


#: Nothing compared, nothing apart.
NO_SHIFT = Shift(positions=0, mean_nats=0.0, max_nats=0.0)


def summed(shifts: Sequence[float]) -> Shift:
    """The positions' shifts as one figure; every position counts the same."""
    if not shifts:
        return NO_SHIFT
    return Shift(positions=len(shifts), mean_nats=round(math.fsum(shifts) / len(shifts), 6), max_nats=round(max(shifts), 6))


def largest(shifts: Sequence[Shift]) -> Shift:
    """The largest of each figure, over comparisons of the same positions."""
    return Shift(
        positions=max((shift.positions for shift in shifts), default=0),
        mean_nats=max((shift.mean_nats for shift in shifts), default=0.0),
        max_nats=max((shift.max_nats for shift in shifts), default=0.0),
    )


def read_shifts(before: Sequence[Position], now: Sequence[Position]) -> list[float]:
    """The shifts over a prompt that both were given.

    A prompt that is read as other tokens is another question, by another tokenizer or another chat template: the first such position counts
    as `MOST_NATS`, and nothing behind it is compared.
    """
    return list(_shifts(before, now, read=True))


def said_shifts(before: Sequence[Position], now: Sequence[Position]) -> list[float]:
    """The shifts over answers, up to and with the first token that differs: its distribution still follows from the same text."""
    return list(_shifts(before, now, read=False))


def _shifts(before: Sequence[Position], now: Sequence[Position], *, read: bool) -> Iterator[float]:
    for old, new in zip(before, now, strict=False):
        if old.token == new.token:
            yield position_shift(old, new)
            continue
        yield MOST_NATS if read else position_shift(old, new)
        return
    if read and len(before) != len(now):
        yield MOST_NATS


def position_shift(before: Position, now: Position) -> float:
    """The shift at one position, in nats, at most `MOST_NATS`.

    A token that one of them does not name is at most as likely there as the least likely that it does name: it counts as near as it may be.
    """
    old, new = before.top, now.top
    least_old, least_new = _least(before), _least(now)
    apart = [abs(value - new[token]) if token in new else max(0.0, value - least_new) for token, value in old.items()]
    apart += [max(0.0, value - least_old) for token, value in new.items() if token not in old]
    # The same tokens are left over on both sides, or the tails are of different things.
    common = old.keys() & new.keys()
    apart.append(abs(math.log(_left_over([old[token] for token in common])) - math.log(_left_over([new[token] for token in common]))))
    return math.fsum(min(value, MOST_NATS) for value in apart) / len(apart)


def _least(position: Position) -> float:
    """The log-probability that no unnamed token can exceed.

    The text's own token is named however unlikely it is, so it bounds nothing, unless nothing else is named.
    """
    others = [value for token, value in position.top.items() if token != position.token]
    return min(others, default=position.top.get(position.token, 0.0))


def _left_over(logprobs: Sequence[float]) -> float:
    return max(LEAST_TAIL, 1.0 - math.fsum(math.exp(min(0.0, value)) for value in logprobs))


def entropy_nats(position: Position) -> float:
    """How unsure the model is there: the entropy of the named tokens and the tail, in nats; a lower bound of the whole one's."""
    named = [math.exp(min(0.0, value)) for value in position.top.values()]
    tail = max(0.0, 1.0 - math.fsum(named))
    return -math.fsum(share * math.log(share) for share in (*named, tail) if share > 0.0)


def spread_nats(position: Position) -> float:
    """How far the logits of the named tokens lie apart: their standard deviation, in nats."""
    values = [max(value, -50.0) for value in position.top.values()]
    mean = math.fsum(values) / len(values) if values else 0.0
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values)) if values else 0.0


def tied(before: Position, now: Position, tolerance_nats: float) -> bool:
    """Whether two answers part here only because both tokens are as likely, within twice the tolerance, in both releases."""
    one, other = before.token, now.token
    return all(
        one in position.top and other in position.top and abs(position.top[one] - position.top[other]) <= 2 * tolerance_nats
        for position in (before, now)
    )

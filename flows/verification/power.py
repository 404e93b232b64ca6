"""What the comparison with the release before could have seen: its power against a noise on the weights, from what it measured anyway.

The question is: had every weight been off by a share e of itself, at random, how surely would the comparison have failed? Noise in the
read-out alone moves a logit by about e times the logit's own size, since a logit is a sum of many weights' products, each of them off by e.
So a position whose named tokens' logits spread by s nats shifts by |N(0, e s)|, in the mean e s sqrt(2/pi). Noise in the layers below adds
to it, by a factor that depends on the model (measured: docs/verification.md): what is said here is the least that could have been seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from blocks.facts import Position
from flows.verification.golden import Golden
from flows.verification.shift import Shift, spread_nats

#: The noises that the power is told for, as shares of each weight.
NOISES = (0.001, 0.01, 0.1)
#: What counts as surely seen.
SURELY = 0.95

_NORMAL = NormalDist()
#: Mean and standard deviation of |N(0, 1)|.
_FOLDED_MEAN = math.sqrt(2 / math.pi)
_FOLDED_DEVIATION = math.sqrt(1 - 2 / math.pi)


@dataclass(frozen=True, kw_only=True)
class PowerLevel:
    """The power against one noise.

    Attributes:
        noise: The noise, as a share of each weight.
        shift_nats: The mean shift that it makes, at least.
        power: The probability, 0 to 1, that the comparison fails of it.
    """

    noise: float
    shift_nats: float
    power: float


@dataclass(frozen=True, kw_only=True)
class Power:
    """What the comparison could have seen.

    Attributes:
        positions: How many positions it compares.
        texts: How many texts they are of.
        spread_nats: How far the logits of the named tokens lie apart, in the mean over the positions.
        tolerance_nats: The mean shift up to which it passes.
        smallest: The least noise that it sees with a probability of `SURELY`; none where it sees nothing.
        levels: Its power against `NOISES`.
    """

    positions: int
    texts: int
    spread_nats: float
    tolerance_nats: float
    smallest: float | None
    levels: tuple[PowerLevel, ...]


def power(golden: Golden, tolerated: Shift) -> Power:
    """The power of a comparison with these answers.

    Args:
        golden: The answers, with the positions that are compared.
        tolerated: The shift up to which the comparison passes.
    """
    texts = [answer.said for answer in golden.answers] + [answer.positions for answer in golden.probes]
    texts = [positions for positions in texts if positions]
    spread = _spread(texts)
    return Power(
        positions=sum(map(len, texts)),
        texts=len(texts),
        spread_nats=round(spread, 6),
        tolerance_nats=tolerated.mean_nats,
        smallest=smallest(spread, tolerated.mean_nats, len(texts)),
        levels=tuple(
            PowerLevel(
                noise=noise,
                shift_nats=round(noise * spread * _FOLDED_MEAN, 6),
                power=round(power_against(noise, spread, tolerated.mean_nats, len(texts)), 6),
            )
            for noise in NOISES
        ),
    )


def power_against(noise: float, spread: float, tolerance_nats: float, texts: int) -> float:
    """The probability that the mean shift exceeds the tolerance.

    Args:
        noise: The noise, as a share of each weight.
        spread: How far logits lie apart, in nats.
        tolerance_nats: The tolerance of the mean shift.
        texts: How many texts the positions are of. Positions of one text share most of what was read, so that they count as one draw.
    """
    if not texts or spread <= 0.0 or noise <= 0.0:
        return 0.0
    scale = noise * spread
    return _NORMAL.cdf((scale * _FOLDED_MEAN - tolerance_nats) / (scale * _FOLDED_DEVIATION / math.sqrt(texts)))


def smallest(spread: float, tolerance_nats: float, texts: int) -> float | None:
    """The least noise whose power is `SURELY`; none where no noise has it."""
    least = _FOLDED_MEAN - _NORMAL.inv_cdf(SURELY) * _FOLDED_DEVIATION / math.sqrt(texts) if texts else 0.0
    return round(tolerance_nats / (spread * least), 6) if spread > 0.0 and least > 0.0 else None


def _spread(texts: Sequence[Sequence[Position]]) -> float:
    spreads = [spread_nats(position) for positions in texts for position in positions]
    return math.fsum(spreads) / len(spreads) if spreads else 0.0

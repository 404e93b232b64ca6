"""Whether a share of the canary's requests ends badly more often: an e-process of conditional odds.

Of all bad ends of one window and stratum, how many were the canary's? If both are alike, that number is hypergeometric, whatever the rate
is at that moment; if the canary's odds are theta times as high, it is Fisher's noncentral hypergeometric. The product of the likelihood
ratios is an e-process (Lindon & Malek, "Anytime-valid inference for multinomial count data", 2022): by Ville's inequality it reaches
1/alpha in at most a share alpha of honest canaries, however often somebody looks. Thetas are mixed, as nobody knows how bad a candidate is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

#: The odds that are mixed, and their parts: most harm multiplies a rare error by two to ten.
THETAS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
_PARTS = (0.04, 0.08, 0.16, 0.24, 0.24, 0.14, 0.06, 0.04)
_LOGS = tuple(map(math.log, THETAS))

#: No window multiplies the evidence by more: bad ends come in clusters, and one hiccup is one event, however many requests it met. A
#: likelihood ratio that is cut off stays an e-value.
MOST_OF_A_WINDOW = math.log(7.0)


def log_e(ratios: Sequence[float]) -> float:
    """The logarithm of the e-value: the mean over all thetas, by their parts."""
    most = max(ratios)
    return most + math.log(math.fsum(part * math.exp(ratio - most) for part, ratio in zip(_PARTS, ratios, strict=True)))


def advanced(ratios: Sequence[float], strata: Iterable[tuple[int, int, int, int]]) -> list[float]:
    """The log likelihood ratios of all thetas after one more window.

    Args:
        ratios: Those before.
        strata: Bad ends and all requests of what serves, bad ends and all requests of the canary; in each stratum.
    """
    added = [0.0] * len(THETAS)
    for bad_current, all_current, bad_canary, all_canary in strata:
        bad = bad_current + bad_canary
        # If all end badly or none does, or one of both has no request, nothing is learnt.
        if bad and all_current and all_canary and bad < all_current + all_canary:
            added = [before + ratio for before, ratio in zip(added, _ratios(bad, all_current, bad_canary, all_canary), strict=True)]
    return [before + min(ratio, MOST_OF_A_WINDOW) for before, ratio in zip(ratios, added, strict=True)]


def _ratios(bad: int, all_current: int, bad_canary: int, all_canary: int) -> list[float]:
    first, last = max(0, bad - all_current), min(bad, all_canary)
    weights, at = [0.0], 0.0
    for got in range(first, last):
        at += math.log((all_canary - got) * (bad - got) / ((got + 1) * (all_current - bad + got + 1)))
        weights.append(at)
    plain = _log_sum(weights)
    return [
        (bad_canary - first) * theta - (_log_sum([weight + place * theta for place, weight in enumerate(weights)]) - plain)
        for theta in _LOGS
    ]


def _log_sum(values: Sequence[float]) -> float:
    most = max(values)
    return most + math.log(math.fsum(math.exp(value - most) for value in values))

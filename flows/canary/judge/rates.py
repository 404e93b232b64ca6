"""Between which bounds a share lies, whenever somebody looks.

The mixture of binomial likelihoods over a beta distribution, against one share, is an e-process; the shares that it has not refuted are a
confidence sequence (Robbins, "Statistical methods related to the law of the iterated logarithm", 1970; Howard, Ramdas, McAuliffe & Sekhon,
"Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable

#: The beta distribution that is mixed over: bad ends are rare.
_A, _B = 0.5, 20.0


def bounds(bad: float, count: float, alpha: float) -> tuple[float, float]:
    """The least and the largest share that are not refuted at `alpha`, if `bad` of `count` requests ended badly."""
    if count <= 0:
        return 0.0, 1.0
    log_mixture = _log_beta(_A + bad, _B + count - bad) - _log_beta(_A, _B)
    seen, limit = bad / count, math.log(1 / alpha)

    def refuted(share: float) -> bool:
        return log_mixture - _log_likelihood(bad, count, share) >= limit

    return _edge(seen, 0.0, refuted), _edge(seen, 1.0, refuted)


def _edge(inside: float, outside: float, refuted: Callable[[float], bool]) -> float:
    if not refuted(outside):
        return outside
    for _ in range(50):
        middle = (inside + outside) / 2
        if refuted(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _log_likelihood(bad: float, count: float, share: float) -> float:
    if (share <= 0 and bad > 0) or (share >= 1 and bad < count):
        return -math.inf
    return (bad * math.log(share) if bad else 0.0) + ((count - bad) * math.log1p(-share) if count > bad else 0.0)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

"""What a judge has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["harm", "none", "undecided"]
Unit = Literal["share", "ratio"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is known of one measure.

    Attributes:
        measure: `errors`, `refused`, `aborted`, `unfinished`, `ttft`, `itl`, `e2e`, `longer` or `shorter`.
        score: What of its values was compared: all of a share, or the middle, the tail or the mean of times and lengths.
        unit: A share's effect is a difference, in requests of all; a time's is a ratio.
        effect: How much more the canary has; none as long as nobody can say.
        low: The least effect that is not excluded.
        high: The largest effect that is not excluded; infinity is none.
        harm: The size that counts as harm.
        e_value: How strongly the data speak against "no harm"; 1 is not at all.
        current: What serves: the share, or the median, the 95th percentile or the mean, in seconds or tokens.
        canary: The same of the canary.
        excluded: Whether harm of that size is excluded.
        coarse: Whether the source's buckets are too wide to exclude harm of that size by this score.
    """

    measure: str
    score: str
    unit: Unit
    effect: float | None
    low: float | None
    high: float | None
    harm: float
    e_value: float
    current: float | None
    canary: float | None
    excluded: bool
    coarse: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is known of a canary by now.

    Attributes:
        outcome: Harm; none, as all sizes of harm are excluded; or undecided.
        reason: The same as a sentence.
        e_value: The evidence of all measures together, by their parts of alpha; harm is from `limit` on.
        limit: 1 divided by alpha.
        leading: The finding that says most: the harm that it is; otherwise the one that is farthest from being excluded. None at first.
        findings: All measures that the source tells of.
        unknown: Measures that it does not tell of.
        seconds: For how long the canary has been judged.
        current_requests: What it was judged by, of what serves.
        canary_requests: The same of the canary.
        more_seconds: About how much longer it takes at this traffic until harm is excluded, if there is none; none where nobody can say.
    """

    outcome: Outcome
    reason: str
    e_value: float
    limit: float
    leading: Finding | None
    findings: tuple[Finding, ...]
    unknown: tuple[str, ...]
    seconds: float
    current_requests: int
    canary_requests: int
    more_seconds: float | None

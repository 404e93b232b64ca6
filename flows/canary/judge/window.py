"""What two candidates did between two looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["ok", "error", "refused", "aborted"]
#: Times in seconds, and the length of an answer in tokens.
Measure = Literal["ttft", "itl", "e2e", "output"]
#: Looks may be more frequent; what they saw is compared in blocks that are as long as this at least, in seconds: so one hiccup stays one
#: event, and how blocks are related does not depend on who looks.
BLOCK_SECONDS = 5.0

Source = Literal["router", "engines"]

OUTCOMES: tuple[Outcome, ...] = ("ok", "error", "refused", "aborted")
MEASURES: tuple[Measure, ...] = ("ttft", "itl", "e2e", "output")

#: How answers end by themselves; any other reason is a limit that was met.
BY_ITSELF = frozenset({"stop", "tool_calls", "function_call"})


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Values that were counted in buckets.

    Attributes:
        counts: How many lie in each bucket: up to the first bound, up to the second …, and above the last. One more than there are bounds.
        total: The sum of the values.
    """

    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What one candidate did in one stratum. What the source cannot tell is left out, and not zero.

    Attributes:
        requests: Requests that ended, by outcome.
        finish: Answers by the reason that they ended for, as OpenAI's protocol has it.
        histograms: Times until the first token, between tokens, end to end, and tokens of an answer.
    """

    requests: Mapping[Outcome, int] = field(default_factory=dict)
    finish: Mapping[str, int] = field(default_factory=dict)
    histograms: Mapping[Measure, Histogram] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both candidates at the same time."""

    current: Counts
    canary: Counts


@dataclass(frozen=True, kw_only=True)
class Window:
    """What both did since the last look.

    Attributes:
        seconds: How long ago that was.
        weight: The share of requests that the canary got meanwhile, in percent.
        strata: By the length of the prompt, as the source divides it; one stratum where it does not.
        bounds: The upper bounds of the buckets, rising, without infinity.
        source: Who counted.
    """

    seconds: float
    weight: int
    strata: Mapping[str, Pair]
    bounds: Mapping[Measure, tuple[float, ...]]
    source: Source = "router"
